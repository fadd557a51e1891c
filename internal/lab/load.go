package lab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// LoadOptions describe a load on a real Apache with PHP ([Node.ApacheForLoad]), of everything that a site does at once.
type LoadOptions struct {
	Target       netip.AddrPort
	KeepAlive    int           // connections that send request after request
	Downloads    int           // slow ones at a time, each with its checksum
	Uploads      int           // slow ones at a time, each with its checksum
	Slow         time.Duration // how long each of these takes; default 20 s
	NewPerSecond int           // requests over a connection of their own
}

// Chosen by us: what a slow transfer sends, and how often.
const (
	slowEvery = 100 * time.Millisecond
	slowChunk = 16 << 10
	// loadPatience bounds a request beyond what it is meant to take: an answer that takes longer has failed.
	loadPatience = 15 * time.Second
	// keepAlivePause lies between two requests of a connection.
	keepAlivePause = 20 * time.Millisecond
	// keepFailures bounds the memory of a Tally's errors.
	keepFailures = 5
)

// The kinds of requests of a Load.
const (
	LoadKeepAlive = "keep-alive"
	LoadDownload  = "slow download"
	LoadUpload    = "slow upload"
	LoadNew       = "new connection"
)

// A LoadTally is what became of the requests of one kind.
type LoadTally struct {
	Kind     string
	Done     int           // with the right answer
	Failed   int           // reset, refused, not in time, or with another status than 200
	Wrong    int           // with other bytes than were sent
	P50, P99 time.Duration // of the good ones
	Slowest  time.Duration
	Failures []string // the first few
}

// A Load runs until its context ends; transfers that are under way then are finished.
type Load struct {
	o    LoadOptions
	node *Node
	done chan struct{}

	mu    sync.Mutex
	tally map[string]*loadTally
}

type loadTally struct {
	LoadTally
	took []time.Duration
}

// StartLoad puts the load on the target, from World.Client.
func (w *World) StartLoad(ctx context.Context, o LoadOptions) *Load {
	o.Slow = cmp.Or(o.Slow, 20*time.Second)
	l := &Load{o: o, node: w.Client, done: make(chan struct{}), tally: make(map[string]*loadTally)}
	go l.run(ctx)
	return l
}

// Wait returns when the last transfer has ended, after the end of StartLoad's context, or when ctx ends.
func (l *Load) Wait(ctx context.Context) error {
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Load) run(ctx context.Context) {
	defer close(l.done)
	var all sync.WaitGroup
	defer all.Wait()
	for range l.o.KeepAlive {
		all.Go(func() { l.keepAlive(ctx) })
	}
	for i := range l.o.Downloads {
		all.Go(func() { l.repeat(ctx, l.stagger(i, l.o.Downloads), LoadDownload, l.download) })
	}
	for i := range l.o.Uploads {
		all.Go(func() { l.repeat(ctx, l.stagger(i, l.o.Uploads), LoadUpload, l.upload) })
	}
	if l.o.NewPerSecond > 0 {
		all.Go(func() { l.newConnections(ctx) })
	}
}

// stagger spreads the starts of slow transfers.
func (l *Load) stagger(i, n int) time.Duration {
	return l.o.Slow / 4 * time.Duration(i) / time.Duration(n)
}

func (l *Load) repeat(ctx context.Context, first time.Duration, kind string, once func(context.Context, *http.Client) error) {
	client := l.client()
	defer client.CloseIdleConnections()
	for wait := first; ; wait = 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if ctx.Err() != nil {
			return
		}
		l.note(kind, func(ctx context.Context) error { return once(ctx, client) }, l.o.Slow)
		client.CloseIdleConnections()
	}
}

func (l *Load) keepAlive(ctx context.Context) {
	client := l.client()
	defer client.CloseIdleConnections()
	pause := time.NewTicker(keepAlivePause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		l.note(LoadKeepAlive, func(ctx context.Context) error { return l.get(ctx, client) }, 0)
	}
}

