package riaktest

import (
	"bytes"
	"encoding/json"
	"fmt"

	rpb "github.com/basho/riak-go-client/rpb/riak"
)

// A Quorum is a number of replicas, or one of the names below.
type Quorum uint32

// The numbers by which the protocol names quorums.
const (
	One           Quorum = 0xffffffff - 1
	Majority      Quorum = 0xffffffff - 2
	All           Quorum = 0xffffffff - 3
	DefaultQuorum Quorum = 0xffffffff - 4
)

// UnmarshalJSON reads a number, "one", "quorum" or "all".
func (q *Quorum) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"one"`:
		*q = One
	case `"quorum"`:
		*q = Majority
	case `"all"`:
		*q = All
	default:
		return json.Unmarshal(b, (*uint32)(q))
	}
	return nil
}

// replicas is the quorum as a number of n replicas.
func (q Quorum) replicas(n int) int {
	switch q {
	case One:
		return 1
	case Majority:
		return n/2 + 1
	case All:
		return n
	}
	return int(q)
}

// Props are the properties of a bucket or a bucket type.
type Props struct {
	N             int    `json:"n_val"`
	AllowMult     bool   `json:"allow_mult"`
	LastWriteWins bool   `json:"last_write_wins"`
	DVV           bool   `json:"dvv_enabled"`
	Backend       string `json:"backend"` // empty: Config.Backend
	R             Quorum `json:"r"`
	W             Quorum `json:"w"`
	PR            Quorum `json:"pr"`
	PW            Quorum `json:"pw"`
	DW            Quorum `json:"dw"`
	RW            Quorum `json:"rw"`
	NotFoundOK    bool   `json:"notfound_ok"`
	BasicQuorum   bool   `json:"basic_quorum"`
}

// defaultProps are the properties of the type "default"; types that are created
// differ in siblings and dotted version vectors.
func defaultProps() Props {
	return Props{N: 3, R: Majority, W: Majority, DW: Majority, RW: Majority, NotFoundOK: true}
}

// parseProps reads what `riak admin bucket-type create NAME JSON` takes. A name
// that the double does not know is an error, so that a test finds a misspelling.
func parseProps(text string) (Props, error) {
	p := defaultProps()
	p.AllowMult, p.DVV = true, true
	if text == "" {
		return p, nil
	}
	wrapped := struct {
		Props *Props `json:"props"`
	}{&p}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&wrapped); err != nil {
		return p, fmt.Errorf("riaktest: bucket type properties %s: %w", text, err)
	}
	if wrapped.Props == nil || p.N < 1 {
		return p, fmt.Errorf("riaktest: bucket type properties %s: no props or no replicas", text)
	}
	return p, nil
}

// indexes says whether the backend keeps secondary indexes.
func (p Props) indexes() bool { return p.Backend != "bitcask" }

// with is the properties changed by what a client sets.
func (p Props) with(set *rpb.RpbBucketProps) Props {
	if set.NVal != nil {
		p.N = int(set.GetNVal())
	}
	setBool := func(to *bool, from *bool) {
		if from != nil {
			*to = *from
		}
	}
	setBool(&p.AllowMult, set.AllowMult)
	setBool(&p.LastWriteWins, set.LastWriteWins)
	setBool(&p.NotFoundOK, set.NotfoundOk)
	setBool(&p.BasicQuorum, set.BasicQuorum)
	for _, q := range []struct {
		to   *Quorum
		from *uint32
	}{{&p.R, set.R}, {&p.W, set.W}, {&p.PR, set.Pr}, {&p.PW, set.Pw}, {&p.DW, set.Dw}, {&p.RW, set.Rw}} {
		if q.from != nil {
			*q.to = Quorum(*q.from)
		}
	}
	return p
}

// encode is the properties as clients read them.
func (p Props) encode() *rpb.RpbBucketProps {
	n, backend := uint32(p.N), []byte(p.Backend)
	return &rpb.RpbBucketProps{
		NVal: &n, AllowMult: &p.AllowMult, LastWriteWins: &p.LastWriteWins, Backend: backend,
		R: (*uint32)(&p.R), W: (*uint32)(&p.W), Pr: (*uint32)(&p.PR), Pw: (*uint32)(&p.PW),
		Dw: (*uint32)(&p.DW), Rw: (*uint32)(&p.RW), NotfoundOk: &p.NotFoundOK, BasicQuorum: &p.BasicQuorum,
	}
}
