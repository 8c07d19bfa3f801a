package api

import (
	"log/slog"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const plainText = "text/plain"

// addOperators adds what is for operators and their tools and is no JSON.
func (s *Server) addOperators() {
	metrics := promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelError),
	})
	get := func(id, path, scope, summary, contentType string, h http.Handler) {
		s.plain(operation{id: id, method: http.MethodGet, path: path, scope: scope, tag: tagOperators, summary: summary}, contentType, h)
	}
	get("healthz", "/healthz", "", "Whether the process answers", plainText, http.HandlerFunc(healthz))
	get("readyz", "/readyz", "", "Whether clients should be sent here: 503 if not", plainText, http.HandlerFunc(s.readyz))
	get("metrics", "/metrics", ScopeMetrics, "Metrics, for Prometheus", plainText, metrics)
	get("pprof", "/debug/pprof/", ScopeDebug, "Profiles, for go tool pprof", "text/html", http.HandlerFunc(pprof.Index))
	get("pprofNamed", "/debug/pprof/{profile}", ScopeDebug, "One profile", "application/octet-stream", http.HandlerFunc(pprof.Index))
	get("pprofCommand", "/debug/pprof/cmdline", ScopeDebug, "The command line", plainText, http.HandlerFunc(pprof.Cmdline))
	get("pprofCPU", "/debug/pprof/profile", ScopeDebug, "A profile of what the CPU does", "application/octet-stream", http.HandlerFunc(pprof.Profile))
	get("pprofSymbol", "/debug/pprof/symbol", ScopeDebug, "Names of addresses", plainText, http.HandlerFunc(pprof.Symbol))
	get("pprofTrace", "/debug/pprof/trace", ScopeDebug, "A trace of the scheduler", "application/octet-stream", http.HandlerFunc(pprof.Trace))
	s.plain(operation{id: "drain", method: http.MethodPost, path: "/drain", scope: ScopeAdmin, tag: tagOperators, status: http.StatusAccepted,
		summary: "Send the clients away and end the process, as SIGTERM does"}, plainText, http.HandlerFunc(s.drain))
}
