package riaktest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
)

func TestFrames(t *testing.T) {
	var b []byte
	for _, body := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("y"), 200<<10)} {
		b = appendFrame(b, 9, body)
	}
	r := bytes.NewReader(b)
	for _, want := range []int{0, 1, 200 << 10} {
		code, body, err := readFrame(r)
		if err != nil || code != 9 || len(body) != want {
			t.Fatalf("code %d, %d bytes, %v", code, len(body), err)
		}
	}
	if _, _, err := readFrame(r); err != io.EOF {
		t.Errorf("%v", err)
	}
	for _, bad := range [][]byte{{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff, 1}} {
		if _, _, err := readFrame(bytes.NewReader(bad)); !errors.Is(err, errFrame) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if _, _, err := readFrame(bytes.NewReader([]byte{3, 0, 0, 0, 1, 2})); err != io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
	}
}

// FuzzFrame: whatever comes is a frame, which is written as it was read, or an
// error, and takes no more memory than has come.
func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, codePing, nil))
	f.Add(appendFrame(appendFrame(nil, codeGet, []byte("\x0a\x01b\x12\x01k")), codePing, nil))
	f.Add([]byte{3, 0xff, 0xff, 0xff, 9, 1, 2, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		var out []byte
		for {
			code, body, err := readFrame(r)
			if err != nil {
				break
			}
			if cap(body) > 4*len(in)+64<<10 {
				t.Fatalf("%d bytes for %d", cap(body), len(in))
			}
			out = appendFrame(out, code, body)
		}
		if !bytes.HasPrefix(in, out) {
			t.Fatalf("%x read as %x", in, out)
		}
	})
}

// FuzzSession: a server outlives whatever a client sends, and answers in frames.
func FuzzSession(f *testing.F) {
	c, err := open(f, Config{Types: map[string]string{"t": ""}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.close)
	f.Add(appendFrame(nil, codeGet, []byte("\x0a\x01b\x12\x01k")))
	f.Add(appendFrame(nil, codePut, []byte("\x0a\x01b\x12\x01k\x22\x03\x0a\x01v")))
	f.Add(appendFrame(nil, codePut, []byte("\x0a\x01b\x12\x01k\x1a\x02\x01a\x22\x03\x0a\x01v")))
	f.Add(appendFrame(nil, codeDel, []byte("\x0a\x01b\x12\x01k")))
	f.Add(appendFrame(nil, codeListKeys, []byte("\x0a\x01b")))
	f.Add(appendFrame(nil, codeIndex, []byte("\x0a\x01b\x12\x01i\x18\x00")))
	f.Fuzz(func(t *testing.T, in []byte) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			newSession(c.nodes[0], theirs).serve()
			theirs.Close()
			close(done)
		}()
		go func() {
			ours.Write(in)
			ours.Write(appendFrame(nil, 255, nil))
			ours.Close()
		}()
		answers := bufio.NewReader(ours)
		for {
			if _, _, err := readFrame(answers); err != nil {
				break
			}
		}
		<-done
	})
}

func FuzzClock(f *testing.F) {
	f.Add([]byte{})
	f.Add(clock{"0.1.1": 7, "2.3.1": 300}.encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := decodeClock(in)
		if err != nil {
			return
		}
		if again, err := decodeClock(c.encode()); err != nil || !again.equal(c) {
			t.Fatalf("%v became %v, %v", c, again, err)
		}
	})
}

// Nothing runs on when a cluster ends, also not what waits for a silent node.
func TestEndsWhileStalled(t *testing.T) {
	c, err := open(t, Config{})
	if err != nil {
		t.Fatal(err)
	}
	hang := c.Fault(Fault{Do: Hang, Op: Ping})
	for i, n := range c.nodes {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i == 0 {
			c.Stall(i)
		}
		if _, err := conn.Write(appendFrame(nil, codePing, nil)); err != nil {
			t.Fatal(err)
		}
	}
	for hang.Hits() < len(c.nodes)-1 {
		runtime.Gosched()
	}
	c.close() // returns when the last goroutine has
	if conn, err := net.Dial("tcp", c.nodes[1].addr); err == nil {
		conn.Close()
		t.Error("the listener is still there")
	}
}
