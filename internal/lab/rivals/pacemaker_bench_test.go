//go:build bench

package rivals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// patience of a wait: Pacemaker needs 10 s to come up on a machine at rest.
const patience = 90 * time.Second

// A site is a world in which Pacemaker runs.
type site struct {
	*lab.World
	Cluster
	web map[string]*lab.Service // where the web servers are watched
}

// startPacemaker runs a cluster with web1 as owner.
func startPacemaker(t *testing.T, o Options) site {
	t.Helper()
	labtest.Need(t)
	version, err := Pacemaker{}.Version(t.Context())
	if errors.Is(err, ErrMissing) {
		labtest.Skip(t, err.Error())
	}
	labtest.Must(t, err)
	t.Log(version)
	s := site{World: labtest.New(t, lab.Options{}), web: make(map[string]*lab.Service)}
	if o.Service {
		for _, node := range pair() {
			s.web[node] = s.Node(node).BuiltinWeb()
			labtest.Must(t, s.web[node].Start(within(t)))
		}
	}
	s.Cluster, err = Pacemaker{}.Prepare(s.World, fast(), o)
	labtest.Must(t, err)
	for _, node := range s.Cluster.Nodes() {
		labtest.Must(t, s.Start(within(t), node))
	}
	labtest.Must(t, s.Ready(within(t), "web1"))
	return s
}

func within(t *testing.T) context.Context { return labtest.Within(t, patience) }

// fast is the fastest setting that the tests rely on.
func fast() Setting {
	for _, s := range (Pacemaker{}).Settings() {
		if s.Value == time.Second {
			return s
		}
	}
	panic("no setting of one second")
}

// TestPacemakerTakesOver powers the owner off and on again.
func TestPacemakerTakesOver(t *testing.T) {
	s := startPacemaker(t, Options{})
	watch, err := s.WatchARP(t.Context(), lab.Floating4.Addr(), 0)
	labtest.Must(t, err)
	labtest.Must(t, watch.WaitAnswers(within(t), time.Now(), "web1"))
	off := time.Now()
	labtest.Must(t, s.Node("web1").PowerOff())
	labtest.Must(t, watch.WaitAnswers(within(t), time.Now(), "web2"))
	gap := watch.LongestGap(off, time.Now())
	t.Logf("nobody answered for %v", gap.To.Sub(gap.From))

	labtest.Must(t, s.Node("web1").PowerOn(within(t)))
	labtest.Must(t, s.Start(within(t), "web1"))
	labtest.Must(t, s.Ready(within(t), "web2"))
}

// TestPacemakerMoves asks for planned moves, restarts and stops the owner.
func TestPacemakerMoves(t *testing.T) {
	s := startPacemaker(t, Options{})
	for _, to := range []string{"web2", "web1"} {
		from := map[string]string{"web1": "web2", "web2": "web1"}[to]
		labtest.Must(t, s.Switchover(within(t), from, to))
		labtest.Must(t, s.Ready(within(t), to))
	}
	labtest.Must(t, s.Restart(within(t), "web1"))
	labtest.Must(t, s.Ready(within(t), "web2"))
	labtest.Must(t, s.Stop(within(t), "web2"))
	labtest.Must(t, s.WaitOnlyAt(within(t), lab.Floating4.Addr(), "web1"))
	if left := s.PIDs("web2"); len(left) > 0 {
		t.Errorf("after Stop run processes %v", left)
	}
}

// TestPacemakerWatches kills the owner's web server.
func TestPacemakerWatches(t *testing.T) {
	s := startPacemaker(t, Options{Service: true})
	labtest.Must(t, s.web["web1"].Kill())
	labtest.Must(t, s.WaitOnlyAt(within(t), lab.Floating4.Addr(), "web2"))
	labtest.Must(t, s.web["web1"].Start(within(t)))
	labtest.Must(t, s.Ready(within(t), "web2"))
}

// TestPacemakerFreezesAndDies stops the owner's heartbeat, and kills its daemons. Without fencing the address stays on the
// card, while the other machine takes it, too, until the cluster is whole again.
func TestPacemakerFreezesAndDies(t *testing.T) {
	s := startPacemaker(t, Options{})
	labtest.Must(t, s.Signal("web1", syscall.SIGSTOP))
	waitBoth(t, s)
	labtest.Must(t, s.Signal("web1", syscall.SIGCONT))
	owner := waitOwner(t, s)
	t.Log("thawed: the address is at", owner)

	labtest.Must(t, s.Kill(within(t), owner))
	if left := s.PIDs(owner); len(left) > 0 {
		t.Errorf("after Kill run processes %v", left)
	}
	waitBoth(t, s)
	labtest.Must(t, s.Start(within(t), owner))
	t.Log("started again: the address is at", waitOwner(t, s))
}

// waitOwner waits until one machine is the owner for good, and returns which. On the way there Pacemaker, which finds its
// resource active twice, stops both and starts one, not always at the same end.
func waitOwner(t *testing.T, s site) (owner string) {
	t.Helper()
	labtest.Eventually(t, patience, "one machine has the address", func(ctx context.Context) error {
		var errs []error
		for _, node := range pair() {
			err := s.Cluster.(*pacemaker).look(ctx, node)
			if err == nil {
				owner = node
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return owner
}

func waitBoth(t *testing.T, s site) {
	t.Helper()
	labtest.Eventually(t, patience, "both have the address", func(context.Context) error {
		for _, node := range pair() {
			have, err := s.Node(node).Addresses()
			if err != nil || !slices.Contains(have, lab.Floating4.Addr()) {
				return fmt.Errorf("%s has %v (%v)", node, have, err)
			}
		}
		return nil
	})
}
