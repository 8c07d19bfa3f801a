package cluster

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also a node in a process of its own, for tests that stop or kill one.
func TestMain(m *testing.M) {
	if join := os.Getenv("CHATD_CLUSTER_CHILD"); join != "" {
		child(join)
		return
	}
	os.Exit(m.Run())
}

// child joins, says on standard output when its peer goes up and down, and sends
// numbers until its input ends.
func child(join string) {
	h := &counting{up: make(chan *Peer, 100)}
	n, err := Start(context.Background(), Config{Node: "child", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0", Join: []string{join}, Secret: testSecret, Log: quiet("child")}, h)
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	defer n.Close()
	go func() {
		for p := range h.up {
			fmt.Println("up", p.Incarnation)
			go sendNumbers(p)
		}
	}()
	bufio.NewReader(os.Stdin).ReadByte()
}

func sendNumbers(p *Peer) {
	for i := 0; ; i++ {
		if _, ok := p.Send(1, number(i)); !ok {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func startChild(t *testing.T, join string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CHATD_CLUSTER_CHILD="+join)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// TestStoppedProcess stops a process for less than the grace, for longer, and kills it.
func TestStoppedProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 s of real time")
	}
	r := newRecorder(t)
	n := startLoopback(t, "parent", r)
	cmd := startChild(t, n.Status().Gossip)
	eventually(t, "it is up", 20*time.Second, func() bool { return r.ups() == 1 })
	pause := func(d time.Duration) {
		cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(d)
		cmd.Process.Signal(syscall.SIGCONT)
	}

	pause(500 * time.Millisecond)
	sofar := r.count()
	eventually(t, "it goes on", 5*time.Second, func() bool { return r.count() > sofar+20 })
	if n := len(r.of("child", "down")); n != 0 {
		t.Fatalf("stopped for half a second, it went down %d times", n)
	}

	pause(4 * time.Second)
	if n := len(r.of("child", "down")); n != 1 {
		t.Fatalf("stopped for 4 s, it went down %d times", n)
	}
	eventually(t, "it is up again", 10*time.Second, func() bool { return len(r.of("child", "up")) == 2 })
	ups := r.of("child", "up")
	if ups[0].incarnation != ups[1].incarnation {
		t.Error("it is another incarnation")
	}

	cmd.Process.Kill()
	eventually(t, "it is down", 5*time.Second, func() bool { return len(r.of("child", "down")) == 2 })
	if !strings.Contains(fmt.Sprint(n.Status().Members[0].State), StateDead) {
		t.Errorf("it is %s", n.Status().Members[0].State)
	}
}
