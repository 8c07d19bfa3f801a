package xmlstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

const header = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='chat.test' version='1.0'>`

// describe is a token in words.
func describe(t *Token) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d {%s}%s raw=%q inner=%q", t.Kind, t.Space, t.Local, t.Raw, t.Inner)
	for _, a := range t.Attrs {
		fmt.Fprintf(&b, " %s=%q", a.Name, a.Value)
	}
	for _, a := range t.Decls {
		fmt.Fprintf(&b, " decl %s=%q", a.Name, a.Value)
	}
	fmt.Fprintf(&b, " children=%d {%s}%s outer=%v prefixed=%v", t.Children, t.ChildSpace, t.ChildLocal, t.OuterPrefix, t.Prefixed)
	return b.String()
}

// scanAll feeds in to s, piece by piece as next cuts it, in a buffer that moves on every call, and
// collects the tokens in words.
func scanAll(s *Scanner, in string, next func() int) (tokens []string, err error) {
	var buf []byte
	for {
		size := min(next(), len(in))
		buf = append(append(make([]byte, 0, len(buf)+size), buf...), in[:size]...)
		in = in[size:]
		for {
			tok, n, err := s.Scan(buf)
			if err != nil {
				return tokens, err
			}
			if tok.Kind != None {
				tokens = append(tokens, describe(tok))
			}
			buf = buf[n:]
			if tok.Kind == None {
				break
			}
		}
		if in == "" {
			if len(buf) > 0 {
				tokens = append(tokens, "rest")
			}
			return tokens, nil
		}
	}
}

func wholeInput() int { return 1 << 30 }
func byByte() int     { return 1 }

// scanEveryWay scans in whole, by byte and in random pieces, and fails if that makes a difference.
func scanEveryWay(t *testing.T, l Limits, prepare func(*Scanner), in string) ([]string, error) {
	t.Helper()
	scan := func(next func() int) ([]string, error) {
		s := NewScanner(l)
		if prepare != nil {
			prepare(s)
		}
		return scanAll(s, in, next)
	}
	want, wantErr := scan(wholeInput)
	rng := rand.New(rand.NewPCG(1, uint64(len(in))))
	ways := []func() int{byByte}
	for range 8 {
		ways = append(ways, func() int { return 1 + rng.IntN(9) })
	}
	for _, next := range ways {
		got, err := scan(next)
		if strings.Join(got, "\n") != strings.Join(want, "\n") || !errors.Is(err, wantErr) {
			t.Fatalf("input %q cut into pieces\n got %v %v\nwant %v %v", in, got, err, want, wantErr)
		}
	}
	return want, wantErr
}

func inClientStream(s *Scanner) { s.Resume(ClientScope) }

func TestElements(t *testing.T) {
	for _, in := range []string{
		`<a/>`,
		`<message to='a@b' type="chat"><body>hi</body></message>`,
	} {
		got, err := scanEveryWay(t, Limits{}, inClientStream, in)
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %v %v", in, got, err)
		}
	}
}
