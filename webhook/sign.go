package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader is the header that shows who has sent a request, and when.
const SignatureHeader = "Chatd-Signature"

// Sign is the header's value: the time in Unix seconds, and the HMAC-SHA256 of the time, a dot and the body, in
// hexadecimal. With the time in it, what somebody has overheard is of no use later.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(signature(secret, t, body))
}

func signature(secret, t string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// ErrSignature is what Verify returns for a request that was not signed with the secret, or not just now.
var ErrSignature = errors.New("webhook: the signature is missing, wrong or old")

// Verify is what a receiver does first: it checks a header's value. now may differ from the time in it by tolerance.
func Verify(secret, header string, now time.Time, tolerance time.Duration, body []byte) error {
	t, rest, _ := strings.Cut(header, ",")
	t, timed := strings.CutPrefix(t, "t=")
	v1, signed := strings.CutPrefix(rest, "v1=")
	seconds, err := strconv.ParseInt(t, 10, 64)
	if !timed || !signed || err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return ErrSignature
	}
	if sum, err := hex.DecodeString(v1); err != nil || !hmac.Equal(sum, signature(secret, t, body)) {
		return ErrSignature
	}
	return nil
}
