package lab

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Chosen by us.
const (
	sqlRetry   = 2 * time.Millisecond // an application tries again
	stateEvery = 5 * time.Millisecond
)

// A SQLLoad are clients that insert one row after the other through an address, each with a value of its own, and
// remember what they were told.
type SQLLoad struct {
	w    *World
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	acked  map[string]time.Time // the value, and when its commit was acknowledged
	maybe  map[string]time.Time // no answer
	failed int
	last   error
}

// StartSQLLoad starts it; shop.t (v VARCHAR(40)) must be there. It ends with ctx, or Stop.
func (w *World) StartSQLLoad(ctx context.Context, address netip.Addr, clients int) *SQLLoad {
	ctx, stop := context.WithCancel(ctx)
	l := &SQLLoad{w: w, stop: stop, acked: make(map[string]time.Time), maybe: make(map[string]time.Time)}
	for c := range clients {
		l.wg.Go(func() { l.client(ctx, address, c) })
	}
	return l
}

func (l *SQLLoad) client(ctx context.Context, address netip.Addr, number int) {
	db, err := l.w.OpenDatabase(address)
	if err != nil {
		l.note("", err)
		return
	}
	defer db.Close()
	for i := 0; ctx.Err() == nil; i++ {
		v := fmt.Sprintf("%d-%d", number, i)
		_, err := db.ExecContext(context.WithoutCancel(ctx), "INSERT INTO t (v) VALUES (?)", v) // the driver has bounds
		l.note(v, err)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(sqlRetry):
			}
		}
	}
}

func (l *SQLLoad) note(v string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.acked[v] = time.Now()
	case refused(err):
		l.failed++
		l.last = err
	default:
		l.maybe[v] = time.Now()
		l.last = err
	}
}

// Stop ends the load, and waits for the statements that are under way.
func (l *SQLLoad) Stop() { l.stop(); l.wg.Wait() }

// Acked returns how many commits were acknowledged, and the last failure.
func (l *SQLLoad) Acked() (n int, last error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), l.last
}

// A SQLTally is what became of the rows.
type SQLTally struct {
	Acked, Failed, Unknown int
	Lost                   []string // acknowledged, and not there
	Twice                  []string // there more than once
	Ghosts                 int      // there, though the client got no answer: nobody was told otherwise
}

// Tally compares what a server has with what the clients were told. Stop the load first.
func (l *SQLLoad) Tally(ctx context.Context, b *Database) (SQLTally, error) {
	rows, err := b.Rows(ctx, "SELECT v FROM shop.t")
	if err != nil {
		return SQLTally{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := SQLTally{Acked: len(l.acked), Failed: l.failed, Unknown: len(l.maybe)}
	there := make(map[string]int, len(rows))
	for _, v := range rows {
		there[v]++
	}
	for v, n := range there {
		if n > 1 {
			t.Twice = append(t.Twice, v)
		}
		if _, ok := l.maybe[v]; ok {
			t.Ghosts++
		}
	}
	for v := range l.acked {
		if there[v] == 0 {
			t.Lost = append(t.Lost, v)
		}
	}
	return t, nil
}

// Gap returns the longest time between two acknowledged commits in a span.
func (l *SQLLoad) Gap(from, to time.Time) (longest time.Duration) {
	l.mu.Lock()
	times := slices.SortedFunc(maps.Values(l.acked), time.Time.Compare)
	l.mu.Unlock()
	last := from
	for _, at := range append(times, to) {
		if at.Before(from) || at.After(to) {
			continue
		}
		longest = max(longest, at.Sub(last))
		last = at
	}
	return longest
}

// A WritableWatch looks at every server, every 5 ms, whether clients could write.
type WritableWatch struct {
	mu      sync.Mutex
	samples int
	both    []time.Time // when more than one was writable
	wg      sync.WaitGroup
}

// WatchWritable starts it. It ends with ctx.
func (d *Databases) WatchWritable(ctx context.Context) *WritableWatch {
	w := &WritableWatch{}
	w.wg.Go(func() {
		tick := time.NewTicker(stateEvery)
		defer tick.Stop()
		for {
			w.look(ctx, d)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// look asks all servers at the same time; one that is down is not writable.
func (w *WritableWatch) look(ctx context.Context, d *Databases) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var mu sync.Mutex
	var writable []string
	var wg sync.WaitGroup
	for name, s := range d.Servers {
		wg.Go(func() {
			on, err := s.One(ctx, "SELECT @@global.read_only")
			if err == nil && on == "0" {
				mu.Lock()
				writable = append(writable, name)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.samples++
	if len(writable) > 1 {
		w.both = append(w.both, time.Now())
	}
}

// Both returns how often was looked, and when more than one server was writable. Whether clients could have reached
// two of them is the ARP watch's to say.
func (w *WritableWatch) Both() (samples int, both []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.samples, slices.Clone(w.both)
}
