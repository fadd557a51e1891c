package doctor_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/doctor"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// Two machines and a witness are healthy, too, until the witness does not answer.
func TestWitness(t *testing.T) {
	s := &site{World: labtest.New(t, lab.Options{Nodes: []string{"web1", "web2"}, Hbagent: labtest.Program()})}
	s.feelStalls(t)
	c := s.Config()
	c.Lease.TTL, c.Lease.Witness = ttl.String(), s.Client.Addr4.Addr().String()
	c.Groups = []lab.GroupConfig{s.WebGroup("web1", "web2")}
	s.config = c
	must(t, s.WriteConfig(c))
	must(t, s.StartAgents(within(t)))
	_, err := s.WaitAnyOwner(within(t), "web", "web1", "web2")
	must(t, err)
	must(t, retry(within(t), func() error { return s.mutual(t.Context()) }))
	s.healthy(t, 1, "web1", "web2")
	s.try(t, plant{on: "web2", want: []string{"witness"}, says: "10.77.0.100 does not answer",
		plant: func(t *testing.T, s *site, _ *run) func() error {
			must(t, s.Client.PowerOff())
			return nil
		}})
}

// mutual is nil when both know the same owner.
func (s *site) mutual(ctx context.Context) error {
	owners := map[string]bool{}
	for _, n := range s.Nodes() {
		g, err := n.Group(ctx, "web")
		if err != nil {
			return err
		}
		owners[g.Owner] = true
	}
	if len(owners) != 1 || owners[""] {
		return errNotYet
	}
	return nil
}

// An ordinary user sees less, is told so, and is told nothing wrong.
func (s *site) unprivileged(t *testing.T) {
	r, code := s.doctor(t, run{on: "web2", prefix: []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}})
	if code != 0 || len(bad(r)) > 0 {
		t.Errorf("nothing is wrong, and doctor exits %d:\n%s", code, said(r))
	}
	levels := map[string]doctor.Level{}
	for _, f := range r.Findings {
		if levels[f.ID] != doctor.OK {
			levels[f.ID] = f.Level
		}
		if f.Level == doctor.Skipped && strings.TrimSpace(f.Text) == "" {
			t.Errorf("%s is skipped, and nothing says why", f.ID)
		}
	}
	for _, id := range []string{"address-in-use", "proxy-arp", "rival"} {
		if levels[id] != doctor.Skipped {
			t.Errorf("%s: %s, want skipped", id, levels[id])
		}
	}
	// The agent does it for whoever asks.
	for _, id := range []string{"peer-udp", "peer-tcp", "peer-tcp-back", "peer-key", "peer-config", "nf-tables", "capabilities"} {
		if levels[id] != doctor.OK {
			t.Errorf("%s: %s, want ok", id, levels[id])
		}
	}
}

// Doctors on every node at once, several times, find nothing where nothing is, move nothing, cost the client nothing, and do not
// disturb each other.
func (s *site) harmless(t *testing.T) {
	before, err := s.Node("web1").Group(within(t), "web")
	must(t, err)
	client, err := s.ProbeHTTP(t.Context(), lab.HTTPOptions{
		Target: netip.AddrPortFrom(lab.Floating4.Addr(), 80), Interval: 10 * time.Millisecond, Timeout: time.Second,
	})
	must(t, err)
	must(t, client.WaitAnswer(within(t), time.Now(), "web1"))
	began := time.Now()
	s.healthy(t, 2, "web1", "web2", "db1")
	after, err := s.Node("web1").Group(within(t), "web")
	must(t, err)
	if after.Owner != before.Owner || after.Epoch != before.Epoch {
		t.Errorf("owner %s epoch %d, then %s epoch %d", before.Owner, before.Epoch, after.Owner, after.Epoch)
	}
	if tally := client.Tally(began, time.Now()); tally.Failed > 0 || tally.Asked == 0 {
		t.Errorf("of %d questions of the client %d were lost", tally.Asked, tally.Failed)
	}
	for _, n := range s.Nodes() {
		out, err := n.Output(within(t), tables())
		must(t, err)
		if strings.Contains(string(out), "-test-") {
			t.Errorf("scratch tables are left on %s:\n%s", n.Name, out)
		}
	}
}
