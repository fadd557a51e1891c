package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/internal/control"
)

// policy is the Content-Security-Policy: nothing but the page's own files, no
// inline script or style, in nobody's frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (s *Server) routes(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /static/{name}", s.file)
	mux.HandleFunc("GET /live", s.serveLive)
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /api/status", s.status)
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}

// guard is before everything: what is refused, and what every answer carries.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.pace.Wait(r.Context()) != nil {
			return // the reader has gone, or the agent stops
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			h.Set("Connection", "close") // its body is not worth reading
			http.Error(w, "this page is read-only: GET and HEAD", http.StatusMethodNotAllowed)
		case r.ContentLength != 0:
			h.Set("Connection", "close")
			http.Error(w, "a request without a body, please", http.StatusBadRequest)
		case r.URL.Path != "/healthz" && !s.mine(r.Host): // a balancer asks by whatever name it has, and learns nothing
			host := name(r.Host)
			s.log.Debug("request by a foreign name", "host", host, "from", r.RemoteAddr)
			http.Error(w, fmt.Sprintf("%q is no name of this node: ask by its IP address or its name in the config, or write hosts = [...] below [http]", host),
				http.StatusMisdirectedRequest)
		case foreignScript(r):
			http.Error(w, "not for the scripts of other sites", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// name is a Host header without port, in lower case.
func name(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// mine tells whether a Host header names this machine. An address is safe: a web
// site whose name is an address is at that address. Programs without the header
// are no browsers.
func (s *Server) mine(host string) bool {
	n := name(host)
	if n == "" || n == "localhost" {
		return true
	}
	if _, err := netip.ParseAddr(n); err == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.hosts, n)
}

// foreignScript tells that another site's page asks, other than by a link that
// somebody followed. It could not read the answer, but it could use up the live
// streams. Fetch Metadata, https://www.w3.org/TR/fetch-metadata/.
func foreignScript(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

// health says that the agent's loop answers, and so whether the agent lives, not
// how the cluster is.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := s.snapshot(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "the agent does not answer")
		return
	}
	fmt.Fprintln(w, "ok")
}

// status answers what `hbagent status --json` prints.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	p, err := s.snapshot(r.Context())
	if err != nil {
		jsonDocument(map[string]*control.Error{"error": unavailable(err)}).serve(w, r, http.StatusServiceUnavailable)
		return
	}
	p.json().serve(w, r, http.StatusOK)
}

func unavailable(err error) *control.Error {
	if e := (*control.Error)(nil); errors.As(err, &e) {
		return e
	}
	return control.Errorf(control.CodeUnavailable, "%v", err)
}
