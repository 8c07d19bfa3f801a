package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A job is the first line that a worker reads. "go MARK" lines follow.
type job struct {
	Options options
	Index   int    // of this process
	Run     uint32 // tells this run's messages from others'
}

// An event is a line that a worker writes; one of its fields is set.
type event struct {
	Mark     string    `json:",omitempty"` // this point is reached
	Progress *progress `json:",omitempty"`
	Outcome  *outcome  `json:",omitempty"` // the last one
	Error    string    `json:",omitempty"` // the last one
}

// progress is how far a worker is.
type progress struct {
	Online                  int
	Failed, Sent, Delivered uint64
}

// A worker runs one process's share of the load. It belongs to one goroutine,
// which is the loop's.
type worker struct {
	options
	job
	ctx     context.Context
	emit    *json.Encoder
	emitErr error
	goes    chan string // marks that all workers have reached
	loop    *loop
	dialer  *dialer
	first   int        // number of the first user
	online  []*session // by user, from first on; nil: not logged in
	told    time.Time  // of progress
	out     outcome

	element func(s *session, elem []byte) // of the mode; the rest is common
}

// work reads a job, does it, and writes events.
func work(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return errors.Join(errors.New("no job"), lines.Err())
	}
	w := &worker{emit: json.NewEncoder(out), goes: make(chan string, 16), told: time.Now()}
	if err := json.Unmarshal(lines.Bytes(), &w.job); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the input
		defer cancel(errors.New("interrupted"))
		for lines.Scan() {
			var mark string
			if _, err := fmt.Sscanf(lines.Text(), "go %s", &mark); err == nil {
				select {
				case w.goes <- mark:
				case <-ctx.Done():
				}
			}
		}
	}()
	w.ctx = ctx
	err := w.run()
	if err != nil {
		w.send(event{Error: err.Error()})
	} else {
		w.send(event{Outcome: &w.out})
	}
	return w.emitErr
}

func (w *worker) run() (err error) {
	w.options = w.Options
	var count int
	w.first, count = w.share(w.Index)
	w.online = make([]*session, count)
	w.dialer = newDialer(w.options, w.Index)
	if w.loop, err = newLoop(); err != nil {
		return err
	}
	w.element = func(*session, []byte) {}
	w.loop.handle = w.handle
	w.loop.lost = func(s *session, err error) {
		w.out.Disconnected++
		w.out.fail(fmt.Errorf("disconnected: %w", err))
	}
	defer w.loop.close()
	return map[string]func() error{"idle": w.idle, "chat": w.chat, "presence": w.presence,
		"rooms": w.rooms, "offline": w.offline, "storm": w.storm}[w.Mode]()
}

func (w *worker) send(e event) {
	if w.emitErr == nil {
		w.emitErr = w.emit.Encode(e)
	}
}

// step is a turn of the loop, and now and then a word about it.
func (w *worker) step(timeout time.Duration) error {
	if err := w.loop.step(timeout); err != nil {
		return err
	}
	if now := time.Now(); now.Sub(w.told) >= time.Second {
		w.told = now
		w.send(event{Progress: &progress{w.loop.alive, uint64(w.out.LoginFailed) + w.out.Disconnected, w.out.Sent, w.out.Delivered}})
	}
	if w.emitErr != nil {
		return w.emitErr
	}
	return context.Cause(w.ctx)
}

// turn is the longest wait of one step.
const turn = 20 * time.Millisecond

// mark tells that this point is reached.
func (w *worker) mark(name string) { w.send(event{Mark: name}) }

// barrier waits until all processes have reached this point.
func (w *worker) barrier(name string) error {
	w.mark(name)
	for {
		select {
		case got := <-w.goes:
			if got == name {
				return nil
			}
		default:
			if err := w.step(turn); err != nil {
				return err
			}
		}
	}
}

// until steps until done, at most for that long. It reports whether it was done.
func (w *worker) until(limit time.Duration, done func() bool) (bool, error) {
	for end := time.Now().Add(limit); !done(); {
		left := time.Until(end)
		if left <= 0 {
			return false, nil
		}
		if err := w.step(min(left, turn)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// A login is one user's way in.
type login struct {
	session *session
	err     error
	retries int
	took    time.Duration // of the attempt that decided
	at      time.Time     // when it was decided
}

// logins logs these users in, with so many at once in all processes together,
// 0 for all. Sessions join the loop as they come; meanwhile the loop runs.
func (w *worker) logins(users []int, concurrency int, connect func(context.Context, int) login, done func(login)) error {
	if concurrency = (concurrency + w.Processes - 1) / w.Processes; concurrency == 0 {
		concurrency = len(users)
	}
	queue, results := make(chan int, len(users)), make(chan login, len(users))
	for _, u := range users {
		queue <- u
	}
	close(queue)
	ctx, cancel := context.WithCancelCause(w.ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(errors.New("given up"))
	start := time.Now()
	for range min(concurrency, len(users)) {
		group.Go(func() {
			for u := range queue {
				results <- connect(ctx, u)
			}
		})
	}
	for left := len(users); left > 0; {
		select {
		case l := <-results:
			left--
			w.out.LoginTime = max(w.out.LoginTime, l.at.Sub(start))
			done(l)
		default:
			if err := w.step(2 * time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// once is one attempt to log in.
func (w *worker) once(ctx context.Context, user int) login {
	start := time.Now()
	s, err := w.dialer.login(ctx, user)
	now := time.Now()
	if err == nil {
		err = s.socket.detach()
	}
	return login{session: s, err: err, took: now.Sub(start), at: now}
}

// enter counts a login and has its session join the loop.
func (w *worker) enter(l login) {
	w.out.Retries += l.retries
	if l.err != nil {
		w.out.LoginFailed++
		w.out.fail(fmt.Errorf("login: %w", l.err))
		return
	}
	w.out.LoggedIn++
	w.out.Login.add(int64(l.took))
	w.online[l.session.user-w.first] = l.session
	w.loop.adopt(l.session)
}

// all are this process's users, every step-th from the offset-th on.
func (w *worker) all(offset, step int) (users []int) {
	for i := offset; i < len(w.online); i += step {
		users = append(users, w.first+i)
	}
	return users
}

// prepare logs users in and out again, so that they exist, their salted passwords
// are known, and nothing waits for them. All of them must succeed.
func (w *worker) prepare(users []int) error {
	const together = 64
	var failed error
	err := w.logins(users, together, func(ctx context.Context, user int) login {
		s, err := w.dialer.login(ctx, user)
		switch {
		case err != nil:
		case w.Login == loginResume:
			err = s.socket.Close() // the session waits
		default:
			err = w.dialer.logout(s)
		}
		return login{err: err}
	}, func(l login) {
		if l.err != nil {
			failed = fmt.Errorf("the login before the test: %w", l.err)
		}
	})
	w.out.LoginTime = 0
	return errors.Join(err, failed)
}
