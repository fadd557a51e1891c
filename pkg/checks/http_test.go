package checks

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// short is the timeout of probes that are meant to run into it.
const short = 200 * time.Millisecond

func TestHTTP(t *testing.T) {
	var redirected atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<h1>all good</h1>")) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/target", http.StatusMovedPermanently)
	})
	mux.HandleFunc("/target", func(w http.ResponseWriter, r *http.Request) { redirected.Add(1) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/strange", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(299) })
	mux.HandleFunc("/host", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("host=" + r.Host)) })
	mux.HandleFunc("/far", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(strings.Repeat("x", maxPage) + "needle"))
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Write([]byte("half"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", maxHTTPAnswer))
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	t.Setenv("HTTP_PROXY", "http://"+refused(t))

	for name, tt := range map[string]struct {
		spec Spec
		path string
		ok   bool
		want string
	}{
		"status":           {Spec{}, "/ok", true, "200 OK"},
		"redirect":         {Spec{}, "/moved", true, "301 Moved Permanently"},
		"exact status":     {Spec{Status: 301}, "/moved", true, "301 Moved Permanently"},
		"another status":   {Spec{Status: 200}, "/moved", false, "301 Moved Permanently, want 200"},
		"server error":     {Spec{}, "/broken", false, "503 Service Unavailable"},
		"wanted error":     {Spec{Status: 503}, "/broken", true, "503 Service Unavailable"},
		"nameless status":  {Spec{}, "/strange", true, "299"},
		"not found":        {Spec{}, "/nowhere", false, "404 Not Found"},
		"body":             {Spec{Body: `all\s+good`}, "/ok", true, "200 OK"},
		"another body":     {Spec{Body: "^welcome"}, "/ok", false, `200 OK, but the page does not match "^welcome"`},
		"beyond the limit": {Spec{Body: "needle"}, "/far", false, `200 OK, but the page does not match "needle"`},
		"host":             {Spec{Host: "www.example.org", Body: "^host=www.example.org$"}, "/host", true, "200 OK"},
		"page cut short":   {Spec{}, "/cut", false, srv.Listener.Addr().String() + " closed the connection before its answer was complete"},
		"endless header":   {Spec{}, "/headers", false, srv.Listener.Addr().String() + ": the answer is longer than any that makes sense"},
	} {
		for _, typ := range []string{"http", "apache", "nginx"} {
			t.Run(name+"/"+typ, func(t *testing.T) {
				tt.spec.Type, tt.spec.URL = typ, srv.URL+tt.path
				check(t, probe(t, mustNew(t, tt.spec), patience), tt.ok, tt.want)
			})
		}
	}
	if n := redirected.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

func TestHTTPBadServers(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
	for name, tt := range map[string]struct {
		address string
		timeout time.Duration
		ok      bool
		want    string // %s is the address
	}{
		"refused":              {refused(t), patience, false, "connection refused at %s"},
		"hung":                 {serve(t, hang), short, false, "no answer within 200ms"},
		"not even accepting":   {deaf(t), short, false, "no answer within 200ms"},
		"hangs up":             {serve(t, says("")), patience, false, "%s closed the connection before its answer was complete"},
		"another protocol":     {serve(t, says("SSH-2.0-OpenSSH_9.2\r\n")), patience, false, "%s: malformed HTTP response \"SSH-2.0-OpenSSH_9.2\""},
		"endless garbage":      {serve(t, endless("\x00\xff\x1b[2J")), patience, false, "%s: the answer is longer than any that makes sense"},
		"endless header":       {serve(t, endless("HTTP/1.1 200 OK\r\nX: y\r\n")), patience, false, "%s: *"},
		"endless 100 Continue": {serve(t, endless("HTTP/1.1 100 Continue\r\n\r\n")), patience, false, "%s: more than 5 interim answers"},
		"slow header":          {serve(t, drip(head)), short, false, "no answer within 200ms"},
		"endless page": {serve(t, func(c net.Conn) {
			says(head)(c)
			endless("more ")(c)
		}), patience, true, "200 OK"},
		"slow page": {serve(t, func(c net.Conn) {
			says(head)(c)
			drip("more ")(c)
		}), short, false, "no answer within 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := mustNew(t, Spec{Type: "http", URL: "http://" + tt.address + "/"})
			begin := time.Now()
			check(t, probe(t, c, tt.timeout), tt.ok, strings.ReplaceAll(tt.want, "%s", tt.address))
			// Failing early is the point where the timeout is long.
			if took := time.Since(begin); tt.timeout == patience && took > patience/2 {
				t.Errorf("took %v", took)
			}
		})
	}
}

// Each probe has to pass the accept queue anew.
func TestHTTPConnectsEachTime(t *testing.T) {
	var connections atomic.Int32
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { connections.Add(1); return ctx }
	srv.Start()
	defer srv.Close()
	c := mustNew(t, Spec{Type: "http", URL: srv.URL})
	for range 3 {
		probe(t, c, patience)
	}
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections for 3 probes", n)
	}
}

func TestHTTPS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	c := mustNew(t, Spec{Type: "http", URL: srv.URL, Status: 404})
	check(t, probe(t, c, patience), false, srv.Listener.Addr().String()+": tls: failed to verify certificate:*")

	for want, s := range map[string]Spec{
		"example.com":  {URL: "https://127.0.0.1/", Host: "example.com:443"},
		"www.shop.org": {URL: "https://127.0.0.1/", Host: "www.shop.org"},
		"::1":          {URL: "https://[::1]:8443/"},
	} {
		s.Type = "http"
		if got := mustNew(t, s).(*httpCheck).probe.serverName(); got != want {
			t.Errorf("TLS name %q, want %q", got, want)
		}
	}
	// And TLS towards a server that has none.
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	address := plain.Listener.Addr().String()
	check(t, probe(t, mustNew(t, Spec{Type: "http", URL: "https://" + address}), patience), false,
		address+": tls: first record does not look like a TLS handshake")
}

func TestDialAddress(t *testing.T) {
	for in, want := range map[string]string{
		"http://a/": "a:80", "https://a/": "a:443", "http://a:8080": "a:8080", "https://[::1]/x": "[::1]:443",
	} {
		u, err := url.Parse(in)
		must(t, err)
		if got := dialAddress(u); got != want {
			t.Errorf("dialAddress(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestHTTPLogsIn(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s %s %s %s close=%v", user, password, r.UserAgent(), r.RequestURI, r.Close)
	}))
	defer srv.Close()
	c := mustNew(t, Spec{Type: "http", URL: strings.Replace(srv.URL, "//", "//me:pw@", 1) + "/a?b=c#d",
		Body: `^me pw hbagent-check /a\?b=c close=true$`})
	check(t, probe(t, c, patience), true, "200 OK")
}

func TestHTTPHidesPassword(t *testing.T) {
	c := mustNew(t, Spec{Type: "http", URL: "http://user:geheim@" + refused(t) + "/?auto"})
	if r := probe(t, c, patience); strings.Contains(r.Message, "geheim") || r.OK {
		t.Errorf("%+v", r)
	}
	_, err := New(Spec{Type: "http", URL: "http://user:geheim@host:por t/"}, Options{})
	if err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("error %v", err)
	}
}
