package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"chatd/cluster"
)

const (
	// apiPatience is how long a command waits for the private API.
	apiPatience = 10 * time.Second
	maxAnswer   = 4 << 20
)

// clusterCommand is chatd cluster.
func clusterCommand(ctx context.Context, e environment, args []string) error {
	fs := flag.NewFlagSet("cluster", flag.ContinueOnError)
	var at, config string
	fs.StringVar(&at, "api", "", "")
	fs.StringVar(&config, "config", "", "")
	rest, err := parse(fs, args)
	if err != nil {
		return err
	}
	forget := len(rest) == 2 && rest[0] == "forget"
	if !forget && (len(rest) != 1 || rest[0] != "status" && rest[0] != "leave") {
		return usagef("cluster takes status, leave, or forget NODE")
	}
	if at, err = apiAddress(e, at, config); err != nil {
		return err
	}
	if forget {
		_, err := callAPI(ctx, e, http.MethodDelete, at+"/cluster/"+url.PathEscape(rest[1]))
		return err
	}
	if rest[0] == "leave" {
		body, err := callAPI(ctx, e, http.MethodPost, at+"/drain")
		if err == nil {
			fmt.Fprint(e.stdout, string(body))
		}
		return err
	}
	body, err := callAPI(ctx, e, http.MethodGet, at+"/cluster")
	if err != nil {
		return err
	}
	var o cluster.Overview
	if err := json.Unmarshal(body, &o); err != nil {
		return fmt.Errorf("%s/cluster: %w", at, err)
	}
	return printOverview(e.stdout, &o)
}

// apiAddress is where the private API is, without a slash at the end.
func apiAddress(e environment, at, config string) (string, error) {
	if at == "" && config != "" {
		cfg, err := loadConfig(config, e.getenv)
		if err != nil {
			return "", err
		}
		if len(cfg.API.Listen) == 0 {
			return "", fmt.Errorf("%s: api.listen is empty", config)
		}
		at = cfg.API.Listen[0]
	}
	at = cmp.Or(at, "127.0.0.1:5281")
	if !strings.Contains(at, "://") {
		at = "http://" + at
	}
	return strings.TrimRight(at, "/"), nil
}

// callAPI asks a running node.
func callAPI(ctx context.Context, e environment, method, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	if token := e.getenv("CHATD_API_TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return body, nil
	}
	var problem struct{ Detail string }
	if json.Unmarshal(body, &problem) != nil || problem.Detail == "" {
		problem.Detail = resp.Status
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		problem.Detail += "; the token is to be in CHATD_API_TOKEN"
	}
	return nil, errors.New(problem.Detail)
}

// printOverview writes a line for each node.
func printOverview(w io.Writer, o *cluster.Overview) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tSINCE\tSESSIONS\tLINK\tRTT\tQUEUED\tLAG\tTABLES\tBUCKETS\t")
	fmt.Fprintf(t, "%s\tthis\t%s\t%d\t%s\t\t\t\t\t%d\t\n", o.Node, ago(o.Started), o.Sessions, o.Link, o.Buckets[o.Node])
	replicas := make(map[string]cluster.ReplicaView)
	for _, r := range o.Replicas {
		replicas[r.Node] = r
	}
	for _, m := range o.Members {
		r := replicas[m.Name]
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\t%d\t%s\n", m.Name, m.State, ago(m.Since), r.Sessions, m.Link,
			m.RoundTrip.Round(10*time.Microsecond), m.Queued, m.Lag.Round(time.Millisecond), agreement(&r), o.Buckets[m.Name], m.Error)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	state := "whole"
	switch {
	case len(o.Silent) > 0:
		state = "an island: nobody answers at " + strings.Join(o.Silent, ", ") + ", or not with this secret"
	case o.Island:
		state = "an island: not all nodes are reached"
	}
	if o.Conflict != "" {
		state += "; ANOTHER NODE HAS THE NAME " + o.Node + " and takes links on " + o.Conflict
	}
	_, err := fmt.Fprintf(w, "\n%s; %d sessions here, %d elsewhere; epoch %d; repaired %d of %d differing segments, %d gaps, %d resources bound twice\n",
		state, o.Sessions, o.Remote, o.Epoch, o.Repaired, o.Drift, o.Gaps, o.Twice)
	return err
}

func agreement(r *cluster.ReplicaView) string {
	switch {
	case r.Agrees:
		return "agree"
	case r.Differing > 0:
		return fmt.Sprintf("%d differ", r.Differing)
	case r.Complete:
		return "not compared"
	}
	return "incomplete"
}

func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return time.Since(t).Round(time.Second).String()
}
