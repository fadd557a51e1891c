package checks

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
)

// Chosen by us.
const (
	// maxPage is how much of a page is read and looked at, in bytes.
	maxPage = 64 << 10
	// maxHTTPAnswer bounds everything read from the connection: header, page,
	// the reader's buffer, and TLS with its certificates.
	maxHTTPAnswer = maxPage + 256<<10
	// maxInterim bounds the interim answers (1xx, RFC 9110 section 15.2) before
	// the final one. Nobody sends more than one to a plain GET.
	maxInterim = 5

	userAgent = "hbagent-check"
)

// A page is what a web server answered.
type page struct {
	code int
	body []byte // the first maxPage bytes
}

func (p page) String() string {
	if text := http.StatusText(p.code); text != "" {
		return fmt.Sprintf("%d %s", p.code, text)
	}
	return fmt.Sprint(p.code)
}

// pageProbe fetches one page and holds it against what is wanted.
//
// It uses net/http's messages without its Transport. A probe wants a connection
// of its own, so that it goes through the server's accept queue as a new visitor
// does; no redirect, proxy, compression or HTTP/2; and to be over when its context
// is. A Transport would have all of that switched off, and still dial longer than
// its request lives and print what a server says unasked to the standard log.
type pageProbe struct {
	url     *url.URL
	host    string // Host header and TLS name; empty: the URL's
	address string // where to connect
	where   string // for messages: no user, no password
	code    int    // 0: any of 200 to 399
	body    *regexp.Regexp
}

func newPageProbe(s Spec) (*pageProbe, error) {
	if s.URL == "" {
		return nil, errors.New("url is missing")
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		var parse *url.Error // repeats the URL, which may hold a password
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return nil, fmt.Errorf("url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("url %q, want http://host/ or https://host/", u.Redacted())
	}
	p := &pageProbe{url: u, host: s.Host, address: dialAddress(u), where: u.Host, code: s.Status}
	if s.Status != 0 && (s.Status < 200 || s.Status > 599) {
		return nil, fmt.Errorf("status %d, want 200 to 599", s.Status)
	}
	if s.Body != "" {
		if p.body, err = regexp.Compile(s.Body); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
	}
	return p, nil
}

// get fetches the page. ok is false when it is not what is wanted; failure
// says why.
func (p *pageProbe) get(ctx context.Context) (got page, failure Result, ok bool) {
	resp, err := p.ask(ctx)
	if err != nil {
		return page{}, netFailure(ctx, p.where, err), false
	}
	defer resp.Body.Close()
	got.code = resp.StatusCode
	// Read it even if nobody looks at it: a page that stops half-way is a
	// failure that the header does not know of yet.
	if got.body, err = io.ReadAll(io.LimitReader(resp.Body, maxPage)); err != nil {
		return page{}, netFailure(ctx, p.where, err), false
	}
	switch {
	case p.code != 0 && got.code != p.code:
		return page{}, fail("%v, want %d", got, p.code), false
	case p.code == 0 && (got.code < 200 || got.code > 399):
		return page{}, fail("%v", got), false
	case p.body != nil && !p.body.Match(got.body):
		return page{}, fail("%v, but the page does not match %q", got, p.body), false
	}
	return got, Result{}, true
}

// ask connects, sends the request and reads the answer's header. Closing the
// answer's body closes the connection.
func (p *pageProbe) ask(ctx context.Context) (*http.Response, error) {
	conn, err := dial(ctx, "tcp", p.address, maxHTTPAnswer)
	if err != nil {
		return nil, err
	}
	resp, err := p.converse(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{resp.Body, conn}
	return resp, nil
}

func (p *pageProbe) converse(ctx context.Context, conn net.Conn) (*http.Response, error) {
	if p.url.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: p.serverName()})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	req := &http.Request{
		Method: http.MethodGet,
		URL:    p.url,
		Host:   p.host,
		Header: http.Header{"User-Agent": {userAgent}},
		Close:  true,
	}
	if u := p.url.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	answer := bufio.NewReader(conn)
	for range maxInterim {
		resp, err := http.ReadResponse(answer, req)
		if err != nil || resp.StatusCode >= 200 {
			return resp, err
		}
	}
	return nil, fmt.Errorf("more than %d interim answers", maxInterim)
}

// serverName is the name that the certificate has to be for.
func (p *pageProbe) serverName() string {
	if p.host == "" {
		return p.url.Hostname()
	}
	if host, _, err := net.SplitHostPort(p.host); err == nil {
		return host
	}
	return p.host
}

func dialAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// httpCheck is type http: the page's status is the message.
type httpCheck struct{ probe *pageProbe }

func newHTTP(s Spec) (Checker, error) {
	p, err := newPageProbe(s)
	if err != nil {
		return nil, err
	}
	return &httpCheck{p}, nil
}

func (c *httpCheck) Check(ctx context.Context) Result {
	got, failure, ok := c.probe.get(ctx)
	if !ok {
		return failure
	}
	return pass("%v", got)
}
