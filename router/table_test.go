package router

import (
	"fmt"
	"sync"
	"testing"

	"chatd/stanza"
)

// TestBindOneWinner: many sessions ask for one resource at once; the table ends up
// with one of them and every other was either refused or replaced exactly once.
func TestBindOneWinner(t *testing.T) {
	for _, replace := range []bool{true, false} {
		t.Run(fmt.Sprintf("replace=%t", replace), func(t *testing.T) {
			table := NewTable()
			const n = 64
			var mu sync.Mutex
			replaced := map[Session]int{}
			refused := 0
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					old, ok := table.Bind(newFake("romeo@chat.test/orchard"), replace)
					mu.Lock()
					defer mu.Unlock()
					if old != nil {
						replaced[old]++
					}
					if !ok {
						refused++
					}
				})
			}
			wg.Wait()
			if table.Len() != 1 {
				t.Fatalf("%d rows", table.Len())
			}
			if len(replaced)+refused != n-1 {
				t.Errorf("%d replaced, %d refused", len(replaced), refused)
			}
			for _, times := range replaced {
				if times != 1 {
					t.Errorf("a session was replaced %d times", times)
				}
			}
			if err := table.ConsistencyCheck(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUnbindReplaced: the loser of a conflict does not remove the winner's row.
func TestUnbindReplaced(t *testing.T) {
	table := NewTable()
	first, second := newFake("romeo@chat.test/orchard"), newFake("romeo@chat.test/orchard")
	table.Bind(first, true)
	table.Bind(second, true)
	table.SetPresence(first, true, 5)
	if row, _ := table.Row(first.jid); row.Available || row.Session != Session(second) {
		t.Errorf("row %+v", row)
	}
	if table.Unbind(first) {
		t.Error("the loser removed a row")
	}
	if !table.Unbind(second) || table.Len() != 0 {
		t.Error("the winner's row stays")
	}
}

// TestRowsAreSnapshots: a reader's rows do not change under it.
func TestRowsAreSnapshots(t *testing.T) {
	table := NewTable()
	a, b := newFake("romeo@chat.test/a"), newFake("romeo@chat.test/b")
	table.Bind(a, false)
	rows := table.Rows(a.jid)
	table.SetPresence(a, true, 3)
	table.Bind(b, false)
	table.Unbind(a)
	if len(rows) != 1 || rows[0].Available || rows[0].Session != Session(a) {
		t.Errorf("snapshot changed: %+v", rows)
	}
}

func TestIntern(t *testing.T) {
	table := NewTable()
	s := newFake("romeo@chat.test/orchard")
	table.Bind(s, false)
	for raw, want := range map[string]string{
		"romeo@chat.test":          "romeo@chat.test",
		"romeo@chat.test/orchard":  "romeo@chat.test/orchard",
		"romeo@chat.test/":         "",
		"romeo@chat.test/other":    "",
		"Romeo@chat.test":          "",
		"juliet@chat.test/orchard": "",
		"":                         "",
	} {
		got, ok := table.Intern([]byte(raw))
		if got.String() != want || ok != (want != "") {
			t.Errorf("Intern(%q) = %q, %t", raw, got, ok)
		}
	}
	raw := []byte("romeo@chat.test/orchard")
	if n := testing.AllocsPerRun(100, func() { table.Intern(raw) }); n != 0 {
		t.Errorf("Intern allocates %v times", n)
	}
}

// TestTableConcurrently is for the race detector and the consistency check.
func TestTableConcurrently(t *testing.T) {
	table := NewTable()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				s := newFake(fmt.Sprintf("user%d@chat.test/r%d", i%17, w%3))
				table.Bind(s, true)
				table.SetPresence(s, true, int8(i))
				table.SetFlags(s, Carbons, Interested)
				table.Row(s.jid)
				if i%2 == 0 {
					table.Unbind(s)
				}
			}
		})
	}
	wg.Wait()
	if err := table.ConsistencyCheck(); err != nil {
		t.Error(err)
	}
}

func BenchmarkTable(b *testing.B) {
	table := NewTable()
	const users = 100_000
	jids := make([]stanza.JID, users)
	for i := range jids {
		s := newFake(fmt.Sprintf("player%d@chat.test/game", i))
		jids[i] = s.jid
		table.Bind(s, false)
	}
	b.Run("Rows", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if len(table.Rows(jids[i*7919%users])) != 1 {
				b.Fatal("missing")
			}
		}
	})
	b.Run("RowsParallelUnderWrites", func(b *testing.B) {
		b.ReportAllocs()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					rows := table.Rows(jids[i%users])
					table.SetPresence(rows[0].Session, true, int8(i))
				}
			}
		})
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				table.Rows(jids[i*7919%users])
			}
		})
		close(stop)
		wg.Wait()
	})
}
