package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/pkg/checks"
)

// probe starts a node's prober.
func (n *testNode) probe(t *testing.T, host func(context.Context, string) (time.Duration, error)) {
	p := &prober{loop: n.loop, every: testTTL / probeDivisor, probe: n.addrs.ProbeAll, host: host}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func (f *fakeAddresses) answerWith(mac net.HardwareAddr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.squatter = mac
}

// openedAfter returns how long after began web2 became active.
func openedAfter(t *testing.T, n *testNode, began time.Time) time.Duration {
	t.Helper()
	for _, e := range n.history.since(began, 0) {
		if e.Kind == kindState && e.To == "active" {
			return e.At.Sub(began)
		}
	}
	t.Fatalf("%s has not become active", n.node)
	return 0
}

var squatterMAC = net.HardwareAddr{2, 0, 0, 0, 0, 7}

func TestSquatterDelaysOpening(t *testing.T) {
	for _, tt := range []struct {
		name     string
		silent   time.Duration // the squatter falls silent; 0: never
		min, max time.Duration
		conflict bool
	}{
		{"nobody answers", time.Nanosecond, 0, testTTL + testTTL/5, false},
		{"somebody answers for ever", 0, testTTL + testTTL/2, 2*testTTL + testTTL/5, true},
		{"somebody falls silent", testTTL + testTTL/5, testTTL + testTTL/5, testTTL + 3*testTTL/4, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, web2, _ := settled(t, testConfig)
				web2.probe(t, nil)
				web2.addrs.answerWith(squatterMAC) // the dying owner: its kernel still answers
				w.wait(testTTL)
				began := time.Now()
				web1.isolate(true)
				w.wait(tt.silent)
				if tt.silent != 0 {
					web2.addrs.answerWith(nil)
				}
				w.wait(3 * testTTL)
				w.owned("web2")
				if after := openedAfter(t, web2, began); after < tt.min || after > tt.max {
					t.Errorf("opened after %v, want %v to %v", after, tt.min, tt.max)
				}
				want := []string(nil)
				if tt.conflict {
					want = []string{squatterMAC.String() + ">: another machine answered for an address; taken all the same after one ttl"}
				}
				diff(t, "conflicts", web2.events(kindConflict), want)
			})
		})
	}
}

func TestSquatterOfLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web2.look(func() { web2.probed("web", squatterMAC, web2.loop.boot()) })
		w.wait(testTTL)
		began := time.Now()
		web1.isolate(true)
		w.wait(2 * testTTL)
		if after := openedAfter(t, web2, began); after > testTTL+testTTL/5 {
			t.Errorf("opened after %v", after)
		}
	})
}

// Where a majority stays away, the segment is asked ever less often who has the addresses; what it said last counts until the next time.
func TestNobodyIsAskedForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		web2.probe(t, nil)
		web1.isolate(true)
		db1.isolate(true)
		looks := func(d time.Duration) int {
			web2.addrs.mu.Lock()
			web2.addrs.looks = 0
			web2.addrs.mu.Unlock()
			w.wait(d)
			web2.addrs.mu.Lock()
			defer web2.addrs.mu.Unlock()
			return web2.addrs.looks
		}
		if n := looks(2 * testTTL); n < 4 {
			t.Errorf("%d looks while the lease ran out", n)
		}
		looks(time.Minute)
		web2.addrs.answerWith(squatterMAC)
		if n := looks(time.Minute); n < 11 || n > 13 {
			t.Errorf("%d looks in a minute, after one without an owner", n)
		}
		began := time.Now()
		db1.isolate(false)
		w.wait(5 * testTTL)
		if after := openedAfter(t, web2, began); after < testTTL {
			t.Errorf("opened after %v: the squatter was forgotten", after)
		}
	})
}

func TestSquatterDoesNotDelayAHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		web2.probe(t, nil)
		web2.addrs.answerWith(squatterMAC)
		web2.look(func() { web2.probed("web", squatterMAC, web2.loop.boot()) })
		web1.check("web", checks.Failing, "")
		w.owned("web2")
	})
}

func TestWaitingIsGivenUpWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		web2.probe(t, nil)
		web2.addrs.answerWith(squatterMAC)
		w.wait(testTTL)
		web1.isolate(true)
		w.wait(testTTL + testTTL/5)
		web2.look(func() {
			if web2.groups["web"].pending == nil {
				t.Fatal("web2 does not wait")
			}
			diff(t, "reason", web2.groups["web"].reason(), "waiting: "+squatterMAC.String()+" still answers for an address")
		})
		web2.look(func() { a := &agent{loop: web2.loop, log: web2.log}; a.loop.leaveAll() })
		w.wait(3 * testTTL)
		w.owned("")
		diff(t, "calls", web2.addrs.said(), []string{"shut web: released"})
		_ = db1
	})
}

// Two machines and a witness: a takeover needs the witness's answers and silence about each group's addresses,
// none of them old, however many groups there are.
func TestTwoMachines(t *testing.T) {
	const groups = 8
	var text strings.Builder
	text.WriteString(`
[cluster]
name = "shop"
insecure = true
[lease]
ttl = "1s"
witness = "10.0.0.1"
[[node]]
name = "web1"
address = "10.0.0.11"
[[node]]
name = "web2"
address = "10.0.0.12"
`)
	for i := range groups {
		fmt.Fprintf(&text, "[[group]]\nname = \"g%d\"\naddresses = [\"10.0.0.%d/24\"]\ninterface = \"eth0\"\nnodes = [\"web1\", \"web2\"]\n", i, 50+i)
	}
	gateway := func(context.Context, string) (time.Duration, error) { return time.Millisecond, nil }
	silence := func(ctx context.Context, _ string) (time.Duration, error) {
		<-ctx.Done()
		return 0, errors.New("no answer")
	}
	for _, tt := range []struct {
		name string
		host func(context.Context, string) (time.Duration, error)
		want []string
	}{
		{"the gateway answers", gateway, []string{"web2"}},
		{"the gateway is gone", silence, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, text.String())
				web1, web2 := w.boot("web1"), w.boot("web2")
				web1.probe(t, gateway)
				web2.probe(t, tt.host)
				w.wait(5 * testTTL)
				for i := range groups {
					diff(t, "holders", w.holders(fmt.Sprintf("g%d", i)), []string{"web1"})
				}
				web1.unplug()
				web1.kill(context.Canceled)
				web2.look(func() { web2.peerAlive("web1", false, "") })
				w.wait(5 * testTTL)
				for i := range groups {
					diff(t, fmt.Sprintf("holders of g%d", i), w.holders(fmt.Sprintf("g%d", i)), tt.want)
				}
			})
		})
	}
}
