package e2e_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// Chosen by us: what the sites of these tests have in common.
const (
	ttl      = time.Second
	interval = 200 * time.Millisecond // of the web check
	timeout  = 500 * time.Millisecond
	fall     = 2
	hold     = 500 * time.Millisecond

	patience = 30 * time.Second // for what must happen, on a machine that is busy
	calm     = 3 * ttl / 2      // watched for what must not happen: whoever lost a lease would show by then
	slack    = 3                // measured outages may be so many times the promise: the machine is not ours alone

	// What is promised to a client, as in README.md.
	promiseService = fall*interval + 200*time.Millisecond // a server died: its check, and a round trip
	promiseHang    = fall*timeout + interval + 200*time.Millisecond
	promiseOwner   = ttl + ttl/10 // a machine died
	promisePlanned = 100 * time.Millisecond
)

var floating4, floating6 = lab.Floating4.Addr(), lab.Floating6.Addr()

// A site is a world with web servers, observers of one floating address, and agents.
type site struct {
	*lab.World
	web    map[string]*lab.Service // by node
	target netip.Addr              // what the observers look at
	began  time.Time
	client *lab.HTTPProbe
	arp    *lab.ARPWatch
	cards  *lab.AddressWatch
	// silent: an agent that is hung or dead leaves the address on its machine for a few seconds, where nobody
	// hears of it. The ARP observer watches that.
	silent bool
}

// newSite builds a site whose web servers and agents run and whose group web is at web1. edit, if not
// nil, changes the config before.
func newSite(t *testing.T, edit func(s *site, c *lab.Config)) *site {
	t.Helper()
	s := emptySite(t)
	c := s.config()
	if edit != nil {
		edit(s, &c)
	}
	must(t, s.WriteConfig(c))
	s.observe(t, prefixes(t, c.Groups[0])[0])
	s.startAgents(t)
	return s
}

// emptySite is a site whose web servers run, without config, observers and agents.
func emptySite(t *testing.T, nodes ...string) *site {
	t.Helper()
	s := &site{web: make(map[string]*lab.Service)}
	s.World = labtest.New(t, lab.Options{Nodes: nodes, Hbagent: labtest.Program()})
	for _, name := range []string{"web1", "web2"} {
		web, err := s.Node(name).Web()
		must(t, err)
		must(t, web.Start(within(t)))
		s.web[name] = web
	}
	t.Logf("web servers: %s (real: %v)", s.web["web1"].Label, s.web["web1"].Real)
	return s
}

// config has one group, web, at web1 or web2, with the check "web".
func (s *site) config() lab.Config {
	check := lab.CheckConfig{Name: "web", Type: "http", URL: "http://127.0.0.1/", Interval: interval.String(), Timeout: timeout.String(),
		Fall: fall, Rise: 2, Nodes: []string{"web1", "web2"}}
	if s.web["web1"].Real {
		check.Type = "apache"
	}
	c := s.World.Config()
	c.Lease.TTL = ttl.String()
	c.Checks = []lab.CheckConfig{check}
	g := s.WebGroup("web1", "web2")
	g.Checks, g.Hold, g.MaxMoves = []string{"web"}, hold.String(), "100/10m"
	c.Groups = []lab.GroupConfig{g}
	return c
}

// observe starts the observers of an address, and at the end of the test looks at what they saw.
func (s *site) observe(t *testing.T, target netip.Prefix) {
	t.Helper()
	var err error
	s.target, s.began = target.Addr(), time.Now()
	s.client, err = s.ProbeHTTP(t.Context(), lab.HTTPOptions{
		Target: netip.AddrPortFrom(s.target, 80), Interval: 10 * time.Millisecond, Timeout: 500 * time.Millisecond,
	})
	must(t, err)
	s.arp = s.watch(t, s.target)
	s.cards = s.WatchAddress(t.Context(), s.target, 2*time.Millisecond)
	t.Cleanup(func() {
		<-s.cards.Done()
		if err := s.cards.Err(); err != nil {
			t.Error("reading the machines' addresses:", err)
		}
		for _, two := range s.cards.OwnersOverlap(s.began, time.Now()) {
			if s.silent {
				continue
			}
			t.Errorf("%s was on the cards of %v at once, from %s on", s.target, two.Nodes, clock(two.At))
		}
		s.checkLogs(t)
	})
}

// watch asks by ARP who has an address, and fails the test at its end if two machines ever answered.
func (s *site) watch(t *testing.T, target netip.Addr) *lab.ARPWatch {
	t.Helper()
	arp, err := s.WatchARP(t.Context(), target, 0)
	must(t, err)
	began := time.Now()
	t.Cleanup(func() {
		<-arp.Done()
		asked := arp.Questions(began, time.Now())
		answered := 0
		for _, q := range asked {
			answered += min(len(q.Nodes), 1)
		}
		if answered == 0 {
			t.Errorf("who has %s: nobody answered any of %d questions: the observer saw nothing", target, len(asked))
		}
		for _, q := range arp.OwnersOverlap(began, time.Now()) {
			t.Errorf("who has %s, asked at %s: answered by %v", target, clock(q.Sent), q.Nodes)
		}
	})
	return arp
}

