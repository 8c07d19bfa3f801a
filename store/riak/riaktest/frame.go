package riaktest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxFrame bounds one message. Riak has no bound of its own; objects above
// 50 MB are refused by its vnodes.
const maxFrame = 64 << 20

var errFrame = errors.New("riaktest: bad frame")

// readFrame reads one message: four bytes of length, a code, and the message.
// Memory grows with what has arrived, not with what the length promises.
func readFrame(r io.Reader) (code byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:4]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size == 0 || size > maxFrame {
		return 0, nil, fmt.Errorf("%w: %d bytes", errFrame, size)
	}
	if _, err := io.ReadFull(r, head[4:]); err != nil {
		return 0, nil, noEOF(err)
	}
	body, err = readBody(r, int(size)-1)
	return head[4], body, err
}

func readBody(r io.Reader, size int) ([]byte, error) {
	const step = 64 << 10
	body := make([]byte, 0, min(size, step))
	for len(body) < size {
		have := len(body)
		body = append(body, make([]byte, min(size-have, max(step, have)))...)
		if _, err := io.ReadFull(r, body[have:]); err != nil {
			return nil, noEOF(err)
		}
	}
	return body, nil
}

// noEOF makes an end in the middle of a message an error of its own.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendFrame is the message with its length and code before it.
func appendFrame(b []byte, code byte, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)+1))
	b = append(b, code)
	return append(b, body...)
}
