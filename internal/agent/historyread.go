package agent

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

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

// page returns the newest events that are older than before (a Seq; 0: all) and not from before t,
// oldest first: limit of them, and no more than fit into size bytes. more tells that older ones are left.
func (h *history) page(before uint64, t time.Time, limit, size int) (events []control.Event, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := slices.IndexFunc(h.events, func(e control.Event) bool { return !e.At.Before(t) })
	if from < 0 {
		return nil, false
	}
	to := len(h.events)
	if before > 0 {
		to, _ = slices.BinarySearchFunc(h.events, before, bySeq)
	}
	i := to
	for i > from && to-i < limit {
		if size -= encodedSize(h.events[i-1]); size < 0 && i < to { // one goes always
			break
		}
		i--
	}
	return slices.Clone(h.events[min(i, to):to]), i > from
}

// after returns the oldest events behind seq and not from before t, within the same bounds, and waits for the first
// one until ctx ends. last is where to go on. A seq that this history has not reached is of one that was lost, or of
// nobody: then it is about everything of this run.
func (h *history) after(ctx context.Context, seq uint64, t time.Time, limit, size int) (events []control.Event, last uint64) {
	for {
		h.mu.Lock()
		if seq > h.last {
			seq = h.opened
		}
		i, _ := slices.BinarySearchFunc(h.events, seq+1, bySeq)
		for _, e := range h.events[i:] {
			if e.At.Before(t) {
				seq = e.Seq
				continue
			}
			if size -= encodedSize(e); len(events) == limit || size < 0 && len(events) > 0 {
				break
			}
			events, seq = append(events, e), e.Seq
		}
		more, closed := h.more, h.closed
		h.mu.Unlock()
		if len(events) > 0 || closed {
			return events, seq
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, seq
		}
	}
}

func bySeq(e control.Event, seq uint64) int {
	switch {
	case e.Seq < seq:
		return -1
	case e.Seq > seq:
		return 1
	}
	return 0
}

func encodedSize(e control.Event) int {
	b, err := json.Marshal(e)
	if err != nil {
		panic("an event that JSON cannot hold: " + err.Error())
	}
	return len(b) + 1
}

// newest is the Seq of the last event.
func (h *history) newest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}
