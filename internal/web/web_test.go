package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// patience is for what comes soon on any machine.
const patience = 30 * time.Second

// testAgent is an agent that does as it is told.
type testAgent struct {
	controltest.Agent
	leases []LeaseHealth
}

func (a testAgent) Leases(context.Context) ([]LeaseHealth, error) { return a.leases, nil }

func scripted(s control.Status) testAgent {
	return testAgent{Agent: controltest.Agent{OnStatus: func(context.Context) (control.Status, error) { return s, nil }}}
}

func newServer(t *testing.T, o Options) *Server {
	t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	return New(o)
}

// running starts a server and stops it with the test.
func running(t *testing.T, o Options) *Server {
	t.Helper()
	s := newServer(t, o)
	run(t, s)
	return s
}

func run(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
}

// freePort returns a loopback address that nobody listens on.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// eventually waits until try returns nil.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		err := try()
		if err == nil {
			return
		}
		select { // a socket of another goroutine sends no event
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func get(ap netip.AddrPort, path string) (int, string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get(fmt.Sprintf("http://%s%s", ap, path))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// answers waits until the page is served there.
func answers(t *testing.T, ap netip.AddrPort) {
	t.Helper()
	eventually(t, func() error {
		code, body, err := get(ap, "/healthz")
		if err == nil && (code != http.StatusOK || body != "ok\n") {
			err = fmt.Errorf("healthz on %s: %d %q", ap, code, body)
		}
		return err
	})
}

func refuses(t *testing.T, ap netip.AddrPort) {
	t.Helper()
	eventually(t, func() error {
		if _, _, err := get(ap, "/healthz"); err == nil {
			return fmt.Errorf("%s still answers", ap)
		}
		return nil
	})
}

// ask calls the handler without a network.
func ask(s *Server, method, path string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:9746"+path, nil)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func TestStatusIsThatOfTheSocket(t *testing.T) {
	bare := controltest.AllWell()
	bare.Warnings = nil
	s := newServer(t, Options{Agent: scripted(bare)})
	w := ask(s, "GET", "/api/status", nil)
	var got control.Status
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	if diff := cmp.Diff(controltest.AllWell(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(w.Body.String(), `"warnings":[]`) {
		t.Error("a nil list is null, not []")
	}
}

func TestAgentThatDoesNotAnswer(t *testing.T) {
	s := newServer(t, Options{Agent: testAgent{Agent: controltest.Agent{OnStatus: func(context.Context) (control.Status, error) {
		return control.Status{}, errors.New("the loop stands still")
	}}}})
	if w := ask(s, "GET", "/healthz", nil); w.Code != http.StatusServiceUnavailable {
		t.Errorf("healthz: %d %s", w.Code, w.Body)
	}
	w := ask(s, "GET", "/api/status", nil)
	if want := `{"error":{"code":"unavailable","message":"the loop stands still"}}` + "\n"; w.Code != http.StatusServiceUnavailable || w.Body.String() != want {
		t.Errorf("status: %d %s", w.Code, w.Body)
	}
}

// The loop is asked once for everybody, however many ask at once, and again for those who come later.
func TestLoopIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const readers = 20
		var asked atomic.Int64
		release := make(chan struct{})
		s := newServer(t, Options{Agent: testAgent{Agent: controltest.Agent{OnStatus: func(context.Context) (control.Status, error) {
			asked.Add(1)
			<-release
			return controltest.AllWell(), nil
		}}}})
		codes := make(chan int, readers+2)
		read := func() { codes <- ask(s, "GET", "/api/status", nil).Code }
		for range readers {
			go read()
		}
		synctest.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("%d readers asked the loop %d times", readers, n)
		}
		close(release)
		synctest.Wait()
		time.Sleep(statusAge / 2)
		read()
		if n := asked.Load(); n != 1 {
			t.Errorf("what is %v old is asked for again", statusAge/2)
		}
		time.Sleep(statusAge)
		read()
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times: what is older than %v is still told", n, statusAge)
		}
		for range readers + 2 {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("status %d", code)
			}
		}
	})
}

