package cluster

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// gossipConfig is memberlist's. Measured: these notice a killed node in 1.2 to 1.7 s in clusters of 3 to 30
// and do not take a busy one for dead; probes each 100 ms do so hundreds of times.
func (n *Node) gossipConfig(t memberlist.NodeAwareTransport) (*memberlist.Config, error) {
	host, port, err := n.gossipAddress()
	if err != nil {
		return nil, err
	}
	ip, port, err := t.FinalAdvertiseAddr(host, port)
	if err != nil {
		return nil, err
	}
	c := memberlist.DefaultLANConfig()
	c.Name, c.Transport, c.SecretKey = n.cfg.Node, t, n.keys.gossip
	c.AdvertiseAddr, c.AdvertisePort, c.BindPort = ip.String(), port, port
	c.ProbeInterval, c.ProbeTimeout = 250*time.Millisecond, 120*time.Millisecond
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 2
	c.GossipInterval = 50 * time.Millisecond
	c.PushPullInterval = 15 * time.Second
	c.TCPTimeout = 2 * time.Second
	c.DeadNodeReclaimTime = time.Millisecond // a node may come back under another address at once
	c.EnableCompression = false              // packets are small, and it costs more than all else
	c.Delegate, c.Events, c.Conflict = (*delegate)(n), (*delegate)(n), (*delegate)(n)
	c.Logger = n.gossipLog()
	return c, nil
}

// gossipAddress is what memberlist is to advertise, as far as it is configured.
func (n *Node) gossipAddress() (host string, port int, err error) {
	if n.cfg.AdvertiseGossip == "" {
		return "", 0, nil
	}
	host, port, err = splitPort(n.cfg.AdvertiseGossip)
	if err != nil || net.ParseIP(host) != nil {
		return host, port, err
	}
	ctx, cancel := context.WithTimeout(n.ending, lookupFor)
	defer cancel()
	addrs, err := n.cfg.Network.Lookup(ctx, host)
	if err != nil {
		return "", 0, err
	}
	return addrs[0].Unmap().String(), port, nil
}

// A delegate is the node as memberlist sees it. Its methods are called under memberlist's lock:
// none calls memberlist or waits.
type delegate Node

func (d *delegate) NodeMeta(int) []byte {
	a := d.about
	a.gossip, a.leaving = "", (*Node)(d).leaving.Load()
	return a.append(nil)
}

func (d *delegate) NotifyMsg([]byte)                {}
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d *delegate) LocalState(bool) []byte          { return nil }
func (d *delegate) MergeRemoteState([]byte, bool)   {}

func (d *delegate) NotifyJoin(m *memberlist.Node)   { (*Node)(d).gossiped(m, true) }
func (d *delegate) NotifyUpdate(m *memberlist.Node) { (*Node)(d).gossiped(m, true) }
func (d *delegate) NotifyLeave(m *memberlist.Node)  { (*Node)(d).gossiped(m, false) }

func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	n := (*Node)(d)
	a, ok := aboutMember(other)
	if existing.Name != n.cfg.Node || !ok || a.incarnation == n.Incarnation {
		return
	}
	n.mu.Lock()
	n.conflict, n.conflictAt = &a, time.Now()
	n.mu.Unlock()
	if n.seldom.may("conflict " + a.link) {
		n.log.Error("cluster: another node has this one's name: rename one of them", "name", n.cfg.Node, "other_gossip", other.Address(), "other_link", a.link)
	}
}

func aboutMember(m *memberlist.Node) (a about, ok bool) {
	c := cursor{m.Meta, true}
	a.read(&c)
	a.gossip = m.Address()
	return a, c.ok
}

// gossipLog turns memberlist's lines into ours. It complains of each lost packet: warnings come
// out for each text once in a while.
func (n *Node) gossipLog() *log.Logger {
	return log.New(gossipLog{n.log, &n.seldom}, "", 0)
}

// maxGossipLine is how much of a line is logged, in bytes. Packets of strangers may be in it.
const maxGossipLine = 256

type gossipLog struct {
	log    *slog.Logger
	seldom *seldom
}

func (g gossipLog) Write(b []byte) (int, error) {
	level := slog.LevelDebug
	line := bytes.TrimSpace(b)
	if head, rest, ok := bytes.Cut(line, []byte("] memberlist: ")); ok {
		line = rest
		if string(head) == "[ERR" || string(head) == "[WARN" {
			level = slog.LevelWarn
		}
	}
	if !g.log.Enabled(context.Background(), level) {
		return len(b), nil
	}
	words := bytes.SplitN(line, []byte(" "), 4)
	if level == slog.LevelDebug || g.seldom.may("gossip "+string(bytes.Join(words[:min(len(words), 3)], []byte(" ")))) {
		g.log.Log(context.Background(), level, "cluster: gossip", "said", string(line[:min(len(line), maxGossipLine)]))
	}
	return len(b), nil
}
