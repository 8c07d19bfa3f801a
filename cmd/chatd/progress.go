package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"chatd/store/storecopy"
)

// A progress tells from time to time how far a long task is: on a terminal in one line that changes, elsewhere in lines.
type progress struct {
	out      io.Writer
	terminal bool
	what     string
	total    int64
	done     *storecopy.Done
	begun    time.Time
	ending   chan struct{}
	ended    chan struct{}
}

// startProgress tells of a task until stop is called. total is how many names there are.
func startProgress(out io.Writer, what string, total int64, done *storecopy.Done) *progress {
	p := &progress{out: out, what: what, total: total, done: done, begun: time.Now(), ending: make(chan struct{}), ended: make(chan struct{})}
	every := 10 * time.Second
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal, every = true, 200*time.Millisecond
	}
	go p.run(every)
	return p
}

// stop ends it with a last word.
func (p *progress) stop() {
	close(p.ending)
	<-p.ended
}

func (p *progress) run(every time.Duration) {
	defer close(p.ended)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.say(p.line(time.Since(p.begun)))
		case <-p.ending:
			p.say(p.line(time.Since(p.begun)))
			if p.terminal {
				fmt.Fprintln(p.out)
			}
			return
		}
	}
}

func (p *progress) say(line string) {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K", p.bar(), line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// barWidth is how many characters wide the bar is.
const barWidth = 24

func (p *progress) bar() string {
	full := barWidth
	if p.total > 0 {
		full = int(min(p.total, p.done.Names.Load()) * barWidth / p.total)
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "] "
}

// line says how much is done, how fast it goes, and how long the rest will take.
func (p *progress) line(passed time.Duration) string {
	names, messages := p.done.Names.Load(), p.done.Messages.Load()
	line := fmt.Sprintf("%s %d of %d names, %d messages", p.what, names, p.total, messages)
	seconds := passed.Seconds()
	if seconds < 1 {
		return line
	}
	line += fmt.Sprintf(", %.0f names/s, %.0f messages/s", float64(names)/seconds, float64(messages)/seconds)
	if names > 0 && names < p.total {
		rest := time.Duration(float64(passed) * float64(p.total-names) / float64(names))
		line += ", " + rest.Round(time.Second).String() + " left"
	}
	return line
}
