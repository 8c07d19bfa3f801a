package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in log-linear buckets: exact below 256 ns, from
// there on 128 buckets to each power of two, so that a value is off by less than
// 1/128. It has a fixed size and never allocates.
type histogram struct {
	counts  [maxBucket + 1]uint64
	total   uint64
	sum     float64 // ns
	highest int64   // ns, exact
}

const (
	subBits   = 7
	maxBits   = 42 // values beyond 2^42 ns, 73 minutes, count as that
	maxBucket = (maxBits-subBits)<<subBits + 1<<subBits - 1
)

// bucket is where ns is counted.
func bucket(ns int64) int {
	v := uint64(max(ns, 0))
	shift := bits.Len64(v) - subBits - 1
	if shift <= 0 {
		return int(v)
	}
	return min(shift<<subBits+int(v>>shift), maxBucket)
}

// bucketTop is the greatest value that is counted in bucket i.
func bucketTop(i int) int64 {
	shift := i>>subBits - 1
	if shift <= 0 {
		return int64(i)
	}
	low := int64(i-shift<<subBits) << shift
	return low + 1<<shift - 1
}

func (h *histogram) add(ns int64) {
	ns = max(ns, 0)
	h.counts[bucket(ns)]++
	h.total++
	h.sum += float64(ns)
	h.highest = max(h.highest, ns)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.sum += o.sum
	h.highest = max(h.highest, o.highest)
}

// quantile is the duration that q of all, 0 to 1, do not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(h.total)))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return time.Duration(min(bucketTop(i), h.highest))
		}
	}
	return time.Duration(h.highest)
}

func (h *histogram) mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.total))
}

// wireHistogram is a histogram between processes: the buckets in use.
type wireHistogram struct {
	Buckets [][2]uint64
	Sum     float64
	Highest int64
}

func (h *histogram) MarshalJSON() ([]byte, error) {
	w := wireHistogram{Sum: h.sum, Highest: h.highest}
	for i, n := range h.counts {
		if n > 0 {
			w.Buckets = append(w.Buckets, [2]uint64{uint64(i), n})
		}
	}
	return json.Marshal(w)
}

func (h *histogram) UnmarshalJSON(b []byte) error {
	var w wireHistogram
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*h = histogram{sum: w.Sum, highest: w.Highest}
	for _, p := range w.Buckets {
		if p[0] > maxBucket {
			return fmt.Errorf("histogram: bucket %d of %d", p[0], maxBucket)
		}
		h.counts[p[0]] += p[1]
		h.total += p[1]
	}
	return nil
}
