package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"chatd/stanza"
)

// playerNumbers turns players' numbers into localparts and back: what stands before and behind the number.
type playerNumbers struct{ before, behind string }

func newPlayerNumbers(format string) playerNumbers {
	before, behind, _ := strings.Cut(format, "%d")
	return playerNumbers{before, behind}
}

// number is a localpart's player number; false if it is no number's.
func (p playerNumbers) number(local string) (int64, bool) {
	digits, ok := strings.CutPrefix(local, p.before)
	if ok {
		digits, ok = strings.CutSuffix(digits, p.behind)
	}
	if !ok {
		return 0, false
	}
	return parseNumber(digits)
}

func (p playerNumbers) localpart(n int64) string {
	return p.before + strconv.FormatInt(n, 10) + p.behind
}

// parseNumber reads a number in its one spelling: digits without zeros in front.
func parseNumber(digits string) (int64, bool) {
	if digits == "" || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	n := int64(0)
	for i := range len(digits) {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}

var errNotHere = failure(http.StatusUnprocessableEntity, "a player is a number or a bare JID of this server's domain")

// address reads a player as callers write one: a number, or a bare JID of this domain.
func (s *Server) address(text string) (stanza.JID, error) {
	domain := s.cfg.Router.Domain.Domain()
	if n, ok := parseNumber(text); ok {
		text = s.numbers.localpart(n) + "@" + domain
	}
	j, err := stanza.ParseJID(text)
	if err != nil || j.Local() == "" || !j.IsBare() || j.Domain() != domain {
		return stanza.JID{}, errNotHere
	}
	return j, nil
}

// player is address of somebody who has an account. It may block on the store.
func (s *Server) player(ctx context.Context, text string) (stanza.JID, error) {
	j, err := s.address(text)
	if err != nil {
		return stanza.JID{}, errNoPlayer
	}
	return j, s.known(ctx, j)
}

// known returns errNoPlayer unless there is such an account. Who is online or has friends has one: the store is asked for the rest only.
func (s *Server) known(ctx context.Context, j stanza.JID) error {
	if len(s.cfg.Router.Table.Rows(j)) > 0 {
		return nil
	}
	if friends, err := s.cfg.Friends.Friends(ctx, j); err != nil || len(friends) > 0 {
		return err
	}
	exists, err := s.cfg.Auth.Exists(ctx, j.Local())
	if err == nil && !exists {
		err = errNoPlayer
	}
	return err
}

// both is player for two.
func (s *Server) both(ctx context.Context, player, other string) (one, two stanza.JID, err error) {
	if one, err = s.player(ctx, player); err != nil {
		return one, two, err
	}
	two, err = s.address(other)
	return one, two, err
}

// A PlayerRef names a player in an answer.
type PlayerRef struct {
	JID string `json:"jid" doc:"bare address" example:"sum112233@chat.test"`
	ID  *int64 `json:"id,omitempty" doc:"the player's number; absent for who has none" example:"112233"`
}

func (s *Server) ref(j stanza.JID) PlayerRef {
	r := PlayerRef{JID: j.String()}
	if n, ok := s.numbers.number(j.Local()); ok {
		r.ID = &n
	}
	return r
}

// A PlayerPath is the input of an operation on one player.
type PlayerPath struct {
	Player string `path:"player" minLength:"1" maxLength:"2047" doc:"the player's number, or bare JID" example:"13131"`
}

// A PairPath is the input of an operation on two.
type PairPath struct {
	PlayerPath
	Other string `path:"other" minLength:"1" maxLength:"2047" doc:"the other player's number, or bare JID" example:"112233"`
}
