package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

func failing(why string) func(context.Context) (control.Status, error) {
	return func(context.Context) (control.Status, error) { return control.Status{}, errors.New(why) }
}

// changing is an agent whose status changes while it is looked at.
type changing struct {
	testAgent
	mu     sync.Mutex
	status control.Status
	err    error
	asked  atomic.Int64
	events chan control.Event
}

func newChanging() *changing {
	a := &changing{status: controltest.AllWell(), events: make(chan control.Event, 16)}
	a.OnStatus = func(context.Context) (control.Status, error) {
		a.asked.Add(1)
		a.mu.Lock()
		defer a.mu.Unlock()
		s := a.status
		s.Groups, s.Nodes = slices.Clone(s.Groups), slices.Clone(s.Nodes)
		return s, a.err
	}
	a.OnSubscribe = func(context.Context) (<-chan control.Event, error) { return a.events, nil }
	return a
}

func (a *changing) set(edit func(*changing)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	edit(a)
}

// message is one event of a stream.
type message struct{ event, id, data string }

func (m message) section() string {
	var d struct{ Name, HTML string }
	_ = json.Unmarshal([]byte(m.data), &d)
	return d.Name
}

// listening opens the stream, and closes it with the test or by stop.
func listening(t *testing.T, ap netip.AddrPort, lastID string) (resp *http.Response, messages <-chan message, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/live", ap), nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err = (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan message, 256)
	go func() {
		defer resp.Body.Close()
		defer close(out)
		var m message
		for lines := bufio.NewReader(resp.Body); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch key {
			case "event":
				m.event = value
			case "id":
				m.id = value
			case "data":
				m.data = value
			case "":
				if m != (message{}) {
					out <- m
				}
				m = message{}
			}
		}
	}()
	return resp, out, cancel
}

func next(t *testing.T, messages <-chan message) message {
	t.Helper()
	select {
	case m, ok := <-messages:
		if !ok {
			t.Fatal("the stream has ended")
		}
		return m
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
	return message{}
}

// until collects messages up to one that matches.
func until(t *testing.T, messages <-chan message, match func(message) bool) (all []message) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		m := next(t, messages)
		if time.Now().After(end) { // beats would go on for ever
			t.Fatalf("not among %d messages", len(all))
		}
		all = append(all, m)
		if match(m) {
			return all
		}
	}
}

func named(name string) func(message) bool {
	return func(m message) bool { return m.event == "section" && m.section() == name }
}

func sectionsOf(messages []message) []string {
	var out []string
	for _, m := range messages {
		if m.event == "section" {
			out = append(out, m.section())
		}
	}
	return out
}

// liveServer is one that looks for changes at a pace of its own.
func liveServer(t *testing.T, a Agent, pace time.Duration) (*Server, netip.AddrPort) {
	t.Helper()
	ap := freePort(t)
	s := newServer(t, Options{Agent: a, Listen: []netip.AddrPort{ap}, Zone: time.UTC})
	s.beat, s.live.pace = 50*time.Millisecond, pace
	run(t, s)
	answers(t, ap)
	return s, ap
}

func TestLiveSendsWhatChanges(t *testing.T) {
	a := newChanging()
	_, ap := liveServer(t, a, time.Hour) // an event is what makes it look
	resp, messages, stop := listening(t, ap, "")
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || ct != "text/event-stream; charset=utf-8" {
		t.Fatalf("%s %s", resp.Status, ct)
	}
	if m := next(t, messages); m.event != "hello" || !strings.Contains(m.data, `"build":"`+build+`"`) {
		t.Errorf("first: %+v", m)
	}
	first := until(t, messages, named("about"))
	if diff := cmp.Diff(sections, sectionsOf(first)); diff != "" {
		t.Errorf("to begin with (-want +got):\n%s", diff)
	}
	last := first[len(first)-1]

	a.set(func(a *changing) { a.status.Groups[0].Owner = "web2" })
	a.events <- control.Event{Kind: "owner"}
	if diff := cmp.Diff([]string{"groups"}, sectionsOf(until(t, messages, named("groups")))); diff != "" {
		t.Errorf("after a move (-want +got):\n%s", diff)
	}

	// The page comes back with the number of what it has, and gets the rest.
	stop()
	_, again, _ := listening(t, ap, last.id)
	got := until(t, again, named("groups"))
	a.set(func(a *changing) { a.status.Warnings = []string{"worth knowing"} })
	a.events <- control.Event{Kind: "problem"}
	got = append(got, until(t, again, named("verdict"))...)
	if diff := cmp.Diff([]string{"groups", "verdict"}, sectionsOf(got)); diff != "" {
		t.Errorf("after a reconnect (-want +got):\n%s", diff)
	}
	// A number of another run is none.
	_, other, _ := listening(t, ap, "zzz.999")
	if diff := cmp.Diff(sections, sectionsOf(until(t, other, named("about")))); diff != "" {
		t.Errorf("after another run (-want +got):\n%s", diff)
	}
}

