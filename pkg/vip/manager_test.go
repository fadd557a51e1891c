package vip

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	addr4 = netip.MustParseAddr("10.9.0.50")
	addr6 = netip.MustParseAddr("fd09::50")
)

func webGroup() Group {
	return Group{Name: "web", Interface: "eth0", Addresses: []netip.Prefix{netip.PrefixFrom(addr4, 24), netip.PrefixFrom(addr6, 64)}}
}

// bench is a Manager on a fake kernel, whose clock is the bubble's.
type bench struct {
	*Manager
	t      *testing.T
	k      *fakeKernel
	g      *fakeGate
	dir    string
	events chan Event
	start  time.Time
	offset atomic.Int64 // a stall, in nanoseconds: time that passes for nobody else
}

// inBubble runs f with a Manager whose Run is under way; everything ends with f.
func inBubble(t *testing.T, f func(b *bench)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, dir: dir, events: make(chan Event, 1024), start: time.Now()}
		b.k = newFake(b.clock)
		b.g = &fakeGate{k: b.k, fail: make(map[string]error)}
		m, err := newManager(Options{
			Groups: []Group{webGroup()}, RunDir: dir, Now: b.clock, Gate: b.g,
			Events: func(e Event) { b.events <- e },
		}, b.k)
		if err != nil {
			t.Fatal(err)
		}
		b.Manager = m
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		synctest.Wait()
		b.k.story()
		f(b)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// clock is an hour and what passed: a deadline of zero is never in the future by accident.
func (b *bench) clock() time.Duration {
	return time.Hour + time.Since(b.start) + time.Duration(b.offset.Load())
}

func (b *bench) in(d time.Duration) time.Duration { return b.clock() + d }

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) wantStory(when string, want ...string) {
	b.t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, b.k.story()); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// kinds are the events so far.
func (b *bench) kinds() []string {
	synctest.Wait()
	var out []string
	for {
		select {
		case e := <-b.events:
			out = append(out, strings.TrimSpace(e.Kind.String()+" "+addrText(e.Addr)))
		default:
			return out
		}
	}
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (b *bench) wantEvents(when string, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.kinds()); diff != "" {
		b.t.Errorf("events %s (-want +got):\n%s", when, diff)
	}
}

func TestOrderOfOperations(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.k.onPut = func(a netip.Addr) error {
			text, err := os.ReadFile(filepath.Join(b.dir, recordName))
			if err != nil || !strings.Contains(string(text), a.String()) {
				t.Errorf("%v is added before it is recorded", a)
			}
			return nil
		}
		b.must(b.Open("web", b.in(time.Second)))
		b.wantStory("Open", "gate open web", "put 10.9.0.50", "put fd09::50")
		b.must(b.Shut("web", "test"))
		b.wantStory("Shut", "gate shut web", "remove 10.9.0.50", "remove fd09::50")
		b.must(b.Reconfigure([]Group{webGroup()}))
		b.wantStory("Reconfigure", "gate groups")
	})
}

func TestFailedOpenLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		name string
		set  func(b *bench)
		want []string
	}{
		{"gate", func(b *bench) { b.g.fail["open"] = broken }, []string{"gate open web", "gate shut web"}},
		{"second address", func(b *bench) {
			b.k.onPut = func(a netip.Addr) error {
				if a == addr6 {
					return broken
				}
				return nil
			}
		}, []string{"gate open web", "put 10.9.0.50", "gate shut web", "remove 10.9.0.50"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				tc.set(b)
				if err := b.Open("web", b.in(time.Second)); !errors.Is(err, broken) {
					t.Errorf("Open: %v, want %v", err, broken)
				}
				b.wantStory("failed Open", tc.want...)
				if got := b.Holding("web")["web"]; got != nil {
					t.Errorf("holding %v", got)
				}
			})
		})
	}
}

func TestRenewRefreshesOnceASecond(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.must(b.Open("web", b.in(900*time.Millisecond)))
		b.wantStory("Open", "gate open web", "put 10.9.0.50", "put fd09::50")
		for range 14 { // 2.8 s
			time.Sleep(200 * time.Millisecond)
			b.must(b.Renew("web", b.in(900*time.Millisecond)))
		}
		synctest.Wait()
		puts := 0
		for _, s := range b.k.story() {
			if s == "put 10.9.0.50" {
				puts++
			}
		}
		if puts != 2 {
			t.Errorf("refreshed %d times in 2.8 s, want 2", puts)
		}
		b.wantEvents("while renewed")
		// A deadline far beyond what the kernel knows is told at once.
		b.must(b.Renew("web", b.in(30*time.Second)))
		b.wantStory("long renewal", "gate renew web", "put 10.9.0.50", "put fd09::50")
	})
}

