package portable

import (
	"cmp"
	"slices"
	"strconv"
)

// block adds an address to those that the user blocks.
func (u *user) block(jid string) {
	j, err := u.hosts.jid(jid)
	if err != nil {
		u.skip("blocked addresses that are none")
		return
	}
	u.record.Blocked = append(u.record.Blocked, j.String())
}

// blocklist is as XEP-0191 §3.2 has it: the format has no place for it, but some servers write it.
func (u *user) blocklist(e *element) {
	for _, item := range e.elements() {
		u.block(item.attr("jid"))
	}
}

// lists is XEP-0227 §4.8. The default list is what holds for a session without another one (XEP-0016 §2.2), so that what it
// denies to an address altogether is blocked; chatd has no way to say the rest.
func (u *user) lists(e *element) {
	name, lists := "", e.elements()
	for _, l := range lists {
		if l.Name.Local == "default" {
			name = l.attr("name")
		}
	}
	for _, l := range lists {
		switch {
		case l.Name.Local != "list":
		case name != "" && l.attr("name") == name:
			u.list(l)
		default:
			u.skip("privacy lists that are not the default")
		}
	}
}

func (u *user) list(list *element) {
	items := list.elements()
	order := func(e *element) int { n, _ := strconv.Atoi(e.attr("order")); return n }
	slices.SortStableFunc(items, func(a, b *element) int { return cmp.Compare(order(a), order(b)) })
	allowed := make(map[string]bool)
	for _, item := range items {
		kind, value, action := item.attr("type"), item.attr("value"), item.attr("action")
		switch {
		case kind == "" && action == "allow": // XEP-0016 §2.1: the first that matches decides, and this one always does
			return
		case kind == "jid" && action == "deny" && denies(item):
			if !allowed[value] {
				u.block(value)
			}
		default:
			allowed[value] = allowed[value] || kind == "jid" && action == "allow"
			u.skip("rules of privacy lists that no block list can say")
		}
	}
}

// denies reports whether an item is about all stanzas (XEP-0016 §2.1).
func denies(item *element) bool {
	kinds := len(item.elements())
	return kinds == 0 || kinds == 4 // message, iq, presence-in, presence-out
}
