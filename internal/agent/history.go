package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// Chosen by us: a quiet site writes a few events a week; a bad night some
// hundreds.
const (
	historyKeep     = 2000    // events in memory and, about, on disk
	historyFileMax  = 1 << 20 // bytes; then the file is written anew with the newest historyKeep
	historyQueue    = 256     // events that wait for the disk; more are in memory only
	historyLastWait = time.Second
	subscriberQueue = 256 // a reader that falls further behind is cut off
)

// Kinds of events. New ones may be added.
const (
	kindOwner    = "owner"    // a group has another owner, or none
	kindState    = "state"    // a group's state on this node
	kindNode     = "node"     // a peer came or went
	kindCheck    = "check"    // a check's judgement changed
	kindAddress  = "address"  // somebody took an address away, or it is back
	kindDrain    = "drain"    // a group that was handed over has finished its connections
	kindConflict = "conflict" // another machine claims an address
	kindLink     = "link"
	kindProblem  = "problem" // something a person should put right
	kindHook     = "hook"
	kindConfig   = "config"
	kindAgent    = "agent" // start, stop, pause
	// kindMaintenance: a node was told to own nothing, or that it may again.
	kindMaintenance = "maintenance"
)

// history is the list of what happened, in memory and on disk. Safe for
// concurrent use. A goroutine of its own writes the file: a disk that hangs, or
// is full, must not hold up a failover. Losing the newest lines in a power cut
// is accepted: nothing is decided by them.
type history struct {
	path string
	node string
	log  *slog.Logger

	lines chan []byte   // to write
	done  chan struct{} // closed when write has returned

	file *os.File // write's
	size int64    // write's

	mu      sync.Mutex
	events  []control.Event
	subs    map[chan control.Event]struct{}
	skipped int   // events that found lines full
	err     error // why nothing is written any more
	closed  bool
}

// openHistory reads what earlier runs left. A damaged line is skipped.
func openHistory(path, node string, log *slog.Logger) (*history, error) {
	h := &history{
		path: path, node: node, log: log, subs: make(map[chan control.Event]struct{}),
		lines: make(chan []byte, historyQueue), done: make(chan struct{}),
	}
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("history: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 2*historyFileMax)
	for lines.Scan() {
		var e control.Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Kind != "" {
			h.events = append(h.events, e)
		}
	}
	h.trim()
	h.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	h.size = int64(len(b))
	if len(b) > 0 && b[len(b)-1] != '\n' {
		h.lines <- []byte{'\n'} // a power cut has left half a line
	}
	go h.write()
	return h, nil
}

func (h *history) trim() {
	if n := len(h.events) - historyKeep; n > 0 {
		h.events = slices.Delete(h.events, 0, n)
	}
}

// add appends an event, with the time and this node's name. It does not wait.
func (h *history) add(e control.Event) {
	e.At, e.Node = time.Now().UTC().Truncate(time.Millisecond), h.node
	line, err := json.Marshal(e)
	if err != nil {
		panic("an event that JSON cannot hold: " + err.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	h.trim()
	for ch := range h.subs {
		select {
		case ch <- e:
		default: // too slow: the reader sees the end of the stream and asks again
			delete(h.subs, ch)
			close(ch)
		}
	}
	if h.closed || h.err != nil {
		return
	}
	select {
	case h.lines <- append(line, '\n'):
	default:
		h.skipped++
	}
}

// write is the goroutine that writes the file, until close or the first error.
func (h *history) write() {
	defer close(h.done)
	defer func() { h.file.Close() }()
	for line := range h.lines {
		n, err := h.file.Write(line)
		h.size += int64(n)
		if err == nil && h.size > historyFileMax {
			err = h.rewrite()
		}
		if err != nil {
			h.log.Error("the history is kept in memory only from now on", "error", err)
			h.mu.Lock()
			h.err = err
			h.mu.Unlock()
			return
		}
	}
}

// rewrite replaces the file by the events in memory. Where they are long, it
// takes the newer half, so that the next time is far.
func (h *history) rewrite() error {
	events := h.unwritten()
	var buf bytes.Buffer
	for {
		enc := json.NewEncoder(&buf)
		for _, e := range events {
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		if buf.Len() <= historyFileMax/2 {
			break
		}
		buf.Reset()
		events = events[(len(events)+1)/2:]
	}
	tmp := h.path + ".tmp"
	if err := os.WriteFile(tmp, buf.Bytes(), 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, h.path); err != nil {
		return err
	}
	f, err := os.OpenFile(h.path, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	h.file.Close()
	h.file, h.size = f, int64(buf.Len())
	return nil
}

// unwritten returns all events, and takes back the lines of those among them
// that still wait.
func (h *history) unwritten() []control.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.lines) > 0 {
		<-h.lines
	}
	h.skipped = 0
	return slices.Clone(h.events)
}

// problem says in one line what is wrong with the file, if anything.
func (h *history) problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.err != nil:
		return fmt.Sprintf("the history is kept in memory only: %v", h.err)
	case h.skipped > 0:
		return fmt.Sprintf("the disk is too slow for the history: %d events are in memory only", h.skipped)
	}
	return ""
}

// since returns the newest limit events from t on, oldest first. Where the wall
// clock went back, it returns rather more than less.
func (h *history) since(t time.Time, limit int) []control.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.events, func(e control.Event) bool { return !e.At.Before(t) })
	if i < 0 {
		return nil
	}
	out := h.events[i:]
	if limit > 0 && len(out) > limit {
		out = out[len(out)-limit:]
	}
	return slices.Clone(out)
}

func (h *history) subscribe() (events <-chan control.Event, cancel func()) {
	ch := make(chan control.Event, subscriberQueue)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(ch)
		return ch, func() {}
	}
	h.subs[ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[ch]; ok {
			delete(h.subs, ch)
			close(ch)
		}
	}
}

// close ends the streams and waits, within a bound, until the file is written.
func (h *history) close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	for ch := range h.subs {
		delete(h.subs, ch)
		close(ch)
	}
	close(h.lines)
	h.mu.Unlock()
	select {
	case <-h.done:
	case <-time.After(historyLastWait):
	}
}
