package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"chatd/c2s"
)

// welcome tells who has just started chatd to try it what there is and what to
// do next.
func (s *server) welcome(e environment) {
	at := make(map[string][]string)
	for _, k := range s.sockets {
		at[k.kind] = append(at[k.kind], k.Addr().String())
	}
	user := e.program + " user add alice@" + s.cfg.Domain
	if s.where.data != "" {
		user += " -data " + s.where.data
	}
	token := s.secret + " (shown only now)"
	if s.secret == "" {
		token = "shown at the first start; for a new one remove " + filepath.Join(s.cfg.Data, apiTokenFile) + " and start again"
	}
	cert, _ := certificateFiles(s.cfg)
	var webSockets, bosh []string
	for _, addr := range at["http"] {
		webSockets = append(webSockets, "ws://"+addr+c2s.WebSocketPath)
		bosh = append(bosh, "http://"+addr+c2s.BOSHPath)
	}
	fmt.Fprintf(e.stdout, `chatd runs in development mode: this machine only, data in %s.

  domain       %s
  STARTTLS     %s
  direct TLS   %s
  WebSocket    %s
  BOSH         %s
  private API  http://%s
  API token    %s

Make an account, in another terminal:

  %s

and log in with any XMPP client as alice@%s, server 127.0.0.1. The
certificate is self-signed: let the client accept it, or trust %s.
Clients may also register accounts themselves. Ctrl-C stops chatd.
`, s.cfg.Data, s.cfg.Domain, strings.Join(at["starttls"], "  "), strings.Join(at["directtls"], "  "),
		strings.Join(webSockets, "  "), strings.Join(bosh, "  "),
		strings.Join(at["api"], "  "), token, user, s.cfg.Domain, cert)
}

// programName is how to call chatd again: go run puts the program where nobody
// would look for it.
func programName(arg0 string) string {
	if strings.Contains(filepath.ToSlash(arg0), "/go-build") {
		return "go run ./cmd/chatd"
	}
	return arg0
}