// checkLogs looks for what no agent must ever say.
func (s *site) checkLogs(t *testing.T) {
	for _, n := range s.Nodes() {
		log := agentLog(n)
		for _, bad := range []string{"panic", "does not come to rest", "invariant", "DATA RACE"} {
			if i := strings.Index(log, bad); i >= 0 {
				t.Errorf("the agent of %s said:\n%s", n.Name, log[max(i-200, 0):min(i+1000, len(log))])
			}
		}
	}
}

// startAgents starts every agent and makes web1 the first owner of web.
func (s *site) startAgents(t *testing.T) {
	t.Helper()
	ctx := within(t)
	must(t, s.StartAgents(ctx))
	// Agents that start at the same time take what is free: the quicker one may be web2's.
	owner, err := s.WaitAnyOwner(ctx, "web", "web1", "web2")
	must(t, err)
	must(t, s.WaitEligible(ctx, "web", "web1", "web2"))
	if owner != "web1" {
		s.verb(t, "web2", "switchover", "web", "--to", "web1").wants(t, 0)
		must(t, s.WaitOwner(ctx, "web", "web1"))
	}
	must(t, s.client.WaitAnswer(ctx, time.Now(), "web1"))
	for _, n := range s.Nodes() { // what they tell of the next move rests on it
		s.waitStatus(t, n.Name, func(st control.Status) string {
			if g := groupOf(st, "web"); g.Owner != "web1" {
				return "owner " + g.Owner
			}
			return ""
		})
	}
}

// needFaults skips the test where the switch cannot lose frames.
func (s *site) needFaults(t *testing.T) {
	t.Helper()
	if err := s.Heal(t.Context()); errors.Is(err, lab.ErrNoNft) {
		labtest.Skip(t, "the nft program: apt install nftables")
	} else {
		must(t, err)
	}
}

// boot brings a machine back that had lost its power, with its servers and its agent.
func (s *site) boot(ctx context.Context, name string) error {
	n := s.Node(name)
	if err := n.PowerOn(ctx); err != nil {
		return err
	}
	if web := s.web[name]; web != nil {
		if err := web.Start(ctx); err != nil {
			return err
		}
	}
	return n.StartAgent(ctx)
}

// moves does something after which web must move to a node, and returns how long the client got no answer:
// at most promise, with slack.
func (s *site) moves(t *testing.T, to string, promise time.Duration, deed func(context.Context) error) time.Duration {
	t.Helper()
	ctx, began := within(t), time.Now()
	must(t, deed(ctx))
	must(t, s.WaitOwner(ctx, "web", to))
	must(t, s.client.WaitAnswer(ctx, time.Now(), to))
	gap := s.client.LongestGap(began, time.Now()).Length()
	t.Logf("outage %v, promised %v", gap.Round(time.Millisecond), promise)
	if gap > slack*promise {
		t.Errorf("the client got no answer for %v; the promise is %v, and %d times that is allowed here", gap, promise, slack)
	}
	return gap
}

// stays does something that must not move web, and watches for a while: the address stays where it is, the epoch
// stays the same, and the client loses no question.
func (s *site) stays(t *testing.T, at string, deed func(context.Context) error) {
	t.Helper()
	ctx, began := within(t), time.Now()
	before, err := s.Node(at).Group(ctx, "web")
	must(t, err)
	must(t, deed(ctx))
	pass(t, calm)
	must(t, s.WaitOwner(ctx, "web", at))
	for _, c := range s.cards.Changes() {
		if c.At.After(began) {
			t.Errorf("the address had to stay at %s, and was at %v at %s", at, c.Nodes, clock(c.At))
		}
	}
	after, err := s.Node(at).Group(ctx, "web")
	must(t, err)
	if before.Owner != at || after.Owner != at || after.Epoch != before.Epoch {
		t.Errorf("owner %q epoch %d, then owner %q epoch %d: want %s and the same epoch", before.Owner, before.Epoch, after.Owner, after.Epoch, at)
	}
	if tally := s.client.Tally(began, time.Now()); tally.Failed > 0 || tally.Asked == 0 {
		t.Errorf("of %d questions %d were lost, want none%s", tally.Asked, tally.Failed, s.firstFailure(began))
	}
}

func (s *site) firstFailure(since time.Time) string {
	for _, a := range s.client.Answers(since, time.Now()) {
		if a.Err != nil {
			return "; the first at " + clock(a.Sent) + ": " + a.Err.Error()
		}
	}
	return ""
}
