package main

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"chatd/cluster"
)

// check finds what is wrong with settings that are right one by one.
func (c *Config) check() (errs configErrors) {
	if c.C2S.TLS == "off" && c.lines["c2s.listen_tls"] == 0 {
		c.C2S.ListenTLS = nil
	}
	if c.C2S.TLS == "off" && c.lines["http.tls"] == 0 {
		c.HTTP.TLS = "off"
	}
	fail := func(key, what string) { errs = append(errs, c.wrong(key, what)) }
	c.conflicts(fail)
	c.webConflicts(fail)
	c.tokenConflicts(fail)
	c.filterConflicts(fail)
	c.storeConflicts(fail)
	c.clusterConflicts(fail)
	return errs
}

func (c *Config) conflicts(fail func(key, what string)) {
	if c.C2S.TLS == "off" {
		for _, a := range c.C2S.Listen {
			if !loopback(a) {
				fail("c2s.tls", fmt.Sprintf(`"off" is for loopback only, but c2s.listen has %s: use "required"`, a))
			}
		}
		if len(c.C2S.ListenTLS) > 0 {
			fail("c2s.listen_tls", `needs TLS, but c2s.tls is "off"`)
		}
	}
	if c.MUC.Host == c.Domain {
		fail("muc.host", "must not be the domain itself: its addresses are users'")
	}
	if c.Data == "" {
		fail("data", "must name a directory")
	}
	if len(c.C2S.Listen)+len(c.C2S.ListenTLS)+len(c.HTTP.Listen) == 0 {
		fail("c2s.listen", "and c2s.listen_tls and http.listen are all empty: no client could connect")
	}
	if c.C2S.CertFile != "" && c.C2S.KeyFile == "" {
		fail("c2s.cert_file", "needs c2s.key_file too")
	}
	if c.C2S.KeyFile != "" && c.C2S.CertFile == "" {
		fail("c2s.key_file", "needs c2s.cert_file too")
	}
	seen := make(map[string]bool)
	for i, t := range c.API.Tokens {
		if seen[t.Name] {
			fail(fmt.Sprintf("api.tokens[%d]", i), fmt.Sprintf("another token is named %q", t.Name))
		}
		seen[t.Name] = true
	}
}

// clusterConflicts finds what is missing for a node of a cluster.
func (c *Config) clusterConflicts(fail func(key, what string)) {
	k := &c.Cluster
	if k.Node == "" {
		if c.lines["cluster.node"] == 0 && c.mentions("cluster") || k.Gossip != "" || k.Link != "" || len(k.Join) > 0 {
			fail("cluster.node", "is missing: each node of a cluster has a name of its own")
		}
		return
	}
	if k.Gossip == "" {
		fail("cluster.gossip", "is missing: host:port where the other nodes find this one")
	}
	if k.Link == "" {
		fail("cluster.link", "is missing: host:port where the other nodes link to this one")
	}
	if k.Link != "" && k.Link == k.Gossip {
		fail("cluster.link", "is the address of cluster.gossip: each needs a port of its own")
	}
	if c.Store.Driver == "sqlite" {
		fail("store.driver", `"sqlite" is for one node: a cluster needs a store that all its nodes share, "mysql" or "riak"`)
	}
	node := clusterConfig(c, nil)
	if err := cluster.CheckSecret(&node); err != nil {
		fail("cluster.secret", err.Error())
	}
}

// mentions reports whether the file has a section, be it without keys.
func (c *Config) mentions(section string) bool {
	for key := range c.lines {
		if key == section || strings.HasPrefix(key, section+".") {
			return true
		}
	}
	return false
}

// warn logs what is allowed and yet likely to surprise.
func (c *Config) warn(log *slog.Logger) {
	for _, a := range c.API.Listen {
		if !loopback(a) {
			log.Warn("the private API is reachable from other machines, without TLS", "addr", a)
		}
	}
	c.warnOfStore(log)
	c.warnOfProxy(log)
	c.warnOfTokens(log)
	c.warnOfHooks(log)
}

// keep copies from running what a reload cannot change into c and returns the
// keys for which that makes a difference.
func (c *Config) keep(running *Config) (differ []string) {
	was := running.settings(nil)
	for i, s := range c.settings(nil) {
		at, old := reflect.ValueOf(s.at).Elem(), reflect.ValueOf(was[i].at).Elem()
		if s.when == restart && !reflect.DeepEqual(at.Interface(), old.Interface()) {
			at.Set(old)
			differ = append(differ, s.key)
		}
	}
	return differ
}
