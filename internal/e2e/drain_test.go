package e2e_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// How long the connections of these tests may take, and do take.
const (
	drain    = 4 * time.Second
	slowLoad = 2500 * time.Millisecond
)

// drainSite is a site with Apache for a load, and a draining group. Its agents run.
func drainSite(t *testing.T) *site {
	t.Helper()
	s := &site{web: make(map[string]*lab.Service)}
	s.World = labtest.New(t, lab.Options{Hbagent: labtest.Program()})
	for _, name := range []string{"web1", "web2"} {
		web, err := s.Node(name).ApacheForLoad()
		if err != nil {
			labtest.Skip(t, err.Error())
		}
		must(t, web.Start(within(t)))
		s.web[name] = web
	}
	c := s.config()
	c.Groups[0].Handover, c.Groups[0].Drain = "drain", drain.String()
	must(t, s.WriteConfig(c))
	s.observe(t, lab.Floating4)
	s.startAgents(t)
	return s
}

// load puts a small load of everything on the floating address. end finishes what is under way and returns what became of it.
func (s *site) load(t *testing.T, o lab.LoadOptions) (end func() []lab.LoadTally) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	o.Target = netip.AddrPortFrom(floating4, 80)
	l := s.StartLoad(ctx, o)
	t.Cleanup(stop)
	return func() []lab.LoadTally {
		t.Helper()
		stop()
		must(t, l.Wait(within(t)))
		return l.Tallies()
	}
}

func noneFailed(t *testing.T, tallies []lab.LoadTally) {
	t.Helper()
	for _, k := range tallies {
		t.Logf("%+v", k)
		if k.Done == 0 || k.Failed > 0 || k.Wrong > 0 {
			t.Errorf("%s: %d good, %d failed, %d with wrong bytes:\n%s", k.Kind, k.Done, k.Failed, k.Wrong, strings.Join(k.Failures, "\n"))
		}
	}
}

// drained waits until no node drains web any more.
func (s *site) drained(t *testing.T) {
	t.Helper()
	s.waitStatus(t, "db1", func(st control.Status) string {
		for _, n := range st.Nodes {
			if g := n.Groups["web"]; g.State == control.StateDraining {
				return n.Name + " drains"
			}
		}
		return ""
	})
}

// A planned move breaks no connection, whoever asks for it and however: that is the promise.
func TestMovesBreakNoConnection(t *testing.T) {
	s := drainSite(t)
	end := s.load(t, lab.LoadOptions{KeepAlive: 6, Downloads: 3, Uploads: 3, Slow: slowLoad, NewPerSecond: 30})
	pass(t, time.Second)
	s.verb(t, "db1", "switchover", "web", "--to", "web2", "--no-wait").wants(t, 0, "web moved from web1 to web2")
	pass(t, time.Second)
	s.verb(t, "web1", "switchover", "web", "--to", "web1", "--no-wait").wants(t, 0, "web moved from web2 to web1") // back, during the drain
	pass(t, time.Second)
	s.verb(t, "db1", "maintenance", "on", "--node", "web1", "--reason", "new kernel").wants(t, 0, "web moved from web1 to web2", "web1 is in maintenance: new kernel")
	must(t, s.WaitOwner(within(t), "web", "web2"))
	s.waitStatus(t, "db1", func(st control.Status) string {
		if g := st.Nodes[0].Groups["web"]; g.State != control.StateDraining || g.Draining == nil || g.Draining.Connections == 0 {
			return "web1 does not drain with connections, as db1 sees it"
		}
		return ""
	})
	pass(t, time.Second)
	s.verb(t, "web1", "maintenance", "off").wants(t, 0, "web1 is not in maintenance")
	s.verb(t, "web2", "switchover", "web", "--to", "web1", "--no-wait").wants(t, 0, "web moved from web2 to web1")
	noneFailed(t, end())
	s.drained(t)
	s.leftNothing(t, "web1", "web1", "web2", "db1")
}

// The agent of the owner is stopped: it hands over first, and waits for open connections, within a bound.
func TestStopBreaksNoConnection(t *testing.T) {
	s := drainSite(t)
	end := s.load(t, lab.LoadOptions{Downloads: 2, Uploads: 2, Slow: slowLoad, NewPerSecond: 20})
	pass(t, time.Second)
	must(t, s.Node("web1").StopAgent(within(t)))
	noneFailed(t, end())
	must(t, s.WaitOwner(within(t), "web", "web2"))
	must(t, s.CheckOnlyAt(floating4, "web2"))
	if rules := s.rules(t, "web1"); strings.Contains(rules, "hbagent") {
		t.Errorf("left behind on web1:\n%s", rules)
	}
}

