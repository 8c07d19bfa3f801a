package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxPasswordLine bounds what is read of a password.
const maxPasswordLine = 4096

// askPassword gets a new password: twice and without echo from a terminal, else
// as one line.
func askPassword(ctx context.Context, e environment, jid string) (string, error) {
	f, ok := e.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return readLine(e.stdin)
	}
	return askTwice(jid, func(prompt string) (string, error) {
		fmt.Fprint(e.stderr, prompt)
		defer fmt.Fprintln(e.stderr)
		return readSilently(ctx, int(f.Fd()))
	})
}

// askTwice guards against a slip that nobody sees.
func askTwice(jid string, ask func(prompt string) (string, error)) (string, error) {
	first, err := ask("Password for " + jid + ": ")
	if err != nil {
		return "", err
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the passwords differ; nothing was changed")
	}
	return first, nil
}

// readSilently reads from a terminal without echo. An interrupt ends it: the
// terminal is then as before, and the reading goroutine ends with the process.
func readSilently(ctx context.Context, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type answer struct {
		password []byte
		err      error
	}
	got := make(chan answer, 1)
	go func() {
		p, err := term.ReadPassword(fd)
		got <- answer{p, err}
	}()
	select {
	case a := <-got:
		return string(a.password), a.err
	case <-ctx.Done():
		return "", errors.Join(errors.New("interrupted"), term.Restore(fd, before))
	}
}

func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxPasswordLine+1)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if len(line) > maxPasswordLine {
		return "", errors.New("the password is too long")
	}
	if line == "" {
		return "", errors.New("no password: give it with -password or as one line on the standard input")
	}
	return line, nil
}
