package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// idle: sessions that do nothing for a while, or until the server has ended them all.
func (w *worker) idle() error {
	if err := w.logins(w.all(0, 1), w.Concurrency, w.once, w.enter); err != nil {
		return err
	}
	if err := w.barrier("start"); err != nil {
		return err
	}
	w.mark("begin")
	start := time.Now()
	if _, err := w.until(w.Duration, func() bool { return w.loop.alive == 0 }); err != nil {
		return err
	}
	w.out.Window = time.Since(start)
	w.mark("end")
	return nil
}

// storm: all users log in at once, and try again when refused.
func (w *worker) storm() error {
	if w.Prepare {
		if err := w.prepare(w.all(0, 1)); err != nil {
			return err
		}
	}
	w.dialer.Register = w.Register && !w.Prepare
	if err := w.barrier("start"); err != nil {
		return err
	}
	w.mark("begin")
	start, used := time.Now(), processorTime()
	deadline := start.Add(w.Duration)
	err := w.logins(w.all(0, 1), w.Concurrency, func(ctx context.Context, user int) login {
		return w.persist(ctx, user, deadline)
	}, func(l login) {
		w.enter(l)
		if l.err == nil {
			w.out.Back.add(int64(l.at.Sub(start)))
		}
	})
	w.out.Window, w.out.CPU = w.out.LoginTime, processorTime()-used
	w.mark("end")
	return err
}

// persist logs in, again and again with growing, uneven pauses until the deadline.
func (w *worker) persist(ctx context.Context, user int, deadline time.Time) login {
	inTime, cancel := context.WithDeadlineCause(ctx, deadline, errors.New("not back in time"))
	defer cancel()
	for pause, retries := 500*time.Millisecond, 0; ; retries++ {
		l := w.once(inTime, user)
		l.retries = retries
		if l.err == nil || inTime.Err() != nil {
			return l
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
			pause = min(2*pause, 5*time.Second)
		case <-inTime.Done():
			return l
		}
	}
}
