package agent

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

func TestRecordThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		web1.look(func() { web1.store.path = w.dir + "/missing/record" })
		web1.check("web", checks.Failing, "")
		<-web1.done
		if !errors.Is(web1.err, os.ErrNotExist) {
			t.Fatalf("the loop ended with %v", web1.err)
		}
		diff(t, "calls", web1.addrs.said(), []string{"shut web: transferred", "shut web: the agent gives up"})
		if err := web1.do(t.Context(), func() {}); !errors.Is(err, errStopped) {
			t.Errorf("asking a loop that has ended: %v", err)
		}
		w.part(web1)
		w.wait(2 * testTTL)
		w.owned("web2") // the transfer was never told: its promise had to run out
	})
}

func TestGateThatDoesNotShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		web1.addrs.mu.Lock()
		web1.addrs.shutErr = errors.New("netlink: no buffer space")
		web1.addrs.mu.Unlock()
		web1.check("web", checks.Failing, "")
		<-web1.done
		if web1.err == nil || !strings.Contains(web1.err.Error(), "cannot shut group web") {
			t.Fatalf("the loop ended with %v", web1.err)
		}
	})
}

func TestBrokenInvariant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, web2, _ := settled(t, testConfig)
		for _, tt := range []struct {
			n    *testNode
			with any
			want string
		}{
			{web1, &lease.Violation{Invariant: 2, Detail: "test"}, "lease: invariant 2 broken: test"},
			{web2, "index out of range", "the agent's loop panicked: index out of range"},
		} {
			tt.n.tell(func() { panic(tt.with) })
			<-tt.n.done
			if tt.n.err == nil || tt.n.err.Error() != tt.want {
				t.Errorf("the loop ended with %v, want %s", tt.n.err, tt.want)
			}
			said := tt.n.addrs.said()
			diff(t, "last call", said[len(said)-1], "shut web: the agent gives up")
			diff(t, "history", tt.n.events(kindAgent), []string{">: gave up"})
		}
		var broken *lease.Violation
		if !errors.As(web1.err, &broken) {
			t.Errorf("%v is no *lease.Violation", web1.err)
		}
	})
}

func TestOtherTaskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		cause := errors.New("the socket is gone")
		web1.kill(cause)
		if !errors.Is(web1.err, cause) {
			t.Errorf("the loop ended with %v, want %v", web1.err, cause)
		}
		diff(t, "calls", web1.addrs.said(), []string{"shut web: the agent gives up"})
	})
}

func TestPause(t *testing.T) {
	for _, tt := range []struct {
		name           string
		d, slept       time.Duration
		shut           []string
		quarantined    bool
		wantStoodStill int
	}{
		{"a busy machine", testTTL / 5, 0, nil, false, 0},
		{"late wake-up", testTTL / 3, 0, []string{"shut web: machine or process was paused", "open web"}, false, 1},
		{"suspended", testTTL / 3, testTTL / 3, []string{"shut web: machine or process was paused", "open web"}, true, 1},
		{"longer than the lease, and the voters still promise it", 2 * testTTL, 0, []string{"shut web: machine or process was paused", "open web"}, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, _, _ := settled(t, testConfig)
				web1.addrs.said()
				before := web1.events(kindState)
				web1.standStill(tt.d, tt.slept)
				w.wait(testTTL / 2)
				diff(t, "calls", web1.addrs.said(), tt.shut)
				stood := slices.DeleteFunc(web1.events(kindAgent), func(s string) bool { return s != ">: stood still" })
				diff(t, "stood still", len(stood), tt.wantStoodStill)
				web1.look(func() {
					diff(t, "quarantine", web1.machine.Quarantine(web1.now().Boot) > 0, tt.quarantined)
				})
				w.owned("web1")
				diff(t, "states: no hook for a pause that was confirmed", web1.events(kindState), before)
			})
		})
	}
}

