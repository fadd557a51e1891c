package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// Chosen by us.
const (
	maxReaders = 16          // live pages; what is left of maxConns is for everything else
	livePace   = time.Second // how often is looked, when no event says so
	// liveHurry is how soon after an event: a burst of them is one look, and the source has no older answer by then.
	liveHurry   = statusAge
	beatEvery   = 5 * time.Second // page.js gives up after three
	liveRetryMs = 2000            // for what follows the specification; page.js has its own
)

// live sends the sections that have changed to everybody who has the page open. It looks for changes only
// while somebody does.
type live struct {
	source *source
	run    string // of this process: numbers of an earlier one mean nothing
	pace   time.Duration

	mu       sync.Mutex
	readers  map[chan struct{}]bool // each has room for one wake-up
	sections []sectionState
	number   uint64 // of the newest change
	silent   string // why the agent does not answer; empty: it does
	joined   chan struct{}
}

// sectionState is a section as it was sent last.
type sectionState struct {
	name, html, key string
	number          uint64 // of the change that it came with
}

func newLive(s *source) *live {
	return &live{
		source: s, run: strconv.FormatInt(time.Now().UnixNano(), 36), pace: livePace, readers: make(map[chan struct{}]bool),
		sections: make([]sectionState, len(sections)), joined: make(chan struct{}, 1),
	}
}

// Run looks until ctx ends.
func (l *live) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.joined:
			l.watch(ctx)
		}
	}
}

// watch looks while there are readers.
func (l *live) watch(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(l.pace)
	defer tick.Stop()
	hurry := time.NewTimer(liveHurry)
	defer hurry.Stop()
	l.look(ctx, true)
	var events <-chan control.Event
	for l.read() {
		if events == nil {
			events, _ = l.source.agent.Subscribe(ctx) // without, the pace is all there is
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
			}
			hurry.Reset(liveHurry)
			continue
		case <-tick.C:
		case <-hurry.C:
		case <-l.joined: // somebody who has nothing yet
			l.look(ctx, true)
			continue
		}
		l.look(ctx, false)
	}
}

// look finds out what has changed, and tells the readers if anything has, or if they are to be told anyway.
func (l *live) look(ctx context.Context, tell bool) {
	p, err := l.source.snapshot(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.silent = err.Error()
		l.wake()
		return
	}
	changed := tell || l.silent != ""
	l.silent = ""
	for i, name := range sections {
		s := &l.sections[i]
		html := render(name, p.data())
		if key := withoutAges(html); s.key != key || s.number == 0 {
			l.number++
			*s = sectionState{name: name, html: html, key: key, number: l.number}
			changed = true
		}
	}
	if changed {
		l.wake()
	}
}

// ages are texts that the page counts on by itself.
var ages = regexp.MustCompile(`(<time class="for"[^>]*>)[^<]*`)

func withoutAges(html string) string { return ages.ReplaceAllString(html, "$1") }

// wake is called with the lock.
func (l *live) wake() {
	for ch := range l.readers {
		select {
		case ch <- struct{}{}:
		default: // it has not looked since the last time
		}
	}
}

// read reports whether anybody does.
func (l *live) read() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.readers) > 0
}

// join returns nil where there are too many readers.
func (l *live) join() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.readers) >= maxReaders {
		return nil
	}
	ch := make(chan struct{}, 1) // woken by the look that joined asks for: what was known before may be old
	l.readers[ch] = true
	select {
	case l.joined <- struct{}{}:
	default:
	}
	return ch
}

func (l *live) leave(ch chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.readers, ch)
}

// since returns the sections that changed after a number, and what number that is now.
func (l *live) since(number uint64) (changed []sectionState, now uint64, silent string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sections {
		if s.number > number {
			changed = append(changed, s)
		}
	}
	return changed, l.number, l.silent
}

// seen is the number that a reader has got already, from its Last-Event-ID.
func (l *live) seen(id string) uint64 {
	run, number, _ := strings.Cut(id, ".")
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && run == l.run {
		return n
	}
	return 0
}

// serve is one reader's stream (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (s *Server) serveLive(w http.ResponseWriter, r *http.Request) {
	l := s.live
	ch := l.join()
	if ch == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d pages are live already: this one is as of its loading", maxReaders), http.StatusServiceUnavailable)
		return
	}
	defer l.leave(ch)
	st := &stream{w: w, rc: http.NewResponseController(w)}
	if err := st.begin(); err != nil {
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	if err := s.tell(r.Context(), st, ch, l.seen(r.Header.Get("Last-Event-ID"))); err != nil {
		s.log.Debug("reader has gone", "reason", err)
	}
}

// tell returns nil when the reader or the agent has gone.
func (s *Server) tell(ctx context.Context, st *stream, ch chan struct{}, seen uint64) error {
	if err := st.send("hello", "", map[string]any{"build": build, "now": time.Now().UnixMilli()}); err != nil {
		return err
	}
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if err := st.send("beat", "", map[string]any{"now": time.Now().UnixMilli()}); err != nil {
				return err
			}
		case <-ch:
			changed, now, silent := s.live.since(seen)
			if silent != "" {
				return st.send("silent", "", map[string]any{"reason": silent}) // it comes back when there is news
			}
			for _, c := range changed {
				id := fmt.Sprintf("%s.%d", s.live.run, seen) // not yet all of it
				if c.name == changed[len(changed)-1].name {
					id = fmt.Sprintf("%s.%d", s.live.run, now)
				}
				if err := st.send("section", id, map[string]any{"name": c.name, "html": c.html}); err != nil {
					return err
				}
			}
			seen = now
		}
	}
}

// stream writes events, each under its own deadline.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (st *stream) begin() error {
	if err := st.rc.SetReadDeadline(time.Time{}); err != nil { // else that of the request would end the watch for a reader that hangs up
		return err
	}
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // nginx would keep it back
	_, err := fmt.Fprintf(st.w, "retry: %d\n\n", liveRetryMs)
	return err
}

func (st *stream) send(event, id string, data any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // it is in no HTML here, and would be longer
	if err := enc.Encode(data); err != nil {
		return err
	}
	if err := st.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	if _, err := fmt.Fprintf(st.w, "event: %s\n%sdata: %s\n", event, id, body.Bytes()); err != nil { // body ends its line
		return err
	}
	return st.rc.Flush()
}
