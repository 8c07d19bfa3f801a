package chatd_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const nsSASL2 = "urn:xmpp:sasl:2"

// loginSASL2 authenticates by XEP-0388 with extra in <authenticate/>. What the server says in the end stays pending.
func (c *client) loginSASL2(mechanism, extra string) error {
	if strings.HasPrefix(mechanism, "HT-") {
		return c.loginToken(mechanism, extra)
	}
	n, more, response, err := c.begin()
	if err != nil {
		return err
	}
	if err := c.send(authenticate(mechanism, response, extra)); err != nil {
		return err
	}
	for {
		el, err := c.read()
		if err != nil {
			return err
		}
		if !el.is(nsSASL2, "challenge") {
			c.pending = append(c.pending, el)
			if data := el.child("additional-data"); more && data != nil {
				verdict, _ := base64.StdEncoding.DecodeString(data.text)
				_, _, err = n.Step(verdict) // the server's signature has to be right
			}
			return err
		}
		data, err := base64.StdEncoding.DecodeString(el.text)
		if err != nil {
			return err
		}
		if more, response, err = n.Step(data); err != nil {
			return err
		}
		if err := c.send("<response xmlns='" + nsSASL2 + "'>" + base64.StdEncoding.EncodeToString(response) + "</response>"); err != nil {
			return err
		}
	}
}

func authenticate(mechanism string, initial []byte, extra string) string {
	return "<authenticate xmlns='" + nsSASL2 + "' mechanism='" + mechanism + "'><initial-response>" +
		base64.StdEncoding.EncodeToString(initial) + "</initial-response>" + extra + "</authenticate>"
}

// loginToken is draft-schmaus-kitten-sasl-ht-09.
func (c *client) loginToken(mechanism, extra string) error {
	bound, err := c.binding(mechanism)
	if err != nil {
		return err
	}
	proof := func(role string) []byte {
		d := hmac.New(sha256.New, []byte(c.token))
		d.Write([]byte(role))
		d.Write(bound)
		return d.Sum(nil)
	}
	if err := c.send(authenticate(mechanism, append([]byte(c.user+"\x00"), proof("Initiator")...), extra)); err != nil {
		return err
	}
	el, err := c.read()
	if err != nil {
		return err
	}
	c.pending = append(c.pending, el)
	if !el.is(nsSASL2, "success") {
		return nil
	}
	data := el.child("additional-data")
	if data == nil {
		return errors.New("the server does not prove that it knows the token")
	}
	verdict, err := base64.StdEncoding.DecodeString(data.text)
	if err != nil || subtle.ConstantTimeCompare(verdict, proof("Responder")) != 1 {
		return fmt.Errorf("the server's proof is wrong: %w", err)
	}
	return nil
}

// binding is what the mechanism binds to.
func (c *client) binding(mechanism string) ([]byte, error) {
	switch {
	case strings.HasSuffix(mechanism, "-EXPR"):
		state := c.tls.ConnectionState()
		return state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	case strings.HasSuffix(mechanism, "-UNIQ"):
		return c.tls.ConnectionState().TLSUnique, nil
	case strings.HasSuffix(mechanism, "-ENDP"):
		sum := sha256.Sum256(c.tls.ConnectionState().PeerCertificates[0].Raw)
		return sum[:], nil
	}
	return nil, nil
}

// succeeded learns from <success/> of SASL2.
func (c *client) succeeded(n *node) {
	if jid := n.child("authorization-identifier"); jid != nil && strings.Contains(jid.text, "/") {
		c.full, c.session = jid.text, jid.text
	}
	if token := n.child("token"); token != nil {
		c.token = token.attr("token")
	}
	bound := n.child("bound")
	c.managed = n.child("resumed") != nil || bound != nil && bound.child("enabled") != nil
}
