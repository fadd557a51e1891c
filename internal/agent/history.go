package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
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
	subscriberQueue = 256     // a reader that falls further behind is cut off
)

// Kinds of events. New ones may be added.
const (
	kindOwner    = "owner"    // a group has another owner, or none
	kindState    = "state"    // a group's state on this node
	kindNode     = "node"     // a peer came or went
	kindCheck    = "check"    // a check's judgement changed
	kindAddress  = "address"  // somebody took an address away, or it is back
	kindConflict = "conflict" // another machine claims an address
	kindLink     = "link"
	kindProblem  = "problem" // something a person should put right
	kindHook     = "hook"
	kindConfig   = "config"
	kindAgent    = "agent" // start, stop, pause
)

// history is the list of what happened, in memory and on disk. Safe for
// concurrent use. Losing the newest lines in a power cut is accepted: nothing
// is decided by them.
type history struct {
	path string
	node string

	mu      sync.Mutex
	events  []control.Event
	file    *os.File // nil: memory only, because the disk refused
	written int64
	subs    map[chan control.Event]struct{}
}

// openHistory reads what earlier runs left. A damaged line is skipped.
func openHistory(path, node string) (*history, error) {
	h := &history{path: path, node: node, subs: make(map[chan control.Event]struct{})}
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("history: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, historyFileMax)
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
	h.written = int64(len(b))
	return h, nil
}

func (h *history) trim() {
	if n := len(h.events) - historyKeep; n > 0 {
		h.events = slices.Delete(h.events, 0, n)
	}
}

// add appends an event, with the time and this node's name.
func (h *history) add(e control.Event) {
	e.At, e.Node = time.Now().UTC().Truncate(time.Millisecond), h.node
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
	if h.file == nil {
		return
	}
	b, err := json.Marshal(e)
	if err == nil {
		var n int
		n, err = h.file.Write(append(b, '\n'))
		h.written += int64(n)
	}
	if err == nil && h.written > historyFileMax {
		err = h.rewrite()
	}
	if err != nil { // a full disk must not stop a failover
		h.file.Close()
		h.file = nil
	}
}

// rewrite replaces the file by the events in memory.
func (h *history) rewrite() error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, e := range h.events {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	if buf.Len() > historyFileMax/2 {
		// Long events: keep the newer half, so that the next rewrite is far.
		h.events = slices.Delete(h.events, 0, len(h.events)/2)
		return h.rewrite()
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
	h.file, h.written = f, int64(buf.Len())
	return nil
}

// since returns the newest limit events from t on, oldest first.
func (h *history) since(t time.Time, limit int) []control.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := slices.BinarySearchFunc(h.events, t, func(e control.Event, t time.Time) int { return e.At.Compare(t) })
	out := h.events[i:]
	if limit > 0 && len(out) > limit {
		out = out[len(out)-limit:]
	}
	return slices.Clone(out)
}

func (h *history) subscribe() (events <-chan control.Event, cancel func()) {
	ch := make(chan control.Event, subscriberQueue)
	h.mu.Lock()
	h.subs[ch] = struct{}{}
	h.mu.Unlock()
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[ch]; ok {
			delete(h.subs, ch)
			close(ch)
		}
	}
}

func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.subs {
		delete(h.subs, ch)
		close(ch)
	}
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}
