package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A lab is network namespaces, one for each node, that are joined by a bridge in the namespace of this process. Its names
// have this process's id in them.
type lab struct {
	id     string
	bridge string
	net    string // the first three octets of its addresses
	nodes  int
	soft   *softSwitch // nil: packets go by the bridge

	mu     sync.Mutex             // guards what follows
	blocks map[[2]int]bool        // from, to: what is lost on its way between two nodes
	lossy  map[[2]int]int         // percent
	noDB   map[int]bool           // nodes that do not reach the database
	cuts   map[[2]int][]time.Time // when each two were cut off from each other, be it in one direction, or one of them failed
}

const (
	prefix = "chatdlab"
	host   = 1 // last octet of this process's address; node n has 10+n
)

// newLab makes the network. What an earlier process has left behind without being able to clean up goes first.
func newLab(nodes int) (*lab, error) {
	sweep()
	pid := os.Getpid()
	l := &lab{id: fmt.Sprintf("%s-%d", prefix, pid), bridge: fmt.Sprintf("clb%d", pid), nodes: nodes,
		net: fmt.Sprintf("198.18.%d", pid%254+1), blocks: make(map[[2]int]bool), lossy: make(map[[2]int]int), noDB: make(map[int]bool), cuts: make(map[[2]int][]time.Time)} // addresses for tests of networks
	err := sh("ip", "link", "add", l.bridge, "type", "bridge")
	if err == nil {
		err = errors.Join(sh("ip", "addr", "add", fmt.Sprintf("%s.%d/24", l.net, host), "dev", l.bridge), sh("ip", "link", "set", l.bridge, "up"))
	}
	for n := range nodes {
		if err != nil {
			break
		}
		err = l.addNode(n)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) addNode(n int) error {
	ns, outer, inner := l.namespace(n), fmt.Sprintf("cl%dv%d", os.Getpid(), n), "eth0"
	for _, c := range [][]string{
		{"ip", "netns", "add", ns},
		{"ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", ns},
		{"ip", "link", "set", outer, "master", l.bridge, "up"},
		{"ip", "-n", ns, "addr", "add", l.addr(n) + "/24", "dev", inner},
		{"ip", "-n", ns, "link", "set", inner, "up"},
		{"ip", "-n", ns, "link", "set", "lo", "up"},
	} {
		if err := sh(c...); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) namespace(n int) string { return fmt.Sprintf("%s-%d", l.id, n) }

func (l *lab) addr(n int) string { return fmt.Sprintf("%s.%d", l.net, 10+n) }

func (l *lab) host() string { return fmt.Sprintf("%s.%d", l.net, host) }

// close removes it all. Processes in the namespaces have ended.
func (l *lab) close() error {
	var err error
	for n := range l.nodes {
		if exists(l.namespace(n)) {
			err = errors.Join(err, sh("ip", "netns", "del", l.namespace(n)))
		}
	}
	return errors.Join(err, sh("ip", "link", "del", l.bridge))
}

func exists(namespace string) bool {
	_, err := os.Stat(filepath.Join("/run/netns", namespace))
	return err == nil
}

// sweep removes what processes have left behind that were killed.
func sweep() {
	all, _ := filepath.Glob("/run/netns/" + prefix + "-*")
	for _, path := range all {
		name := filepath.Base(path)
		words := strings.Split(name, "-")
		pid, err := strconv.Atoi(words[1])
		if err != nil || len(words) != 3 || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		_ = sh("ip", "netns", "del", name)
		_ = sh("ip", "link", "del", "clb"+words[1]) // the first time
	}
}

// cut loses all that goes from one set of nodes to the other, and the other way round unless oneWay. What is on its way
// to the others is lost without a word, as on a real network.
func (l *lab) cut(from, to []int, oneWay bool) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range from {
		for _, b := range to {
			l.cuts[[2]int{a, b}], l.cuts[[2]int{b, a}] = append(l.cuts[[2]int{a, b}], now), append(l.cuts[[2]int{b, a}], now)
			l.blocks[[2]int{a, b}] = true
			if !oneWay {
				l.blocks[[2]int{b, a}] = true
			}
		}
	}
	return l.enforceLocked()
}

// lose loses a share of all packets between two sets of nodes.
func (l *lab) lose(from, to []int, percent int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range from {
		for _, b := range to {
			l.lossy[[2]int{a, b}], l.lossy[[2]int{b, a}] = percent, percent
		}
	}
	return l.enforceLocked()
}

// apart reports whether two nodes are cut off from each other, be it in one direction.
func (l *lab) apart(i, j int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blocks[[2]int{i, j}] || l.blocks[[2]int{j, i}]
}

// cutWithin reports whether two nodes were cut off from each other, or one of them failed, within d after a time.
func (l *lab) cutWithin(i, j int, at time.Time, d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.cuts[[2]int{i, j}], func(cut time.Time) bool { return cut.After(at) && cut.Before(at.Add(d)) })
}

// fails notes that a node says nothing more.
func (l *lab) fails(n int) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.nodes {
		l.cuts[[2]int{n, i}], l.cuts[[2]int{i, n}] = append(l.cuts[[2]int{n, i}], now), append(l.cuts[[2]int{i, n}], now)
	}
}

// cutDB keeps nodes from the database.
func (l *lab) cutDB(nodes []int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range nodes {
		l.noDB[n] = true
	}
	return l.enforceLocked()
}

// heal ends all cuts and losses.
func (l *lab) heal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.blocks)
	clear(l.lossy)
	clear(l.noDB)
	return l.enforceLocked()
}

// enforceLocked puts the rules in each namespace, in one transaction.
func (l *lab) enforceLocked() error {
	for n := range l.nodes {
		var in, out []string
		for from := range l.nodes {
			if l.blocks[[2]int{from, n}] {
				in = append(in, "ip saddr "+l.addr(from)+" drop")
			}
			if percent := l.lossy[[2]int{from, n}]; percent > 0 {
				in = append(in, fmt.Sprintf("ip saddr %s numgen random mod 100 < %d drop", l.addr(from), percent))
			}
		}
		if l.noDB[n] {
			in = append(in, "ip saddr "+l.host()+" tcp sport "+databasePort+" drop")
			out = append(out, "ip daddr "+l.host()+" tcp dport "+databasePort+" drop")
		}
		rules := "table inet cut\ndelete table inet cut\n"
		if len(in)+len(out) > 0 {
			rules += "table inet cut {\n" + chain("input", in) + chain("output", out) + "}\n"
		}
		cmd := exec.Command("ip", "netns", "exec", l.namespace(n), "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft in %s: %w: %s", l.namespace(n), err, text)
		}
	}
	return nil
}

func chain(hook string, rules []string) string {
	return "chain " + hook + " {\ntype filter hook " + hook + " priority 0;\n" + strings.Join(append(slices.Clone(rules), ""), "\n") + "}\n"
}

func sh(words ...string) error {
	var text bytes.Buffer
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(text.Bytes()))
	}
	return nil
}
