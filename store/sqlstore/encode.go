package sqlstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
)

// digest stands for texts that are too long for a key.
func digest(texts ...string) []byte {
	h := sha256.New()
	for _, text := range texts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(text)))
		h.Write(n[:])
		h.Write([]byte(text))
	}
	return h.Sum(nil)[:16]
}

// joinGroups writes each group with its length, as any byte may be in it.
func joinGroups(groups []string) []byte {
	joined := []byte{}
	for _, g := range groups {
		joined = strconv.AppendInt(joined, int64(len(g)), 10)
		joined = append(joined, ':')
		joined = append(joined, g...)
	}
	return joined
}

func splitGroups(joined []byte) (groups []string, err error) {
	for len(joined) > 0 {
		length, rest, _ := bytes.Cut(joined, []byte{':'})
		n, err := strconv.Atoi(string(length))
		if err != nil || n < 0 || n > len(rest) {
			return nil, fmt.Errorf("roster groups damaged at %q", joined)
		}
		groups = append(groups, string(rest[:n]))
		joined = rest[n:]
	}
	return groups, nil
}
