package auth

import "testing"

// TestDisabled: no proof of whatever kind lets a disabled user in, and only who has one learns why.
func TestDisabled(t *testing.T) {
	s, _ := newTokenService(t, testTokenConfig())
	ch, seen := newTestChannel(t, 0x0304)
	jwt := sign("ES256", testECDSA(), kid("ec"), goodClaims(map[string]any{"sub": "juliet"}))
	ours := passwordToken(t, s, ch, testClientID, "HT-SHA-256-NONE")
	tries := map[string]func() error{
		"PLAIN with a token": func() error { _, err := login(t, s, "PLAIN", ch, seen, "juliet", jwt, ""); return err },
		"OAUTHBEARER": func() error {
			e, err := s.Start(oauthBearer, ch)
			if err == nil {
				_, _, err = e.Step(t.Context(), []byte("n,,\x01auth=Bearer "+jwt+"\x01\x01"))
			}
			return err
		},
		"a token of ours": func() error {
			_, _, err := tokenLogin(t, s, ch, "HT-SHA-256-NONE", testClientID, ours.Secret, false, "")
			return err
		},
	}
	for _, m := range s.Mechanisms(ch) {
		if m != oauthBearer {
			tries[m] = func() error { _, err := login(t, s, m, ch, seen, "juliet", testPassword, ""); return err }
		}
	}
	for name, try := range tries {
		if err := s.SetDisabled(t.Context(), "Juliet", true); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { wantFailure(t, try(), "account-disabled") })
		_, err := login(t, s, "PLAIN", ch, seen, "juliet", "wrong", "")
		wantFailure(t, err, "not-authorized")
		if err := s.SetDisabled(t.Context(), "juliet", false); err != nil {
			t.Fatal(err)
		}
		if err := try(); err != nil {
			t.Errorf("%s after it was enabled again: %v", name, err)
		}
	}
	if len(tries) < 7 {
		t.Errorf("only %d ways to log in", len(tries))
	}
	if err := s.SetDisabled(t.Context(), "nobody", true); err != ErrNotFound {
		t.Error(err)
	}
}
