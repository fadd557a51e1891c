package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
)

// Owner is the node that owns most groups, by the word of the first node that runs, and which groups those are.
func (s *Site) Owner(ctx context.Context) (*lab.Node, []int, error) {
	for _, n := range s.W.Nodes() {
		if _, runs := n.AgentPID(); !runs {
			continue
		}
		st, err := n.Status(ctx)
		if err != nil {
			return nil, nil, err
		}
		owned := make(map[string][]int)
		best := ""
		for i, g := range st.Groups {
			owned[g.Owner] = append(owned[g.Owner], i)
		}
		for _, name := range s.Plan.Names() { // the first of several
			if best == "" || len(owned[name]) > len(owned[best]) {
				best = name
			}
		}
		if len(owned[best]) == 0 {
			return nil, nil, fmt.Errorf("%s says that nobody owns anything", n.Name)
		}
		return s.W.Node(best), owned[best], nil
	}
	return nil, nil, lab.ErrNoAgentRuns
}

// Costs watches the agents for a while, and fills the point's costs.
func (s *Site) Costs(ctx context.Context, span time.Duration, p *bench.ScalePoint) error {
	owner, owned, err := s.Owner(ctx)
	if err != nil {
		return err
	}
	before, err := s.usage()
	if err != nil {
		return err
	}
	if err := lab.Pause(ctx, span); err != nil {
		return err
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	var voters, others []bench.ScaleCost
	for i, n := range s.W.Nodes() {
		c := cost(before[i], after[i])
		switch {
		case n == owner:
			p.Owner = c
		case i < s.Plan.Voters:
			voters = append(voters, c)
		default:
			others = append(others, c)
		}
	}
	p.Owned, p.Voter, p.Other, p.Seconds = len(owned), median(voters), median(others), span.Seconds()
	return nil
}

func (s *Site) usage() (all []lab.Usage, err error) {
	for _, n := range s.W.Nodes() {
		u, err := n.Usage()
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

func cost(a, b lab.Usage) bench.ScaleCost {
	d := b.At.Sub(a.At).Seconds()
	return bench.ScaleCost{
		MemoryMB: float64(b.Memory) / 1e6, CPUPercent: 100 * (b.CPU - a.CPU).Seconds() / d,
		PacketsPerS: float64(b.Packets-a.Packets) / d, BytesPerS: float64(b.Bytes-a.Bytes) / d,
	}
}

// median takes each figure by itself.
func median(costs []bench.ScaleCost) *bench.ScaleCost {
	if len(costs) == 0 {
		return nil
	}
	of := func(f func(bench.ScaleCost) float64) float64 {
		var v []float64
		for _, c := range costs {
			v = append(v, f(c))
		}
		return middle(v)
	}
	return &bench.ScaleCost{
		MemoryMB:    of(func(c bench.ScaleCost) float64 { return c.MemoryMB }),
		CPUPercent:  of(func(c bench.ScaleCost) float64 { return c.CPUPercent }),
		PacketsPerS: of(func(c bench.ScaleCost) float64 { return c.PacketsPerS }),
		BytesPerS:   of(func(c bench.ScaleCost) float64 { return c.BytesPerS }),
	}
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// Status runs `hbagent status --json` on the first node and on the last, and fills in how long that took, and how much it said.
func (s *Site) Status(ctx context.Context, hbagent string, runs int, p *bench.ScalePoint) error {
	nodes := s.W.Nodes()
	var took []float64
	for range runs {
		for _, n := range []*lab.Node{nodes[0], nodes[len(nodes)-1]} {
			began := time.Now()
			out, err := n.Output(ctx, exec.Command(hbagent, "status", "--json"))
			d := time.Since(began)
			// Its exit code says how the cluster is; 3 says that the agent did not answer.
			if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 2) {
				return err
			}
			took = append(took, float64(d.Microseconds())/1000)
			p.StatusKB = float64(len(out)) / 1000
		}
	}
	p.Status = middle(took)
	return nil
}

// Takeover takes the power of the node with most groups, and waits until others own them all; then it switches the node on
// again, and waits until all is well. The cut comes at any point of a round of renewal and of probing, as in life.
func (s *Site) Takeover(ctx context.Context) (bench.Takeover, error) {
	victim, owned, err := s.Owner(ctx)
	if err != nil {
		return bench.Takeover{}, err
	}
	var targets []netip.Addr
	for _, i := range owned {
		targets = append(targets, lab.Floating(i).Addr())
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watch, err := s.W.WatchAnnouncements(watching, targets...)
	if err != nil {
		return bench.Takeover{}, err
	}
	if err := lab.Pause(ctx, rand.N(phase(s.Plan.ttl()))); err != nil {
		return bench.Takeover{}, err
	}
	at := time.Now()
	if err := victim.PowerOff(); err != nil {
		return bench.Takeover{}, err
	}
	t := bench.Takeover{Groups: len(owned)}
	err = lab.PollEvery(ctx, lookEvery, func() error {
		claims := claimsOf(watch.Announcements(at, time.Now()), victim.Name)
		if len(claims) < len(targets) {
			return fmt.Errorf("%d of the %d groups of %s have no new owner", len(targets)-len(claims), len(targets), victim.Name)
		}
		return nil
	})
	if err != nil {
		others := slices.DeleteFunc(slices.Clone(s.W.Nodes()), func(n *lab.Node) bool { return n == victim })
		return t, fmt.Errorf("%w; the log of %s:\n%s", err, others[0].Name, s.lastWords(others[0]))
	}
	rest := slices.DeleteFunc(slices.Clone(s.W.Nodes()), func(n *lab.Node) bool { return n == victim })
	if err := s.Wait(ctx, rest...); err != nil {
		return t, err
	}
	if err := s.OwnedOnce(); err != nil {
		return t, err
	}
	for _, c := range claimsOf(watch.Announcements(at, time.Now()), victim.Name) {
		ms := float64(c.first.Sub(at).Microseconds()) / 1000
		if t.First == 0 || ms < t.First {
			t.First = ms
		}
		t.Last = max(t.Last, ms)
		if len(c.nodes) > 1 {
			t.Two++
		}
	}
	if err := errors.Join(victim.PowerOn(ctx), victim.StartAgent(ctx)); err != nil {
		return t, err
	}
	return t, s.Wait(ctx, s.W.Nodes()...)
}

// claimed is who has announced an address since the power cut.
type claimed struct {
	first time.Time
	nodes []string
}

// claimsOf leaves out what the node that has lost its power said last.
func claimsOf(list []lab.Announcement, without string) map[netip.Addr]claimed {
	out := make(map[netip.Addr]claimed)
	for _, a := range list {
		if a.Node == without || a.Claim == lab.ARPReply || a.Claim == lab.ARPRequestFrom {
			continue
		}
		c, ok := out[a.Addr]
		if !ok {
			c.first = a.At
		}
		if !slices.Contains(c.nodes, a.Node) {
			c.nodes = append(c.nodes, a.Node)
		}
		out[a.Addr] = c
	}
	return out
}

// phase is within what a power cut comes at random: three rounds of renewal (ttl/3), and one of probing (1 s).
func phase(ttl time.Duration) time.Duration { return max(ttl, time.Second) }

// Settled is how long agents are left alone before their costs are taken: announcements after a takeover last 5 s.
const Settled = 8 * time.Second

// Measure fills a point in a world of Plan.Names: the costs over span, `hbagent status` runs times, and takeovers.
func Measure(ctx context.Context, w *lab.World, plan Plan, hbagent string, span time.Duration, runs, takeovers int) (p bench.ScalePoint) {
	p = plan.Point()
	err := func() error {
		s, err := Start(ctx, w, plan)
		if err != nil {
			return err
		}
		p.Ready = s.Ready.Seconds()
		if err := s.OwnedOnce(); err != nil {
			return err
		}
		if err := lab.Pause(ctx, Settled); err != nil {
			return err
		}
		if err := s.Costs(ctx, span, &p); err != nil {
			return err
		}
		if err := s.Status(ctx, hbagent, runs, &p); err != nil {
			return err
		}
		two := 0
		for range takeovers {
			t, err := s.Takeover(ctx)
			if err != nil {
				return fmt.Errorf("takeover: %w", err)
			}
			p.Takeovers = append(p.Takeovers, t)
			two += t.Two
		}
		if two > 0 {
			return fmt.Errorf("%d times two nodes announced the same address of a node that had lost its power", two)
		}
		if lines := s.Complaints(); len(lines) > 0 {
			return fmt.Errorf("%d complaints, the first: %s", len(lines), lines[0])
		}
		return nil
	}()
	if err != nil {
		p.Failed = brief(err.Error())
	}
	return p
}

// brief is the first line of what went wrong, the one that says how an agent crashed, and how many lines more: each of a hundred
// agents may have had its trouble.
func brief(why string) string {
	lines := strings.Split(why, "\n")
	if len(lines) == 1 {
		return why
	}
	out, rest := lines[0], len(lines)-1
	crashed := func(line string) bool {
		return strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:")
	}
	if i := slices.IndexFunc(lines[1:], crashed); i >= 0 {
		out, rest = out+" "+lines[1+i], rest-1
	}
	return fmt.Sprintf("%s (and %d more lines)", out, rest)
}