// A voter sleeps, or is restored, between two messages of one burst: it grants nothing any more.
func TestPauseWithinABurst(t *testing.T) {
	for name, standStill := range map[string]func(*testNode){
		"suspended":  func(n *testNode) { n.standStill(testTTL/3, testTTL/3) },
		"restored":   func(n *testNode) { n.setClock(time.Hour) },
		"not at all": func(*testNode) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, _, _, db1 := settled(t, testConfig)
				db1.look(func() {
					time.Sleep(testTTL / 2) // fake time (testing/synctest): the owner asks meanwhile
					if len(db1.leaseIn) == 0 {
						t.Fatal("no message waits")
					}
					db1.lookAtClock()
					standStill(db1)
					db1.stepOthers()
					promise, _ := db1.machine.Group(db1.now().Boot, "web")
					granted, quarantined := promise.HolderLeft == testTTL, db1.machine.Quarantine(db1.now().Boot) > 0
					if want := name == "not at all"; granted != want || quarantined == want {
						t.Errorf("granted %v, quarantine %v", granted, quarantined)
					}
				})
			})
		})
	}
}

func TestTimeOfDayJumps(t *testing.T) {
	for _, tt := range []struct {
		name string
		by   time.Duration
		shut []string
	}{
		{"slewed", testTTL / 8, nil},
		{"forward", testTTL / 3, []string{"shut web: machine or process was paused", "open web"}},
		{"back by an hour", -time.Hour, []string{"shut web: machine or process was paused", "open web"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, web1, _, _ := settled(t, testConfig)
				web1.addrs.said()
				web1.setClock(tt.by)
				w.wait(testTTL / 2)
				diff(t, "calls", web1.addrs.said(), tt.shut)
				web1.look(func() {
					diff(t, "quarantine", web1.machine.Quarantine(web1.now().Boot) > 0, tt.shut != nil)
				})
				w.wait(2 * testTTL)
				w.owned("web1")
				diff(t, "shut once", web1.addrs.said(), []string(nil))
			})
		})
	}
}

func TestStallLongerThanTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		web1.tell(func() { time.Sleep(2 * testTTL) })
		w.wait(testTTL + testTTL/2)
		diff(t, "holders", w.holders("web"), []string{"web2"}) // web1's own deadline ended its gate
		w.wait(testTTL)
		w.owned("web2")
		diff(t, "calls", web1.addrs.said(), []string{"shut web: no majority answered within the ttl"})
	})
}

func TestLongWorkIsNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		web1, _, _ := w.bootAll()
		web1.addrs.mu.Lock()
		web1.addrs.openTook = testTTL / 2
		web1.addrs.mu.Unlock()
		w.wait(5 * testTTL)
		w.owned("web1")
		diff(t, "history", web1.events(kindAgent), []string(nil))
		diff(t, "calls", web1.addrs.said(), []string{"open web"})
	})
}

func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		web1 := w.boot("web1")
		web1.addrs.openErr = errors.New("netlink: operation not permitted")
		web2, db1 := w.boot("web2"), w.boot("db1")
		web1.check("web", checks.Passing, "")
		web2.check("web", checks.Passing, "")
		w.wait(3 * testTTL)
		w.owned("web2")
		diff(t, "calls on web1", web1.addrs.said(), []string{"open web", "shut web: released"})
		const why = "cannot add the addresses: netlink: operation not permitted"
		diff(t, "states on web1", web1.events(kindState), []string{"standby>fault: " + why})
		db1.look(func() {
			s := db1.status()
			diff(t, "web1 in status", s.Nodes[0].Groups["web"].Reason, why)
			diff(t, "next owner", s.Groups[0].NextOwner, "")
		})
		web1.addrs.mu.Lock()
		web1.addrs.openErr = nil
		web1.addrs.mu.Unlock()
		w.wait(openRetry + testHold)
		diff(t, "states on web1", web1.events(kindState)[1:2], []string{"fault>standby: healthy again, but not yet for 10s"})
		web2.check("web", checks.Failing, "")
		w.wait(testTTL)
		w.owned("web1")
	})
}

// A stall between winning a lease and opening is no fault of the node: it asks
// the voters again.
func TestOpenTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		web1 := w.boot("web1")
		web1.addrs.lateOnce = true
		w.boot("web2")
		w.boot("db1")
		web1.check("web", checks.Passing, "")
		w.wait(3 * testTTL)
		w.owned("web1")
		diff(t, "calls on web1", web1.addrs.said(), []string{"open web", "shut web: machine or process was paused", "open web"})
		diff(t, "states on web1", web1.events(kindState), []string{"standby>active: nobody had it"})
	})
}

