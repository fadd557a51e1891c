package lab

import (
	"slices"
	"sync"
	"time"
)

// keepRecords bounds every observer's memory. When full, the older half is forgotten: of a record each millisecond the
// last 100 s are always there.
const keepRecords = 200_000

// Watchable is how long an observer that looks so often may watch before it begins to forget: 1000 s at 5 ms. Where the
// beginning is forgotten, the time until the first record that is left looks like one without an answer.
func Watchable(every time.Duration) time.Duration { return keepRecords * every }

// disorder is how much earlier than the record before it a record may be: observers add theirs when they know all of
// it, from several goroutines.
const disorder = 2 * time.Second

// A record is something an observer saw.
type record interface{ when() time.Time }

// A history keeps an observer's latest records. Safe for concurrent use.
type history[T record] struct {
	mu      sync.Mutex
	records []T
}

// add appends one record; when full, the older half is forgotten.
func (h *history[T]) add(r T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.records) >= keepRecords {
		h.records = append(h.records[:0:0], h.records[keepRecords/2:]...)
	}
	h.records = append(h.records, r)
}

// all returns the records in the order of time.
func (h *history[T]) all() []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := slices.Clone(h.records)
	slices.SortStableFunc(c, func(a, b T) int { return a.when().Compare(b.when()) })
	return c
}

// between returns the records within [from, to] in the order of time. Its cost is that of the records since from: a
// long run looks at the last seconds over and over.
func (h *history[T]) between(from, to time.Time) []T {
	outside := func(r T) bool { return r.when().Before(from) || r.when().After(to) }
	h.mu.Lock()
	first := len(h.records)
	for first > 0 && !h.records[first-1].when().Before(from.Add(-disorder)) {
		first--
	}
	c := slices.Clone(h.records[first:])
	h.mu.Unlock()
	c = slices.DeleteFunc(c, outside)
	slices.SortStableFunc(c, func(a, b T) int { return a.when().Compare(b.when()) })
	return c
}

// A Gap is a time without a good answer.
type Gap struct {
	From time.Time // the last good answer before; the start of the window if there was none
	To   time.Time // the first good answer after; the end of the window if there was none
}

// Length is how long nobody answered.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// longestGap finds the longest stretch without a good answer that touches [from, to]. Answers outside the
// window count as its edges, so that an outage that began before `from` is measured in full.
// good holds the times of good answers in order.
func longestGap(good []time.Time, from, to time.Time) Gap {
	var longest Gap
	last := from
	if i, _ := slices.BinarySearchFunc(good, from, time.Time.Compare); i > 0 {
		last, good = good[i-1], good[i:]
	}
	for _, at := range good {
		if g := (Gap{last, at}); g.Length() > longest.Length() {
			longest = g
		}
		if at.After(to) {
			return longest
		}
		last = at
	}
	if g := (Gap{last, to}); g.Length() > longest.Length() {
		longest = g
	}
	return longest
}