// rules is what nftables of a node has.
func (s *site) rules(t *testing.T, node string) string {
	t.Helper()
	out, err := s.Node(node).Output(within(t), exec.Command("nft", "list", "ruleset"))
	must(t, err)
	return string(out)
}

// leftNothing waits until handovers have left nothing behind, besides the address on its owner.
func (s *site) leftNothing(t *testing.T, owner string, nodes ...string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		for _, node := range nodes {
			if rules := s.rules(t, node); strings.Contains(rules, "hbagent-steer-") || strings.Contains(rules, "hbagent-drain-") {
				return fmt.Errorf("left behind on %s:\n%s", node, rules)
			}
		}
		if s.silent {
			return nil
		}
		return s.CheckOnlyAt(floating4, owner)
	})
}

// What is open when the time is up is reset, so that clients learn at once; the command shows it all.
func TestDrainRunsOut(t *testing.T) {
	s := drainSite(t)
	end := s.load(t, lab.LoadOptions{Downloads: 1, Slow: 3 * drain})
	pass(t, time.Second)
	r := s.verb(t, "web1", "switchover", "web")
	r.wants(t, 0, "web moved from web1 to web2", "web1 finishes 1 connection, for ", "web1: drained: 1 connection still open after 4s, reset")
	s.drained(t)
	for _, k := range end() {
		for _, f := range k.Failures {
			if k.Kind == lab.LoadDownload && strings.Contains(f, "connection reset") {
				s.leftNothing(t, "web2", "web1", "web2")
				return
			}
		}
	}
	t.Error("no download was reset when the drain was over")
}

// The network drops what the target would forward: the move is refused, and nothing has changed.
func TestSwitchoverUnderAntiSpoofing(t *testing.T) {
	s := drainSite(t)
	mend, err := s.Impose(within(t), lab.NoSpoofing(s.Node("web2")))
	must(t, err)
	s.verb(t, "db1", "switchover", "web", "--to", "web2").wants(t, 1, "refused, nothing has changed", "anti-spoofing", "--strict")
	must(t, s.CheckOnlyAt(floating4, "web1"))
	s.verb(t, "db1", "switchover", "web", "--to", "web2", "--strict").wants(t, 0, "web moved from web1 to web2")
	must(t, mend(within(t)))
	s.verb(t, "db1", "switchover", "web", "--to", "web1").wants(t, 0, "web moved from web2 to web1")
}

// Somebody dies in the middle of it: one owner in the end, never two, and no drain for ever.
func TestDeathsDuringADrain(t *testing.T) {
	agent := func(name string, sig syscall.Signal) func(*testing.T, *site) {
		return func(t *testing.T, s *site) { must(t, s.Node(name).SignalAgent(sig)) }
	}
	for _, tt := range []struct {
		name   string
		strike func(t *testing.T, s *site)
		owner  string
		alive  string // whose agent still works
	}{
		{"the new owner's agent is killed", agent("web2", syscall.SIGKILL), "web1", "web1"},
		{"the new owner loses its power", func(t *testing.T, s *site) { must(t, s.Node("web2").PowerOff()) }, "web1", "web1"},
		{"the new owner is cut off", func(t *testing.T, s *site) { must(t, s.Node("web2").Cut(within(t))) }, "web1", "web1"},
		{"the old owner's agent is killed", agent("web1", syscall.SIGKILL), "web2", "web2"},
		{"the old owner's agent hangs", agent("web1", syscall.SIGSTOP), "web2", "web2"},
		{"the old owner loses its power", func(t *testing.T, s *site) { must(t, s.Node("web1").PowerOff()) }, "web2", "web2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := drainSite(t)
			s.silent = true // an address that nobody removes stays behind the gate for a while
			s.load(t, lab.LoadOptions{Downloads: 2, Slow: slowLoad})
			pass(t, time.Second)
			s.verb(t, "db1", "switchover", "web", "--to", "web2", "--no-wait").wants(t, 0, "web moved from web1 to web2")
			tt.strike(t, s)
			must(t, s.arp.WaitAnswers(within(t), time.Now(), tt.owner))
			must(t, s.client.WaitAnswer(within(t), time.Now(), tt.owner))
			s.leftNothing(t, tt.owner, tt.alive)
		})
	}
}
