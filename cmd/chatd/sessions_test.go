package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chatd/c2s"
)

func someSessions() []*c2s.Suspended {
	return []*c2s.Suspended{
		{ID: "one", JID: "juliet@chat.test/balcony", Until: time.Unix(1700000000, 0).UTC(), Wait: time.Minute},
		{ID: "two", JID: "romeo@chat.test/orchard", Until: time.Unix(1700000001, 5).UTC(), Wait: time.Hour,
			Expires: time.Unix(1700000002, 0).UTC(), Handled: 1<<32 - 1, Acked: 7, Storing: true, Inactive: true,
			Unacked:   []c2s.Unacked{{Stored: 5}, {Stanza: "<message><body>a 'quoted' &lt; \"ü\u2028\"\n</body></message>"}},
			Available: true, Priority: -128, Flags: 5, Presence: "<presence from='romeo@chat.test/orchard'/>", Directed: []string{"a@b", "c@d/e"}},
	}
}

func sessionsText(tb testing.TB, all ...*c2s.Suspended) string {
	tb.Helper()
	var b bytes.Buffer
	if err := writeSessions(&b, slices.Values(all)); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestSessionsFile(t *testing.T) {
	dir := t.TempDir()
	keep := keepSessions(dir)
	path := filepath.Join(dir, sessionsFile)
	for _, all := range [][]*c2s.Suspended{someSessions(), someSessions()[:1]} {
		if err := keep(slices.Values(all)); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readSessions(f)
		f.Close()
		if err != nil || !reflect.DeepEqual(got, all) {
			t.Errorf("read %+v, %v", got, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
	if err := keepSessions(filepath.Join(dir, "nowhere"))(slices.Values(someSessions())); err == nil {
		t.Error("kept in a folder that does not exist")
	}
}

// TestSessionsFileDamaged: a file in which any byte is another one, or is missing, is worth nothing.
func TestSessionsFileDamaged(t *testing.T) {
	whole := sessionsText(t, someSessions()...)
	refused := func(what, text string) {
		t.Helper()
		if all, err := readSessions(strings.NewReader(text)); !errors.Is(err, errKeptFile) || all != nil {
			t.Errorf("%s: %d sessions, %v", what, len(all), err)
		}
	}
	for i := range len(whole) {
		refused("cut", whole[:i])
		changed := []byte(whole)
		changed[i] ^= 1
		refused("changed", string(changed))
	}
	lines := strings.SplitAfter(whole, "\n")
	refused("line missing", lines[0]+lines[1]+lines[3])
	refused("line twice", lines[0]+lines[1]+lines[1]+lines[2]+lines[3])
	refused("something behind", whole+"x")
	refused("more lines", whole+"{}\n")
	refused("later version", strings.Replace(whole, "sessions 1", "sessions 2", 1))
	refused("endless line", sessionsVersion+"{"+strings.Repeat(" ", keptLine))
}

// FuzzSessionsFile: nothing makes the reader panic, and what it takes it would write alike.
func FuzzSessionsFile(f *testing.F) {
	f.Add(sessionsText(f))
	f.Add(sessionsText(f, someSessions()...))
	f.Add(sessionsText(f, &c2s.Suspended{}))
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readSessions(strings.NewReader(text))
		if (err != nil) != (all == nil) && len(all) > 0 {
			t.Fatalf("%d sessions and %v", len(all), err)
		}
		if err != nil {
			return
		}
		again, err := readSessions(strings.NewReader(sessionsText(t, all...)))
		if err != nil || len(again) != len(all) {
			t.Errorf("%d sessions, then %d, %v", len(all), len(again), err)
		}
	})
}

// FuzzSessions is FuzzSessionsFile with the sum right, so that it gets to the sessions.
func FuzzSessions(f *testing.F) {
	for _, line := range strings.SplitAfter(sessionsText(f, someSessions()...), "\n")[1:3] {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		text := sealed(lines)
		all, err := readSessions(strings.NewReader(text))
		if err != nil {
			return
		}
		if n := strings.Count(lines, "\n"); len(all) != n {
			t.Errorf("%d sessions of %d lines", len(all), n)
		}
		written := sessionsText(t, all...)
		again, err := readSessions(strings.NewReader(written))
		if err != nil || sessionsText(t, again...) != written {
			t.Errorf("%s, then %s, %v", written, sessionsText(t, again...), err)
		}
	})
}

// sealed is a file of these lines.
func sealed(lines string) string {
	text := sessionsVersion + lines
	return text + fmt.Sprintf(keptEnd, strings.Count(lines, "\n"), sha256.Sum256([]byte(text)))
}

// TestStartWithoutSessions: a file that is damaged costs one line of the log, once, and one that is
// kept is read once.
func TestStartWithoutSessions(t *testing.T) {
	config := testConfig(t, "")
	data := filepath.Join(filepath.Dir(config), "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(data, sessionsFile)
	for text, says := range map[string]string{
		"chatd sessions 9\n":               `level=WARN msg="sessions not restored: their clients log in anew"`,
		sessionsText(t, someSessions()...): `msg="sessions restored" sessions=2 resumable=0`,
		"":                                 "",
	} {
		if text != "" {
			write(t, path, text)
		}
		i := startServe(t, config)
		if n := strings.Count(i.said, "restored"); !strings.Contains(i.said, says) || n != strings.Count(says, "restored") {
			t.Errorf("want %s, it said\n%s", says, i.said)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file is still there: %v", err)
		}
		i.stop()
		code := <-i.code
		i.code <- code // for the cleanup
	}
}
