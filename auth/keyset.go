package auth

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// What a set of keys may measure.
const (
	maxKeySetBytes = 256 << 10
	maxKeys        = 100
	minRSABits     = 2048 // RFC 7518 §3.3
	maxRSABits     = 8192 // a larger one costs too much to be anybody's
)

// A KeySet is the public keys of whoever issues tokens. It is immutable.
type KeySet struct{ keys []tokenKey }

// A tokenKey verifies tokens of exactly one algorithm, whatever they say of themselves (RFC 8725 §3.1).
type tokenKey struct {
	id     string // "": not named, fits every token
	alg    string
	public any
}

// jwk is what a JSON Web Key may hold (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2) as far as it matters here.
type jwk struct {
	Kty, Kid, Use, Alg, Crv string
	KeyOps                  []string `json:"key_ops"`
	N, E, X, Y              string
}

// ParseKeySet reads a JWK set (RFC 7517 §5). Keys that cannot verify one of the algorithms are
// left out, symmetric ones among them, since a set is for everybody to see; one key at least
// must remain.
func ParseKeySet(doc []byte) (*KeySet, error) {
	if len(doc) > maxKeySetBytes {
		return nil, fmt.Errorf("a key set of more than %d bytes", maxKeySetBytes)
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(doc, &set); err != nil {
		return nil, fmt.Errorf("not a JWK set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("a key set of more than %d keys", maxKeys)
	}
	s := &KeySet{}
	fault := errors.New("it is empty")
	for i, raw := range set.Keys {
		var k jwk
		err := json.Unmarshal(raw, &k)
		if err == nil {
			err = s.add(k)
		}
		if err != nil {
			fault = fmt.Errorf("key %d: %w", i, err)
		}
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("no key that can be used: %w", fault)
	}
	return s, nil
}

func (s *KeySet) add(k jwk) error {
	if k.Use != "" && k.Use != "sig" || k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify") {
		return errors.New("not for signatures") // RFC 7517 §4.2, §4.3
	}
	key, err := k.key()
	if err != nil {
		return err
	}
	if k.Alg != "" && k.Alg != key.alg {
		return fmt.Errorf("algorithm %.20q does not fit the key", k.Alg)
	}
	s.keys = append(s.keys, key)
	return nil
}

// key tells the algorithm from the type of the key.
func (k jwk) key() (tokenKey, error) {
	var alg string
	var public any
	var err error
	switch {
	case k.Kty == "RSA":
		alg = "RS256"
		public, err = rsaKey(k.N, k.E)
	case k.Kty == "EC" && k.Crv == "P-256":
		alg = "ES256"
		public, err = p256Key(k.X, k.Y)
	case k.Kty == "OKP" && k.Crv == "Ed25519":
		alg = "EdDSA"
		public, err = ed25519Key(k.X)
	default:
		err = fmt.Errorf("type %.20q %.20q is not supported", k.Kty, k.Crv)
	}
	return tokenKey{k.Kid, alg, public}, err
}

// rsaKey is RFC 7518 §6.3.1.
func rsaKey(n, e string) (*rsa.PublicKey, error) {
	modulus, err1 := base64.RawURLEncoding.DecodeString(n)
	exponent, err2 := base64.RawURLEncoding.DecodeString(e)
	if err := cmp.Or(err1, err2); err != nil {
		return nil, err
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus)}
	if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return nil, fmt.Errorf("an RSA key of %d bits, not %d to %d", bits, minRSABits, maxRSABits)
	}
	exp := new(big.Int).SetBytes(exponent)
	if exp.BitLen() > 31 || exp.Cmp(big.NewInt(3)) < 0 || exp.Bit(0) == 0 {
		return nil, errors.New("an RSA key with a bad exponent")
	}
	key.E = int(exp.Int64())
	return key, nil
}

// p256Key is RFC 7518 §6.2.1.
func p256Key(x, y string) (*ecdsa.PublicKey, error) {
	xs, err1 := base64.RawURLEncoding.DecodeString(x)
	ys, err2 := base64.RawURLEncoding.DecodeString(y)
	if err := cmp.Or(err1, err2); err != nil {
		return nil, err
	}
	if len(xs) != 32 || len(ys) != 32 {
		return nil, errors.New("not a point of P-256")
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, xs, ys))
}

// ed25519Key is RFC 8037 §2.
func ed25519Key(x string) (ed25519.PublicKey, error) {
	key, err := base64.RawURLEncoding.DecodeString(x)
	if err != nil {
		return nil, err
	}
	if len(key) != ed25519.PublicKeySize {
		return nil, errors.New("not an Ed25519 key")
	}
	return key, nil
}

// find is the keys that may have signed a token of an algorithm; "" is the id of a token that
// names none. The nil set has no keys.
func (s *KeySet) find(alg, id string) (found []jwt.VerificationKey) {
	if s == nil {
		return nil
	}
	for _, k := range s.keys {
		if k.alg == alg && (id == "" || k.id == "" || k.id == id) {
			found = append(found, k.public)
		}
	}
	return found
}
