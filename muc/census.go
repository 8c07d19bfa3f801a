package muc

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"
)

// censusWait is how long other nodes have to tell which rooms they have.
const censusWait = time.Second

// A census is the questions to other nodes that wait for answers.
type census struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan<- section
}

// ask is what other nodes have of a list, those that tell it in time.
func (s *Service) ask(ctx context.Context, p Part) (all []section) {
	if s.Place == nil {
		return nil
	}
	question, err := json.Marshal(p)
	if err != nil { // strings, numbers and booleans
		panic(err)
	}
	nodes := s.Place.Nodes()
	answers := make(chan section, len(nodes))
	id := s.census.begin(answers)
	defer s.census.end(id)
	asked := 0
	for _, node := range nodes {
		if s.Place.Send(node, frameList, "", binary.LittleEndian.AppendUint64(nil, id), question) {
			asked++
		}
	}
	ctx, cancel := context.WithTimeout(ctx, censusWait)
	defer cancel()
	for range asked {
		select {
		case x := <-answers:
			all = append(all, x)
		case <-ctx.Done():
			return all
		}
	}
	return all
}

func (c *census) begin(answers chan<- section) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = make(map[uint64]chan<- section)
	}
	c.last++
	c.waiting[c.last] = answers
	return c.last
}

func (c *census) end(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// listFor answers another node.
func (s *Service) listFor(node string, payload []byte) bool {
	var p Part
	if len(payload) < 8 || json.Unmarshal(payload[8:], &p) != nil {
		return false
	}
	answer, err := json.Marshal(s.section(p))
	if err != nil { // strings, numbers and booleans
		panic(err)
	}
	s.Place.Send(node, frameListed, "", payload[:8], answer)
	return true
}

// listedBy takes another node's answer.
func (s *Service) listedBy(payload []byte) bool {
	var x section
	if len(payload) < 8 || json.Unmarshal(payload[8:], &x) != nil {
		return false
	}
	s.census.mu.Lock()
	defer s.census.mu.Unlock()
	select {
	case s.census.waiting[binary.LittleEndian.Uint64(payload)] <- x:
	default: // too late
	}
	return true
}