// shutGate tells when it is shut.
type shutGate struct {
	AddressGate
	shut chan struct{}
}

func (g shutGate) Shut(string) error { g.shut <- struct{}{}; return nil }

// Not in a bubble: Shut waits on a lock, which synctest does not take for waiting.
func TestNothingComesBackAfterShut(t *testing.T) {
	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	k := newFake(clock)
	gate := shutGate{shut: make(chan struct{}, 1)}
	m, err := newManager(Options{Groups: []Group{webGroup()}, RunDir: t.TempDir(), Now: clock, Gate: gate}, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Open("web", time.Minute); err != nil {
		t.Fatal(err)
	}
	// The keeper is in the middle of putting an address back when Shut comes.
	reached, resume := make(chan struct{}), make(chan struct{})
	k.onPut = func(netip.Addr) error {
		close(reached)
		<-resume
		return nil
	}
	k.steal(2, addr4)
	k.steal(2, addr6)
	m.keeper.poke() // nobody follows the feed here
	kept := make(chan struct{})
	go func() { m.keeper.step(); close(kept) }()
	<-reached
	k.story()
	shut := make(chan error)
	go func() { shut <- m.Shut("web", "test") }()
	<-gate.shut // it does not wait for the keeper
	close(resume)
	if err := <-shut; err != nil {
		t.Fatal(err)
	}
	<-kept
	if diff := cmp.Diff([]string{"put 10.9.0.50", "remove 10.9.0.50", "remove fd09::50"}, k.story()); diff != "" {
		t.Errorf("Shut (-want +got):\n%s", diff)
	}
	m.keeper.poke()
	m.keeper.step()
	if diff := cmp.Diff([]string(nil), k.story()); diff != "" {
		t.Errorf("after Shut (-want +got):\n%s", diff)
	}
	if h, _ := m.announcer.next(clock() + time.Hour); h != nil {
		t.Error("a shut group is still scheduled for announcement")
	}
}

func TestNothingComesBackAfterTheDeadline(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.must(b.Open("web", b.in(time.Minute)))
		b.wantStory("Open", "gate open web", "put 10.9.0.50", "put fd09::50")
		b.offset.Store(int64(2 * time.Minute)) // frozen, and awake again
		b.k.frames()
		b.k.steal(2, addr4)
		b.Reannounce("web")
		b.wantStory("after the deadline", "remove 10.9.0.50", "remove fd09::50")
		b.wantEvents("after the deadline", "lapsed")
		if n := len(b.k.frames()); n != 0 {
			t.Errorf("%d frames after the deadline", n)
		}
		if err := b.Renew("web", b.in(time.Second)); !errors.Is(err, ErrNotOpen) {
			t.Errorf("Renew: %v, want %v", err, ErrNotOpen)
		}
	})
}

func TestStallWhileAdding(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.k.onPut = func(netip.Addr) error {
			b.offset.Add(int64(2 * time.Second)) // longer than the lease
			return nil
		}
		err := b.Open("web", b.in(time.Second))
		if !errors.Is(err, ErrDeadline) || errors.Is(err, ErrNotOpen) {
			t.Errorf("Open: %v, want %v: nobody shut it", err, ErrDeadline)
		}
		b.wantStory("stalled Open", "gate open web", "put 10.9.0.50", "remove 10.9.0.50", "gate shut web")
	})
}

// An agent that takes long to end: its lease runs out when nothing watches over it any more.
func TestCloseWithdrawsWhatRanOutBehindRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, dir: t.TempDir(), events: make(chan Event, 1024), start: time.Now()}
		b.k = newFake(b.clock)
		b.g = &fakeGate{k: b.k, fail: make(map[string]error)}
		groups := []Group{webGroup(), {Name: "db", Interface: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.60/24")}}}
		m, err := newManager(Options{Groups: groups, RunDir: b.dir, Now: b.clock, Gate: b.g, Events: func(e Event) { b.events <- e }}, b.k)
		if err != nil {
			t.Fatal(err)
		}
		b.Manager = m
		b.must(m.Open("web", b.in(time.Second)))
		b.must(m.Open("db", b.in(time.Hour)))
		b.k.story()
		b.offset.Store(int64(2 * time.Second))
		b.must(m.Close())
		b.wantStory("Close", "remove 10.9.0.50", "remove fd09::50", "gate close keep=true ")
		b.wantEvents("of Close", "lapsed")
	})
}
