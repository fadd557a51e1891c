// Package stage3_test runs the whole site of deploy/examples/stage3, with that very config: two nginx, two Apache with
// PHP and memcached, two MariaDB, an agent on each machine, and a visitor who asks for a page that writes a row and
// reads through memcached. Every part fails, one at a time; the service returns, and errors happen only meanwhile.
package stage3_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.MainBuilt(m)) }

// Chosen by us.
const (
	patience = 60 * time.Second
	wellFor  = time.Second // without an error: the service has returned
	// badFor bounds how long errors may happen after one fault, on a busy machine. What it really is, is measured.
	badFor = 15 * time.Second
)

var must = labtest.Must

func within(t testing.TB) context.Context {
	t.Helper()
	return labtest.Within(t, patience)
}

// eventually waits until try returns nil.
func eventually(t testing.TB, what string, try func(context.Context) error) {
	t.Helper()
	labtest.Eventually(t, patience, what, try)
}

type site struct {
	*lab.Stage3
	t    *testing.T
	page *lab.HTTPProbe
}

func newSite(t *testing.T) *site {
	t.Helper()
	labtest.Need(t)
	s, err := lab.NewStage3(within(t), lab.Stage3Options{Hbagent: labtest.Program()})
	if errors.Is(err, exec.ErrNotFound) {
		labtest.Skip(t, err.Error())
	}
	must(t, err)
	st := &site{Stage3: s, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("what is wrong:\n" + s.Plight(context.Background()) + "the last words of what ran:\n" + s.Logs("*", 25))
		}
		s.DB.Close()
		if err := s.Close(); err != nil {
			t.Error("close the world:", err)
		}
	})
	must(t, s.Start(within(t)))
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	began := time.Now()
	for _, floating := range []netip.Prefix{lab.Floating4, lab.FloatingDB} {
		arp, err := s.WatchARP(ctx, floating.Addr(), 0)
		must(t, err)
		t.Cleanup(func() {
			if two := arp.OwnersOverlap(began, time.Now()); len(two) > 0 {
				t.Errorf("two machines answered for %s: %v", floating.Addr(), two)
			}
		})
	}
	st.page, err = s.Page(ctx)
	must(t, err)
	st.wholeAndWell()
	return st
}

// status asks the first agent that answers.
func (s *site) status(ctx context.Context) (st control.Status, err error) {
	for _, n := range s.Nodes() {
		if st, err = n.Status(ctx); err == nil {
			return st, nil
		}
	}
	return st, err
}

// owner waits until a group has an owner, and returns it.
func (s *site) owner(group string) (owner string) {
	s.t.Helper()
	eventually(s.t, group+" has an owner", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err != nil {
			return err
		}
		for _, g := range st.Groups {
			if g.Name == group {
				owner = g.Owner
			}
		}
		if owner == "" {
			return fmt.Errorf("nobody owns %s", group)
		}
		return nil
	})
	return owner
}

