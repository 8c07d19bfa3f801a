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

// joinTexts writes each text with its length, as any byte may be in it.
func joinTexts(texts []string) []byte {
	joined := []byte{}
	for _, t := range texts {
		joined = strconv.AppendInt(joined, int64(len(t)), 10)
		joined = append(joined, ':')
		joined = append(joined, t...)
	}
	return joined
}

func splitTexts(joined []byte) (texts []string, err error) {
	for len(joined) > 0 {
		length, rest, _ := bytes.Cut(joined, []byte{':'})
		n, err := strconv.Atoi(string(length))
		if err != nil || n < 0 || n > len(rest) {
			return nil, fmt.Errorf("list of texts damaged at %q", joined)
		}
		texts = append(texts, string(rest[:n]))
		joined = rest[n:]
	}
	return texts, nil
}
