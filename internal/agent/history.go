package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/metrics"
)

// Chosen by us: a quiet site writes a few events a week; a bad night some
// hundreds.
const (
	historyKeep     = 2000               // events in memory and, about, on disk
	historyFileMax  = 1 << 20            // bytes; then the file is written anew with the newest historyKeep
	historyQueue    = 256                // events that wait for the disk; more are in memory only
	historyReadMax  = 2 * historyFileMax // of a file that somebody made longer: its end
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
	kindRole     = "role"     // something that a group's role has done or seen
	kindLink     = "link"
	kindProblem  = "problem" // something a person should put right
	kindHook     = "hook"
	kindTemplate = "template" // a file that follows the cluster was written, or cannot be
	kindConfig   = "config"
	kindKey      = "key"   // the gossip keys of this node have changed
	kindAgent    = "agent" // start, stop, pause
	// kindMaintenance: a node was told to own nothing, or that it may again.
	kindMaintenance = "maintenance"
)

// eventKinds are all of them, for who counts them.
var eventKinds = []string{
	kindOwner, kindState, kindNode, kindCheck, kindAddress, kindDrain, kindConflict, kindRole, kindLink, kindProblem, kindHook, kindTemplate, kindConfig, kindKey, kindAgent,
	kindMaintenance,
}

// history is the list of what happened, in memory and on disk. Safe for
// concurrent use. A goroutine of its own writes the file: a disk that hangs, or
// is full, must not hold up a failover. Losing the newest lines in a power cut
// is accepted: nothing is decided by them.
type history struct {
	path    string
	node    string
	log     *slog.Logger
	metrics *metrics.Set // nil in some tests; set before the first add

	lines chan []byte   // to write
	done  chan struct{} // closed when write has returned

	file *os.File // write's
	size int64    // write's

	mu      sync.Mutex
	events  []control.Event // of growing Seq
	last    uint64          // Seq of the newest event, also where it was of an earlier run
	opened  uint64          // last, when this run began
	subs    map[chan control.Event]struct{}
	more    chan struct{} // closed, and made anew, with each event
	skipped int           // events that found lines full
	err     error         // why nothing is written any more
	damage  string        // what an earlier run's file lacks
	closed  bool
}

// openHistory reads what earlier runs left. It does not fail: a file that is
// damaged, or cannot be had, is said in the log, in status and in the history itself.
// expected tells that an earlier run must have left one.
func openHistory(path, node string, expected bool, log *slog.Logger) *history {
	h := newHistory(path, node, log)
	tail, err := readTail(path, historyReadMax)
	mend := false
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = nil; expected {
			h.damage = path + " is gone, and with it what happened before this start"
		}
	case err == nil:
		mend = h.load(tail)
	}
	if err == nil {
		h.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err != nil {
		h.err = err
		log.Error("the history is kept in memory only", "error", err)
		close(h.done)
		return h
	}
	h.size = int64(len(tail))
	if mend {
		h.size = historyFileMax // the next line writes it anew
		h.lines <- []byte{'\n'}
	}
	go h.write()
	if h.damage != "" {
		log.Warn("history", "reason", h.damage)
		h.add(control.Event{Kind: kindProblem, Reason: "history-damaged", Detail: h.damage})
	}
	return h
}

func newHistory(path, node string, log *slog.Logger) *history {
	return &history{
		path: path, node: node, log: log, subs: make(map[chan control.Event]struct{}), more: make(chan struct{}),
		lines: make(chan []byte, historyQueue), done: make(chan struct{}),
	}
}

// readTail returns the end of a file, from the beginning of a line on.
func readTail(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(st.Size()-limit, 0)
	b, err := io.ReadAll(io.NewSectionReader(f, from, limit))
	if err != nil {
		return nil, err
	}
	if from > 0 {
		_, b, _ = bytes.Cut(b, []byte{'\n'})
	}
	return b, nil
}

// load takes the lines of the file over. A damaged one is left out, and told of unless it
// is the last, which a power cut may have torn; mend says that there is one. What has no
// Seq is of an older agent.
func (h *history) load(tail []byte) (mend bool) {
	damaged := 0
	for line := range bytes.Lines(tail) {
		var e control.Event
		text := bytes.TrimSpace(line)
		switch {
		case len(text) == 0:
		case json.Unmarshal(text, &e) == nil && e.Kind != "":
			if e.Seq <= h.last {
				e.Seq = max(h.last+1, sequenceAt(e.At))
			}
			h.last = e.Seq
			h.events = append(h.events, e)
		case line[len(line)-1] != '\n':
			mend = true
		default:
			damaged++
		}
	}
	h.opened = h.last
	h.trim()
	if damaged > 0 {
		h.damage = fmt.Sprintf("%s: %d damaged lines were left out", h.path, damaged)
	}
	return mend || damaged > 0 || len(tail) > 0 && tail[len(tail)-1] != '\n'
}

// sequenceAt is the number of an event if there was none before: microseconds, so that it grows
// also when the file is lost.
func sequenceAt(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 1)) }

func (h *history) trim() {
	if n := len(h.events) - historyKeep; n > 0 {
		h.events = slices.Delete(h.events, 0, n)
	}
}

// add appends an event, with the time and this node's name. It does not wait.
func (h *history) add(e control.Event) {
	h.metrics.Event(e.Kind)
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.last = max(h.last+1, sequenceAt(now))
	e.At, e.Node, e.Seq = now.UTC().Truncate(time.Millisecond), h.node, h.last
	line, err := json.Marshal(e)
	if err != nil {
		panic("an event that JSON cannot hold: " + err.Error())
	}
	h.events = append(h.events, e)
	h.trim()
	close(h.more)
	h.more = make(chan struct{})
	for ch := range h.subs {
		select {
		case ch <- e:
		default: // too slow: the reader sees the end of the stream and asks again
			h.metrics.Dropped(metrics.QueueSubscriber)
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
		h.metrics.Dropped(metrics.QueueHistory)
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
	case h.damage != "":
		return "the history is incomplete: " + h.damage
	}
	return ""
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
	close(h.more)
	h.more = make(chan struct{})
	h.mu.Unlock()
	select {
	case <-h.done:
	case <-time.After(historyLastWait):
	}
}