// wholeAndWell waits until nothing is wrong, as `hbagent status` sees it, and no visitor has met an error for a while.
func (s *site) wholeAndWell() {
	s.t.Helper()
	eventually(s.t, "all well", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err != nil {
			return err
		}
		if p := st.Problems(); len(p) > 0 {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	eventually(s.t, "the page is served", func(context.Context) error {
		now := time.Now()
		answers := s.page.Answers(now.Add(-wellFor), now)
		if len(answers) == 0 {
			return errors.New("no answers")
		}
		for _, a := range answers {
			if a.Err != nil {
				return a.Err
			}
		}
		return nil
	})
}

// outage is what the visitor saw after a fault.
type outage struct {
	fault          string
	gap            time.Duration // the longest time without a page
	asked, failed  int
	firstBad, last time.Duration // when errors happened, after the fault
}

// see counts it; the fault was at a moment, and by now all is well.
func (s *site) see(fault string, at time.Time) outage {
	now := time.Now()
	o := outage{fault: fault, gap: s.page.LongestGap(at, now).Length()}
	for _, a := range s.page.Answers(at, now) {
		o.asked++
		if a.Err == nil {
			continue
		}
		if o.failed++; o.failed == 1 {
			o.firstBad = a.Done.Sub(at)
		}
		o.last = a.Done.Sub(at)
	}
	if o.last > badFor {
		s.t.Errorf("%s: errors until %v after it", fault, o.last)
	}
	return o
}

// The faults: what is hurt, and how it is mended.
type fault struct {
	name string
	hurt func() error
	mend func() error
}

// faults are those of this moment: who owns what decides on whom they hit.
func (s *site) faults() []func() fault {
	start := func(v *lab.Service) func() error { return func() error { return v.Start(within(s.t)) } }
	off := func(what, name string) fault {
		return fault{"power off: " + what, s.Node(name).PowerOff, func() error { return s.Boot(within(s.t), name) }}
	}
	other := func(name string) string {
		if strings.HasSuffix(name, "1") {
			return strings.TrimSuffix(name, "1") + "2"
		}
		return strings.TrimSuffix(name, "2") + "1"
	}
	return []func() fault{
		func() fault { v := s.Nginx[s.owner("shop")]; return fault{"kill nginx of the owner", v.Kill, start(v)} },
		func() fault { v := s.Apache["web1"]; return fault{"kill Apache of web1", v.Kill, start(v)} },
		func() fault { v := s.Memcached["web2"]; return fault{"kill memcached of web2", v.Kill, start(v)} },
		func() fault {
			v := s.DB.Servers[s.owner("db")]
			return fault{"kill MariaDB of the master", v.Kill, start(v.Service)}
		},
		func() fault {
			v := s.DB.Servers[other(s.owner("db"))]
			return fault{"kill MariaDB of the replica", v.Kill, start(v.Service)}
		},
		func() fault {
			n := s.Node(s.owner("shop"))
			return fault{"kill the proxy's agent", n.KillAgent, func() error { return n.StartAgent(within(s.t)) }}
		},
		func() fault {
			n := s.Node(s.owner("db"))
			return fault{"kill the master's agent", n.KillAgent, func() error { return n.StartAgent(within(s.t)) }}
		},
		func() fault { return off("the owner of the proxies", s.owner("shop")) },
		func() fault { return off("the other proxy", other(s.owner("shop"))) },
		func() fault { return off("web1", "web1") },
		func() fault { return off("web2", "web2") },
		func() fault { return off("the master", s.owner("db")) },
		func() fault { return off("the replica", other(s.owner("db"))) },
	}
}

// TestFaults: every part fails alone, HBAGENT_STAGE3_ROUNDS times.
func TestFaults(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("HBAGENT_STAGE3_ROUNDS"))
	if err != nil || rounds < 1 {
		rounds = 1
	}
	s := newSite(t)
	seen := map[string][]outage{}
	var order []string
	for range rounds {
		for _, next := range s.faults() {
			f := next()
			at := time.Now()
			must(t, f.hurt())
			s.served()
			o := s.see(f.name, at)
			must(t, f.mend())
			s.mended()
			seen[f.name] = append(seen[f.name], o)
			if !slices.Contains(order, f.name) {
				order = append(order, f.name)
			}
		}
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\tmin\tmedian\tmax\terrors\tof\tlast error after\t")
	for _, name := range order {
		list := seen[name]
		slices.SortFunc(list, func(a, b outage) int { return int(a.gap - b.gap) })
		asked, failed, last := 0, 0, time.Duration(0)
		for _, o := range list {
			asked, failed, last = asked+o.asked, failed+o.failed, max(last, o.last)
		}
		r := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
		fmt.Fprintf(w, "%s\t%v\t%v\t%v\t%d\t%d\t%v\t\n", name, r(list[0].gap), r(list[len(list)/2].gap), r(list[len(list)-1].gap), failed, asked, r(last))
	}
	w.Flush()
	t.Logf("%d times each; longest time without a page, and the visitor's errors:\n%s", rounds, table.String())
}

// served waits until visitors get their page again: for a while without an error.
func (s *site) served() {
	s.t.Helper()
	since := time.Now()
	eventually(s.t, "the service returns", func(context.Context) error {
		now := time.Now()
		from := now.Add(-wellFor)
		if from.Before(since) {
			return errors.New("too early to say")
		}
		answers := s.page.Answers(from, now)
		if len(answers) == 0 {
			return errors.New("no answers")
		}
		for _, a := range answers {
			if a.Err != nil {
				return a.Err
			}
		}
		return nil
	})
}

// mended waits until all is well again. A database with a tail that nobody was told of stays out: that is right, and
// what an operator does about it is done here.
func (s *site) mended() {
	s.t.Helper()
	eventually(s.t, "mended", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err != nil {
			return err
		}
		for _, n := range st.Nodes {
			if sv := n.Groups["db"].Service; sv != nil && sv.Diverged != "" {
				if err := s.DB.Rebuild(ctx, n.Name, s.owner("db")); err != nil {
					return err
				}
			}
		}
		if p := st.Problems(); len(p) > 0 {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	s.served()
}