// Time that passes is no change: the page counts by itself.
func TestLiveKeepsQuiet(t *testing.T) {
	a := newChanging()
	began := time.Now()
	status := a.OnStatus
	a.OnStatus = func(ctx context.Context) (control.Status, error) {
		s, err := status(ctx)
		s.At = time.Now()
		s.Groups[0].Since = began
		return s, err
	}
	_, ap := liveServer(t, a, 100*time.Millisecond)
	_, messages, _ := listening(t, ap, "")
	until(t, messages, named("about"))
	asked := a.asked.Load()
	beats := 0
	for _, m := range until(t, messages, func(m message) bool {
		if m.event == "beat" {
			beats++
		}
		return beats > 40 && a.asked.Load() > asked+1 // longer than it takes to count a second
	}) {
		if m.event != "beat" {
			t.Errorf("%s %s", m.event, m.data)
		}
	}
}

// Nobody looks: the loop is left alone.
func TestLiveRestsWithoutReaders(t *testing.T) {
	a := newChanging()
	s, ap := liveServer(t, a, 100*time.Millisecond)
	_, messages, stop := listening(t, ap, "")
	until(t, messages, named("about"))
	stop()
	eventually(t, func() error {
		if s.live.read() {
			return errors.New("a reader that has gone counts")
		}
		return nil
	})
	// At most one look was under way; then none for longer than the pace.
	eventually(t, func() error {
		asked := a.asked.Load()
		<-time.After(4 * s.live.pace)
		if n := a.asked.Load(); n != asked {
			return fmt.Errorf("asked %d times", n-asked)
		}
		return nil
	})
	_, messages, _ = listening(t, ap, "")
	until(t, messages, named("about"))
}

func TestLiveSaysThatTheAgentIsSilent(t *testing.T) {
	a := newChanging()
	_, ap := liveServer(t, a, 100*time.Millisecond)
	_, messages, _ := listening(t, ap, "")
	until(t, messages, named("about"))
	a.set(func(a *changing) { a.err = errors.New("the agent's loop did not answer") })
	until(t, messages, func(m message) bool { return m.event == "silent" })
	a.set(func(a *changing) { a.err = nil })
	eventually(t, func() error { // as the page does: it asks again until there is an answer
		_, messages, stop := listening(t, ap, "")
		defer stop()
		for {
			switch m := next(t, messages); {
			case m.event == "silent":
				return errors.New(m.data)
			case named("about")(m):
				return nil
			}
		}
	})
}

func TestLiveReadersAreBounded(t *testing.T) {
	s, ap := liveServer(t, newChanging(), time.Second)
	stops := make([]func(), maxReaders)
	for i := range stops {
		var messages <-chan message
		_, messages, stops[i] = listening(t, ap, "")
		next(t, messages)
	}
	resp, _, stop := listening(t, ap, "")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s", resp.Status)
	}
	stop()
	answers(t, ap) // everything else still does
	stops[0]()
	eventually(t, func() error {
		s.live.mu.Lock()
		defer s.live.mu.Unlock()
		if n := len(s.live.readers); n != maxReaders-1 {
			return fmt.Errorf("%d readers", n)
		}
		return nil
	})
	_, messages, _ := listening(t, ap, "")
	if m := next(t, messages); m.event != "hello" {
		t.Errorf("%+v", m)
	}
}

func TestSeen(t *testing.T) {
	l := newLive(&source{})
	for id, want := range map[string]uint64{"": 0, l.run + ".12": 12, "other.12": 0, l.run: 0, l.run + ".": 0, l.run + ".-1": 0, l.run + ".x": 0} {
		if got := l.seen(id); got != want {
			t.Errorf("%q: %d, want %d", id, got, want)
		}
	}
}
