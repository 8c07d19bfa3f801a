package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatd/cluster"
)

var asking = &http.Client{Timeout: answerTime}

// get asks a node's private API.
func (n *node) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.api()+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiToken)
	resp, err := asking.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s%s: %s", n.name(), path, resp.Status)
	}
	return resp, err
}

// metric is the value of one of the node's metrics that has no labels.
func (n *node) metric(ctx context.Context, name string) (float64, error) {
	resp, err := n.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("no metric " + name)
}

// overview is the cluster as the node sees it.
func (n *node) overview(ctx context.Context) (o cluster.Overview, err error) {
	resp, err := n.get(ctx, "/cluster")
	if err != nil {
		return o, err
	}
	defer resp.Body.Close()
	if err = json.NewDecoder(resp.Body).Decode(&o); err != nil {
		return o, err
	}
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return o, err
	}
	wrong := time.Until(theirs).Round(15 * time.Second) // as much as the scenario has set the node's clock wrong
	for i := range o.Replicas {
		if at := o.Replicas[i].Compared; at != nil {
			*at = at.Add(-wrong)
		}
	}
	return o, nil
}

// A drift is what nodes' tables have needed by way of repair.
type drift struct{ Differing, Gaps, Twice uint64 }

// agree waits until the tables of all nodes are the same: each sees all others alive, has compared their digests with what it knows
// since begun and found no difference, and has the same map of buckets; and there are so many sessions, none of them twice.
func (w *world) agree(begun time.Time, sessions int) (d drift, err error) {
	var why error
	_, err = w.await(bound, func() bool {
		all := make([]cluster.Overview, len(w.nodes))
		for i, n := range w.nodes {
			if all[i], why = n.overview(w.ctx); why != nil {
				return false
			}
		}
		d, why = compare(all, begun, sessions)
		return why == nil
	})
	if err != nil {
		return d, fmt.Errorf("tables: %w: %w", why, err)
	}
	return d, nil
}

func compare(all []cluster.Overview, begun time.Time, sessions int) (d drift, err error) {
	has := make(map[string]int)
	total := 0
	for _, o := range all {
		has[o.Node] = o.Sessions
		total += o.Sessions
		d.Differing, d.Gaps, d.Twice = d.Differing+o.Drift, d.Gaps+o.Gaps, d.Twice+o.Twice
	}
	if total != sessions {
		return d, fmt.Errorf("%d sessions, not %d: %v", total, sessions, has)
	}
	for _, o := range all {
		if o.Epoch != all[0].Epoch || !maps.Equal(o.Buckets, all[0].Buckets) {
			return d, fmt.Errorf("places: %s has %d %v, %s has %d %v", o.Node, o.Epoch, o.Buckets, all[0].Node, all[0].Epoch, all[0].Buckets)
		}
		if o.Island || len(o.Members) != len(all)-1 || len(o.Replicas) != len(all)-1 {
			return d, fmt.Errorf("%s sees %d others, has rows of %d, an island: %t", o.Node, len(o.Members), len(o.Replicas), o.Island)
		}
		if i := slices.IndexFunc(o.Members, func(m cluster.Member) bool { return m.State != cluster.StateAlive }); i >= 0 {
			return d, fmt.Errorf("%s has %s for %s", o.Node, o.Members[i].Name, o.Members[i].State)
		}
		for _, v := range o.Replicas {
			if !v.Agrees || v.Compared == nil || v.Compared.Before(begun) || v.Sessions != has[v.Node] {
				return d, fmt.Errorf("%s has %d rows of %s, which has %d; agrees: %t", o.Node, v.Sessions, v.Node, has[v.Node], v.Agrees)
			}
		}
	}
	return d, nil
}