func (l *Load) newConnections(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	tick := time.NewTicker(time.Second / time.Duration(l.o.NewPerSecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		all.Go(func() {
			client := l.client()
			defer client.CloseIdleConnections()
			l.note(LoadNew, func(ctx context.Context) error { return l.get(ctx, client) }, 0)
		})
	}
}

// client is one that never sends a request twice: Go's repeats a GET whose connection was reset before the answer.
func (l *Load) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = l.node.Do(func() (err error) {
				var d net.Dialer
				c, err = d.DialContext(ctx, network, addr)
				return err
			})
			return c, err
		},
	}}
}

func (l *Load) url(path string) string { return "http://" + l.o.Target.String() + path }

// once is a body that cannot be read again, so that the client cannot repeat the request behind our back.
type once struct{ io.Reader }

func (l *Load) get(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url("/"), once{strings.NewReader("x")})
	if err != nil {
		return err
	}
	body, err := fetch(client, req)
	if err == nil && len(body) == 0 {
		err = errWrong
	}
	return err
}

var errWrong = errors.New("wrong bytes")

func fetch(client *http.Client, req *http.Request) ([]byte, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", res.Status)
	}
	return body, err
}

func (l *Load) chunks() int { return int(l.o.Slow / slowEvery) }

// chunk is what slow.php sends, and what an upload sends.
func chunk(i int) []byte { return slices.Repeat([]byte{byte('A' + i%26)}, slowChunk) }

func (l *Load) sum() []byte {
	h := sha256.New()
	for i := range l.chunks() {
		h.Write(chunk(i))
	}
	return h.Sum(nil)
}

func (l *Load) download(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url(fmt.Sprintf("/slow.php?chunks=%d", l.chunks())), once{strings.NewReader("x")})
	if err != nil {
		return err
	}
	body, err := fetch(client, req)
	if err != nil {
		return err
	}
	if got := sha256.Sum256(body); !slices.Equal(got[:], l.sum()) {
		return errWrong
	}
	return nil
}

func (l *Load) upload(ctx context.Context, client *http.Client) error {
	r, w := io.Pipe()
	go func() {
		tick := time.NewTicker(slowEvery)
		defer tick.Stop()
		for i := range l.chunks() {
			select {
			case <-ctx.Done():
				w.CloseWithError(ctx.Err())
				return
			case <-tick.C:
			}
			if _, err := w.Write(chunk(i)); err != nil {
				return // the request has ended
			}
		}
		w.Close()
	}()
	defer r.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url("/sum.php"), r)
	if err != nil {
		return err
	}
	req.ContentLength = int64(l.chunks() * slowChunk)
	req.Header.Set("Content-Type", "application/octet-stream") // PHP must not take it for a form
	body, err := fetch(client, req)
	if err == nil && strings.TrimSpace(string(body)) != hex.EncodeToString(l.sum()) {
		err = errWrong
	}
	return err
}

// note makes one request and counts what became of it. It does not end with the load: what was begun is finished.
func (l *Load) note(kind string, request func(context.Context) error, meant time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), meant+loadPatience)
	defer cancel()
	began := time.Now()
	err := request(ctx)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tally[kind]
	if t == nil {
		t = &loadTally{LoadTally: LoadTally{Kind: kind}}
		l.tally[kind] = t
	}
	switch {
	case err == nil:
		t.Done++
		t.took = append(t.took, took)
		return
	case errors.Is(err, errWrong):
		t.Wrong++
	default:
		t.Failed++
	}
	if len(t.Failures) < keepFailures {
		t.Failures = append(t.Failures, fmt.Sprintf("%s, after %v: %v", began.Format("15:04:05.000"), took.Round(time.Millisecond), err))
	}
}

// Tallies returns what became of the requests so far, one for each kind that was asked for.
func (l *Load) Tallies() []LoadTally {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []LoadTally
	for _, kind := range []string{LoadKeepAlive, LoadNew, LoadDownload, LoadUpload} {
		t := l.tally[kind]
		if t == nil {
			continue
		}
		took := slices.Sorted(slices.Values(t.took))
		if n := len(took); n > 0 {
			t.P50, t.P99, t.Slowest = took[n/2], took[n*99/100], took[n-1]
		}
		s := t.LoadTally
		s.Failures = slices.Clone(s.Failures)
		out = append(out, s)
	}
	return out
}
