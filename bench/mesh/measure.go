package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"chatd/store/storetest/mariadb"
)

const (
	settleTime = 3 * time.Second // for what logins left to do
	warmup     = time.Second
	drain      = 2 * time.Second
)

// A pair is a client that sends, and another one that it sends to.
type pair struct{ from, to *client }

// measure writes the lines of one cluster, and returns what busy loops did to it.
func measure(ctx context.Context, o options, db *mariadb.Server, dir string, count int, stdout io.Writer) (alarm string, err error) {
	nodes, err := startNodes(ctx, o.binary, db, dir, count)
	if err != nil {
		return "", err
	}
	defer func() { killAll(nodes) }()
	kinds := []struct {
		name  string
		pairs []pair
	}{{name: "one node"}, {name: "different nodes"}}
	if count == 1 {
		kinds = kinds[:1]
	}
	for i := range kinds {
		if kinds[i].pairs, err = connect(ctx, o, nodes, i == 1); err != nil {
			return "", err
		}
	}
	time.Sleep(settleTime)
	idle, err := idleShare(nodes, o.window)
	if err != nil {
		return "", err
	}
	for _, kind := range kinds {
		plain, err := talk(o, nodes, kind.pairs, false, idle)
		if err != nil {
			return "", err
		}
		for _, p := range kind.pairs {
			if err := errors.Join(p.from.manage(), p.to.manage()); err != nil {
				return "", err
			}
		}
		managed, err := talk(o, nodes, kind.pairs, true, idle)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(stdout, "| %d | %s | %d | %s | %.0f | %s | %s | %.0f | %.1f |\n", count, kind.name, len(plain.took)+len(managed.took),
			quantiles(plain.took), plain.cost, quantiles(managed.took), quantiles(managed.acks), managed.cost, 100*idle)
	}
	if count < slices.Max(o.nodes) || count < 3 || o.busy == 0 {
		return "", nil
	}
	return busy(ctx, o, nodes)
}

// connect logs in so many pairs, on one node each or on two, with all nodes and all links used alike.
func connect(ctx context.Context, o options, nodes []*node, apart bool) (pairs []pair, err error) {
	for k := range o.pairs {
		from := k % len(nodes)
		to := from
		if apart {
			to = (from + 1 + k/len(nodes)%(len(nodes)-1)) % len(nodes)
		}
		var p pair
		for _, end := range []struct {
			c    **client
			node int
			name string
		}{{&p.from, from, "from"}, {&p.to, to, "to"}} {
			if *end.c, err = dial(ctx, nodes[end.node].addr, fmt.Sprintf("%s%d.%t", end.name, k, apart)); err != nil {
				return nil, err
			}
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// idleShare is what the nodes use of a core together.
func idleShare(nodes []*node, window time.Duration) (float64, error) {
	before, err := used(nodes)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	time.Sleep(window)
	after, err := used(nodes)
	return float64(after-before) / float64(time.Since(begun)), err
}

// A result is what came of one window.
type result struct {
	took, acks []time.Duration
	cost       float64 // us of processor time of the nodes for each message, beyond what they use idle
}

// talk has the pairs talk at the rate, each at its own moments, whatever becomes of it.
func talk(o options, nodes []*node, pairs []pair, ask bool, idle float64) (r result, err error) {
	all := make([]*client, 0, 2*len(pairs))
	for _, p := range pairs {
		all = append(all, p.from, p.to)
	}
	begin := time.Now().Add(warmup)
	end := begin.Add(o.window)
	var readers, writers sync.WaitGroup
	for _, c := range all {
		c.begun, c.took, c.acks = begin, nil, nil
		c.conn.SetReadDeadline(end.Add(drain))
		readers.Go(c.read)
	}
	sent := make([]int, len(pairs))
	interval := time.Duration(float64(len(pairs)) / o.rate * float64(time.Second))
	for k, p := range pairs {
		writers.Go(func() {
			due := time.Now().Add(interval * time.Duration(k) / time.Duration(len(pairs)))
			for ; due.Before(end); due = due.Add(interval) {
				time.Sleep(time.Until(due))
				if time.Now().After(begin) {
					sent[k]++
				}
				if err := p.from.send(p.to.full, ask); err != nil {
					p.from.fail(err)
					return
				}
			}
		})
	}
	time.Sleep(time.Until(begin))
	before, err := used(nodes)
	if err != nil {
		return r, err
	}
	writers.Wait()
	after, err := used(nodes)
	if err != nil {
		return r, err
	}
	took := time.Since(begin)
	readers.Wait()
	total := 0
	for k := range pairs {
		total += sent[k]
	}
	for _, c := range all {
		c.conn.SetReadDeadline(time.Time{})
		r.took, r.acks = append(r.took, c.took...), append(r.acks, c.acks...)
		err = errors.Join(err, c.broken)
	}
	if missing := total - len(r.took); err == nil && (missing > len(pairs) || ask && total-len(r.acks) > len(pairs)) {
		err = fmt.Errorf("%d messages were sent, %d came, %d were acknowledged", total, len(r.took), len(r.acks))
	}
	r.cost = float64(after-before-time.Duration(idle*float64(took))) / float64(time.Microsecond) / float64(max(total, 1))
	return r, err
}

// quantiles are the median and the 99th percentile in milliseconds.
func quantiles(all []time.Duration) string {
	slices.Sort(all)
	at := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))]) / float64(time.Millisecond) }
	return fmt.Sprintf("%.2f | %.2f", at(0.5), at(0.99))
}