func TestGuard(t *testing.T) {
	s := newServer(t, Options{Agent: scripted(controltest.AllWell()), Hosts: []string{"web1", "status.example.com"}})
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	fetch := func(site, mode string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", site)
			r.Header.Set("Sec-Fetch-Mode", mode)
		}
	}
	for _, tt := range []struct {
		name, method, path string
		edit               func(*http.Request)
		want               int
		says               string
	}{
		{"get", "GET", "/api/status", nil, 200, `"cluster":"shop"`},
		{"head", "HEAD", "/api/status", nil, 200, ""},
		{"post", "POST", "/api/status", nil, 405, "read-only"},
		{"put", "PUT", "/", nil, 405, "read-only"},
		{"delete on nothing", "DELETE", "/x", nil, 405, "read-only"},
		{"options", "OPTIONS", "/api/status", nil, 405, ""},
		{"a body", "GET", "/api/status", func(r *http.Request) { r.ContentLength = 5; r.Body = io.NopCloser(strings.NewReader("hello")) }, 400, "without a body"},
		{"nothing there", "GET", "/etc/passwd", nil, 404, ""},
		{"no metrics", "GET", "/metrics", nil, 404, ""},
		{"localhost", "GET", "/api/status", host("localhost:9746"), 200, ""},
		{"IPv6", "GET", "/api/status", host("[::1]:9746"), 200, ""},
		{"IPv6 without port", "GET", "/api/status", host("[fd00::1]"), 200, ""},
		{"no name", "GET", "/api/status", host(""), 200, ""},
		{"a node", "GET", "/api/status", host("web1:9746"), 200, ""},
		{"a name of the config", "GET", "/api/status", host("Status.Example.com."), 200, ""},
		{"rebinding", "GET", "/api/status", host("evil.example:9746"), 421, `"evil.example" is no name of this node`},
		{"below localhost", "GET", "/api/status", host("localhost.evil.example"), 421, "hosts = "},
		{"hostile name", "GET", "/api/status", host("<script>alert(1)</script>"), 421, `"<script>`}, // as plain text, nosniff
		{"health by any name", "GET", "/healthz", host("backend-pool"), 200, "ok"},
		{"own script", "GET", "/api/status", fetch("same-origin", "cors"), 200, ""},
		{"typed address", "GET", "/api/status", fetch("none", "navigate"), 200, ""},
		{"link elsewhere", "GET", "/api/status", fetch("cross-site", "navigate"), 200, ""},
		{"script elsewhere", "GET", "/api/status", fetch("cross-site", "no-cors"), 403, "other sites"},
		{"script next door", "GET", "/api/status", fetch("same-site", "cors"), 403, "other sites"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(s, tt.method, tt.path, tt.edit)
			if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("%d %q, want %d with %q", w.Code, w.Body, tt.want, tt.says)
			}
			h := w.Header()
			for key, value := range map[string]string{
				"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if !strings.Contains(h.Get(key), value) {
					t.Errorf("%s: %q", key, h.Get(key))
				}
			}
			if csp := h.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
				t.Errorf("policy %q", csp)
			}
			if tt.want == 405 && h.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow: %q", h.Get("Allow"))
			}
			if tt.want >= 400 && strings.Contains(h.Get("Content-Type"), "html") {
				t.Errorf("a refusal as %s", h.Get("Content-Type"))
			}
		})
	}
}

func TestMetricsArePluggedIn(t *testing.T) {
	s := newServer(t, Options{Agent: scripted(controltest.AllWell()), Metrics: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hbagent_up 1")
	})})
	if w := ask(s, "GET", "/metrics", nil); w.Code != 200 || w.Body.String() != "hbagent_up 1\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w := ask(s, "GET", "/metrics", func(r *http.Request) { r.Host = "evil.example" }); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("by a foreign name: %d", w.Code)
	}
}

func TestSetMovesTheListeners(t *testing.T) {
	a, b := freePort(t), freePort(t)
	s := running(t, Options{Agent: scripted(controltest.AllWell()), Listen: []netip.AddrPort{a}})
	answers(t, a)
	_, messages, _ := listening(t, a, "")
	next(t, messages)
	s.Set([]netip.AddrPort{a, b}, nil)
	answers(t, b)
	answers(t, a)
	s.Set([]netip.AddrPort{b}, nil)
	refuses(t, a)
	answers(t, b)
	for end := time.After(patience); messages != nil; { // whoever reads from the old address is hung up on
		select {
		case _, ok := <-messages:
			if !ok {
				messages = nil
			}
		case <-end:
			t.Fatal("the stream from the old address goes on")
		}
	}
	s.Set(nil, nil)
	refuses(t, b)
}

// A port in use is said, and taken as soon as it is free.
func TestPortInUse(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ap := netip.MustParseAddrPort(other.Addr().String())
	s := running(t, Options{Agent: scripted(controltest.AllWell()), Listen: []netip.AddrPort{ap}})
	want := []string{fmt.Sprintf("the status page cannot listen on %s: another program listens there (ss -ltnp says which); it is tried again", ap)}
	eventually(t, func() error {
		if got := s.Problems(); !slices.Equal(got, want) {
			return fmt.Errorf("problems %q", got)
		}
		return nil
	})
	other.Close()
	answers(t, ap)
	if got := s.Problems(); len(got) > 0 {
		t.Errorf("problems %q", got)
	}
}

func TestAddressThatIsNotHere(t *testing.T) {
	s := running(t, Options{Agent: scripted(controltest.AllWell()), Listen: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:9746")}})
	eventually(t, func() error {
		if got := strings.Join(s.Problems(), "\n"); !strings.Contains(got, "this machine has no such address") {
			return fmt.Errorf("problems %q", got)
		}
		return nil
	})
	s.Set(nil, nil)
	if got := s.Problems(); len(got) > 0 {
		t.Errorf("problems of an address that is not wanted any more: %q", got)
	}
}

// As many connections as there are slots, and the next one after one has gone.
func TestConnectionsAreBounded(t *testing.T) {
	ap := freePort(t)
	s := running(t, Options{Agent: scripted(controltest.AllWell()), Listen: []netip.AddrPort{ap}})
	answers(t, ap)
	eventually(t, func() error { // until those of answers are given back
		if n := len(s.slots); n > 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	var held []net.Conn
	for range maxConns {
		c, err := net.Dial("tcp", ap.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	eventually(t, func() error {
		if n := len(s.slots); n != maxConns {
			return fmt.Errorf("%d connections of %d", n, maxConns)
		}
		return nil
	})
	if _, _, err := get(ap, "/healthz"); err == nil {
		t.Error("one more was answered")
	}
	held[0].Close()
	answers(t, ap)
}
