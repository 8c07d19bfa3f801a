package roster

import (
	"chatd/stanza"
	"chatd/store"
)

// A state is one of the nine subscription states of RFC 6121 §A.1, from the
// perspective of the user whose roster the item is in. A contact that is not in
// the roster is in state none.
type state uint8

// The states, in the order of the tables.
const (
	none      state = iota // "None"
	noneOut                // "None + Pending Out"
	noneIn                 // "None + Pending In"
	noneOutIn              // "None + Pending Out+In"
	toOnly                 // "To"
	toIn                   // "To + Pending In"
	fromOnly               // "From"
	fromOut                // "From + Pending Out"
	both                   // "Both"

	states = iota
)

// aspects spell a state in a roster item.
var aspects = [states]struct {
	sub store.Subscription
	out bool // pending out: 'ask'
	in  bool // pending in
}{
	none:      {store.SubNone, false, false},
	noneOut:   {store.SubNone, true, false},
	noneIn:    {store.SubNone, false, true},
	noneOutIn: {store.SubNone, true, true},
	toOnly:    {store.SubTo, false, false},
	toIn:      {store.SubTo, false, true},
	fromOnly:  {store.SubFrom, false, false},
	fromOut:   {store.SubFrom, true, false},
	both:      {store.SubBoth, false, false},
}

// stateOf reads an item's state.
func stateOf(item *store.RosterItem) state {
	switch {
	case item.Sub == store.SubBoth:
		return both
	case item.Sub == store.SubFrom && item.Ask:
		return fromOut
	case item.Sub == store.SubFrom:
		return fromOnly
	case item.Sub == store.SubTo && item.PendingIn:
		return toIn
	case item.Sub == store.SubTo:
		return toOnly
	case item.Ask && item.PendingIn:
		return noneOutIn
	case item.PendingIn:
		return noneIn
	case item.Ask:
		return noneOut
	}
	return none
}

// put writes a state into an item.
func (s state) put(item *store.RosterItem) {
	a := aspects[s]
	item.Sub, item.Ask, item.PendingIn = a.sub, a.out, a.in
}

// from reports whether the contact sees the user's presence.
func (s state) from() bool { return aspects[s].sub == store.SubFrom || aspects[s].sub == store.SubBoth }

// to reports whether the user sees the contact's presence.
func (s state) to() bool { return aspects[s].sub == store.SubTo || aspects[s].sub == store.SubBoth }

// A cell is one line of one table of RFC 6121 §A.2 or §A.3.
type cell struct {
	next  state
	pass  bool        // outbound: route the stanza; inbound: deliver it
	reply stanza.Type // inbound: answer for the user with this; None for no answer
	// approve is, outbound, that the stanza is a pre-approval and, inbound, that a
	// pre-approval is used up by answering "subscribed" and going to the state
	// granted (RFC 6121 §3.4.2).
	approve bool
	granted state
}

// A table is indexed by the stanza's type, from Subscribe, and by the state before.
type table [4][states]cell

// The rows of a table, in the order of stanza.Subscribe and following.
const (
	rowSubscribe = iota
	rowSubscribed
	rowUnsubscribe
	rowUnsubscribed
)

func (t *table) cell(typ stanza.Type, was state) cell { return t[typ-stanza.Subscribe][was] }

// outbound is RFC 6121 §A.2: what the user's own stanza does to the user's item.
var outbound = table{
	rowSubscribe: { // §A.2.1
		none:      {next: noneOut, pass: true},
		noneOut:   {next: noneOut, pass: true},
		noneIn:    {next: noneOutIn, pass: true},
		noneOutIn: {next: noneOutIn, pass: true},
		toOnly:    {next: toOnly, pass: true},
		toIn:      {next: toIn, pass: true},
		fromOnly:  {next: fromOut, pass: true},
		fromOut:   {next: fromOut, pass: true},
		both:      {next: both, pass: true},
	},
	rowUnsubscribe: { // §A.2.2
		none:      {next: none, pass: true},
		noneOut:   {next: none, pass: true},
		noneIn:    {next: noneIn, pass: true},
		noneOutIn: {next: noneIn, pass: true},
		toOnly:    {next: none, pass: true},
		toIn:      {next: noneIn, pass: true},
		fromOnly:  {next: fromOnly, pass: true},
		fromOut:   {next: fromOnly, pass: true},
		both:      {next: fromOnly, pass: true},
	},
	rowSubscribed: { // §A.2.3
		none:      {next: none, approve: true},
		noneOut:   {next: noneOut, approve: true},
		noneIn:    {next: fromOnly, pass: true},
		noneOutIn: {next: fromOut, pass: true},
		toOnly:    {next: toOnly, approve: true},
		toIn:      {next: both, pass: true},
		fromOnly:  {next: fromOnly},
		fromOut:   {next: fromOut},
		both:      {next: both},
	},
	rowUnsubscribed: { // §A.2.4; cancels a pre-approval in any state
		none:      {next: none},
		noneOut:   {next: noneOut},
		noneIn:    {next: none, pass: true},
		noneOutIn: {next: noneOut, pass: true},
		toOnly:    {next: toOnly},
		toIn:      {next: toOnly, pass: true},
		fromOnly:  {next: none, pass: true},
		fromOut:   {next: noneOut, pass: true},
		both:      {next: toOnly, pass: true},
	},
}

// inbound is RFC 6121 §A.3: what a contact's stanza does to the user's item.
var inbound = table{
	rowSubscribe: { // §A.3.1
		none:      {next: noneIn, pass: true, approve: true, granted: fromOnly},
		noneOut:   {next: noneOutIn, pass: true, approve: true, granted: fromOut},
		noneIn:    {next: noneIn},
		noneOutIn: {next: noneOutIn},
		toOnly:    {next: toIn, pass: true, approve: true, granted: both},
		toIn:      {next: toIn},
		fromOnly:  {next: fromOnly, reply: stanza.Subscribed},
		fromOut:   {next: fromOut, reply: stanza.Subscribed},
		both:      {next: both, reply: stanza.Subscribed},
	},
	rowUnsubscribe: { // §A.3.2
		none:      {next: none},
		noneOut:   {next: noneOut},
		noneIn:    {next: none, pass: true, reply: stanza.Unsubscribed},
		noneOutIn: {next: noneOut, pass: true, reply: stanza.Unsubscribed},
		toOnly:    {next: toOnly},
		toIn:      {next: toOnly, pass: true, reply: stanza.Unsubscribed},
		fromOnly:  {next: none, pass: true, reply: stanza.Unsubscribed},
		fromOut:   {next: noneOut, pass: true, reply: stanza.Unsubscribed},
		both:      {next: toOnly, pass: true, reply: stanza.Unsubscribed},
	},
	rowSubscribed: { // §A.3.3
		none:      {next: none},
		noneOut:   {next: toOnly, pass: true},
		noneIn:    {next: noneIn},
		noneOutIn: {next: toIn, pass: true},
		toOnly:    {next: toOnly},
		toIn:      {next: toIn},
		fromOnly:  {next: fromOnly},
		fromOut:   {next: both, pass: true},
		both:      {next: both},
	},
	rowUnsubscribed: { // §A.3.4
		none:      {next: none},
		noneOut:   {next: none, pass: true},
		noneIn:    {next: noneIn},
		noneOutIn: {next: noneIn, pass: true},
		toOnly:    {next: none, pass: true},
		toIn:      {next: noneIn, pass: true},
		fromOnly:  {next: fromOnly},
		fromOut:   {next: fromOnly, pass: true},
		both:      {next: fromOnly, pass: true},
	},
}
