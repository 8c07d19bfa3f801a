package main

import (
	"bufio"
	_ "embed"
	"encoding/xml"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"time"
)

//go:embed foreign.py
var foreignScript string

// A foreign is a client that others wrote, who gets messages like all others.
type foreign struct {
	cmd   *exec.Cmd
	input io.Closer
	ended chan struct{} // closed when all that it said has been read
}

// python is Debian's, which has Debian's slixmpp.
const python = "/usr/bin/python3"

// startForeign runs the foreign client of an account that exists.
func (w *world) startForeign(c *client) error {
	args := []string{"-c", foreignScript, c.bare() + "/foreign", password}
	for i := range w.nodes {
		args = append(args, w.nodes[(c.home+i)%len(w.nodes)].addr())
	}
	cmd := exec.Command(python, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w.foreign = &foreign{cmd, input, make(chan struct{})}
	go func(ended chan struct{}) { // until the client ends
		defer close(ended)
		login, number := 0, uint32(0)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if lines.Text() == "login" {
				login, number = login+1, 0
				continue
			}
			e := new(element)
			if xml.Unmarshal(lines.Bytes(), e) == nil {
				number++
				w.ledger.got(receipt{c.name, -1, login, number}, e, false)
			}
		}
		_ = cmd.Wait() // after end it was killed
	}(w.foreign.ended)
	return nil
}

// stop has it end its session.
func (f *foreign) stop() error {
	f.input.Close()
	select {
	case <-f.ended:
		return nil
	case <-time.After(startTime):
		f.kill()
		return errors.New("slixmpp does not end")
	}
}

func (f *foreign) kill() {
	_ = f.cmd.Process.Kill() // it may have ended
	<-f.ended
}
