package e2e_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Two machines, and the client's address in the place of the gateway that decides between them.
func TestWitness(t *testing.T) {
	// Longer than elsewhere: the owner lives on the witness's answers alone while a firewall stands between the two. If
	// a busy machine keeps it from hearing one for most of a ttl, both are candidates that do not hear each other, which
	// is the weakness of this mode.
	const ttl = 2 * ttl
	const promise = 3 * ttl // two of silence, and three probes
	s := emptySite(t, "web1", "web2")
	s.needFaults(t)
	c := s.config()
	c.Lease.TTL = ttl.String()
	c.Lease.Witness = s.Client.Addr4.Addr().String()
	must(t, s.WriteConfig(c))
	s.observe(t, prefixes(t, c.Groups[0])[0])
	s.startAgents(t)
	nothing := func(context.Context) error { pass(t, ttl); return nil }
	t.Run("both up", func(t *testing.T) {
		s.stays(t, "web1", nothing)
		s.verb(t, "web2", "status").wants(t, 0, "all well")
		st, err := s.Node("web1").Status(within(t))
		must(t, err)
		if want := "two machines: the witness 10.77.0.100 decides, which is weaker than three voters"; st.Quorum.Detail != want {
			t.Errorf("quorum: %q, want %q", st.Quorum.Detail, want)
		}
	})
	t.Run("owner dies", func(t *testing.T) {
		s.moves(t, "web2", promise, func(context.Context) error { return s.Node("web1").PowerOff() })
		s.stays(t, "web2", nothing)
	})
	t.Run("owner returns", func(t *testing.T) {
		must(t, s.boot(within(t), "web1"))
		must(t, s.WaitEligible(within(t), "web", "web1"))
		s.stays(t, "web2", nothing)
	})
	t.Run("switchover", func(t *testing.T) {
		s.moves(t, "web1", promisePlanned, func(context.Context) error {
			s.verb(t, "web2", "switchover", "web", "--to", "web1").wants(t, 0)
			return nil
		})
	})
	t.Run("service", func(t *testing.T) {
		s.moves(t, "web2", promiseService, func(context.Context) error { return s.web["web1"].Kill() })
		must(t, s.web["web1"].Start(within(t)))
		must(t, s.WaitEligible(within(t), "web", "web1"))
	})
	t.Run("owner cut off", func(t *testing.T) {
		// It hears neither its peer nor the witness: it lets go, and the other takes over.
		began := time.Now()
		s.moves(t, "web1", promise, s.Node("web2").Cut)
		gone, taken := s.handover(t, began, "web2", "web1")
		t.Logf("web2 let go %v before web1 took it", taken.Sub(gone).Round(time.Millisecond))
		must(t, s.Heal(within(t)))
		s.waitPeer(t, "web1", "web2", true)
		s.waitPeer(t, "web2", "web1", true)
		s.stays(t, "web1", nothing)
	})
	t.Run("a firewall between them", func(t *testing.T) {
		// Neither hears the other, and both hear the witness: the owner keeps the address, and the other sees
		// that it answers.
		must(t, run(t, s.Node("web2"), nft(blockAgents)).failure())
		s.waitPeer(t, "web2", "web1", false)
		s.stays(t, "web1", nothing)
		must(t, run(t, s.Node("web2"), nft("delete table inet wall")).failure())
		s.waitPeer(t, "web2", "web1", true)
		s.waitPeer(t, "web1", "web2", true)
		s.stays(t, "web1", nothing)
	})
}

// blockAgents loses what the agents say to each other, and nothing else.
const blockAgents = `table inet wall {
	chain in { type filter hook input priority 0; meta l4proto { tcp, udp } th dport 7946 drop; }
	chain out { type filter hook output priority 0; meta l4proto { tcp, udp } th dport 7946 drop; }
}`

func nft(rules string) *exec.Cmd {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	return cmd
}