func TestRenewFails(t *testing.T) {
	// The kernel no longer knows the group: it is opened again, and given up where that fails.
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		web1.addrs.mu.Lock()
		web1.addrs.openErr = errors.New("no such interface")
		web1.addrs.mu.Unlock()
		web1.look(func() { web1.vipEvent(vip.Event{Kind: vip.Lapsed, Group: "web"}) })
		w.wait(testTTL / 10)
		w.owned("web2")
		diff(t, "calls on web1", web1.addrs.said(), []string{"open web", "shut web: released"})
	})
}

// The kernel had shut the gate before it was renewed: the voters are asked before it is opened again.
func TestRenewTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		web1.addrs.mu.Lock()
		web1.addrs.renewErr = fmt.Errorf("vip: %w", vip.ErrGateExpired)
		web1.addrs.mu.Unlock()
		w.wait(testTTL)
		w.owned("web1")
		diff(t, "calls on web1", web1.addrs.said(), []string{"shut web: machine or process was paused", "open web"})
		diff(t, "history", web1.events(kindAddress), []string{">: gate shut by itself"})
	})
}

// A stall that was shorter than the lease costs one renewal, and nothing else.
func TestRenewStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, _, _ := settled(t, testConfig)
		web1.addrs.said()
		web1.addrs.mu.Lock()
		web1.addrs.renewErr = fmt.Errorf("vip: %w", vip.ErrStalled)
		web1.addrs.mu.Unlock()
		w.wait(testTTL)
		w.owned("web1")
		diff(t, "calls on web1", web1.addrs.said(), []string(nil))
	})
}

// However many groups a node has, a round renews them all at once, and each once.
func TestRenewalsAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := testConfig
		for i := range 9 {
			text += fmt.Sprintf("[[group]]\nname = \"g%d\"\naddresses = [\"10.0.1.%d/24\"]\ninterface = \"eth0\"\nnodes = [\"web1\", \"web2\"]\n", i, i+1)
		}
		w, web1, _, _ := settled(t, text)
		web1.addrs.mu.Lock()
		web1.addrs.renewed = nil
		web1.addrs.mu.Unlock()
		w.wait(testTTL)
		web1.addrs.mu.Lock()
		defer web1.addrs.mu.Unlock()
		if n := len(web1.addrs.renewed); n < 3 || n > 4 {
			t.Errorf("%d renewals in one ttl, want 3: %v groups", n, web1.addrs.renewed)
		}
		for _, n := range web1.addrs.renewed {
			if n != 10 {
				t.Errorf("renewals of %v groups, want 10 each", web1.addrs.renewed)
				break
			}
		}
	})
}

// The config knows the shortest lease without a gate by a number of its own.
func TestShortestLeaseWithoutGate(t *testing.T) {
	gate := func(ttl time.Duration) error {
		text := regexp.MustCompile(`(?m)^ttl .*$`).ReplaceAllString(testConfig, fmt.Sprintf("ttl = %q\ngate = \"address\"", ttl))
		cfg, err := config.Parse("hbagent.toml", []byte(text))
		if err != nil {
			return err
		}
		gate, role, err := newGate(cfg, testLogger(t), nil)
		if err == nil {
			diff(t, "gate", gate.String(), "address")
			diff(t, "role", role, vip.Sole)
		}
		return err
	}
	if err := gate(vip.MinSoleTTL); err != nil {
		t.Errorf("a ttl of %v is refused: %v", vip.MinSoleTTL, err)
	}
	if err := gate(vip.MinSoleTTL - time.Millisecond); err == nil {
		t.Errorf("a ttl below %v is accepted", vip.MinSoleTTL)
	}
}

func TestLeaseQueueFull(t *testing.T) {
	l := newLoop(testLogger(t), parse(t, testConfig), "web1")
	for range leaseQueue + 3 {
		l.leaseMessage([]byte("x"))
	}
	diff(t, "dropped", l.dropped.Load(), uint64(3))
}

// Nobody owns the group because the files differ: status must name whom to look at.
func TestRefusalThatNeedsAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConfig)
		web1 := w.boot("web1")
		w.text = edited(t, `ttl = "1s"`, `ttl = "2s"`)
		w.boot("web2")
		w.boot("db1")
		web1.check("web", checks.Passing, "")
		w.wait(5 * testTTL)
		w.owned("")
		web1.look(func() {
			got := web1.status().Groups[0].Reason
			if !strings.Contains(got, "web1: refused by ") || !strings.Contains(got, lease.ReasonTTL.String()) {
				t.Errorf("reason %q does not say who refuses, and why", got)
			}
		})
	})
}
