package faultproxy

import (
	"bufio"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// echo answers each line with itself and reports it.
func echo(t *testing.T) (addr string, lines <-chan string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	got := make(chan string, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewScanner(conn); in.Scan(); {
					got <- in.Text()
					if _, err := conn.Write([]byte(in.Text() + "\n")); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), got
}

// A caller is one client's connection.
type caller struct {
	*testing.T
	net.Conn
	in *bufio.Reader
}

func call(t *testing.T, p *Proxy) caller {
	t.Helper()
	c, err := try(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func try(t *testing.T, p *Proxy) (caller, error) {
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return caller{}, err
	}
	t.Cleanup(func() { conn.Close() })
	return caller{t, conn, bufio.NewReader(conn)}, nil
}

func (c caller) send(line string) {
	c.Helper()
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		c.Fatal(err)
	}
}

func (c caller) expect(line string) {
	c.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := c.in.ReadString('\n'); got != line+"\n" {
		c.Fatalf("read %q %v, want %q", got, err, line)
	}
}

func (c caller) expectEnd() {
	c.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := c.in.ReadString('\n'); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.Fatalf("read %q %v, not the end", got, err)
	}
}

func TestCut(t *testing.T) {
	addr, _ := echo(t)
	p := Start(t, addr)
	c := call(t, p)
	c.send("a")
	c.expect("a")
	p.Cut()
	c.expectEnd()
	if c, err := try(t, p); err == nil {
		c.expectEnd()
	} else if !errors.Is(err, syscall.ECONNRESET) { // it may not last until the call is over
		t.Error(err)
	}
	p.Mend()
	c = call(t, p)
	c.send("b")
	c.expect("b")
}

func TestStall(t *testing.T) {
	addr, lines := echo(t)
	p := Start(t, addr)
	c := call(t, p)
	c.send("a")
	c.expect("a")
	<-lines
	p.Stall()
	c.send("b")
	late := call(t, p)
	late.send("c")
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("stalled, and yet %v", err)
	}
	if len(lines) > 0 {
		t.Fatalf("%q went through", <-lines)
	}
	p.Mend()
	c.expect("b")
	late.expect("c")
}

func TestLoseAnswers(t *testing.T) {
	addr, lines := echo(t)
	p := Start(t, addr)
	c := call(t, p)
	p.LoseAnswers()
	c.send("a")
	c.expectEnd()
	if got := <-lines; got != "a" || p.Lost() != 1 {
		t.Fatalf("the target was asked %q, %d answers lost", got, p.Lost())
	}
}

func TestDelay(t *testing.T) {
	addr, _ := echo(t)
	p := Start(t, addr)
	p.Delay(20 * time.Millisecond)
	c, begun := call(t, p), time.Now()
	c.send("a")
	c.expect("a")
	if took := time.Since(begun); took < 40*time.Millisecond {
		t.Fatalf("there and back in %v", took)
	}
}
