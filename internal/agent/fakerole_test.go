package agent

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/role"
)

// roleConfig is testConfig whose group has a role.
func roleConfig(t testing.TB, oldnew ...string) string {
	return edited(t, append([]string{"max_moves = \"4/10m\"\n",
		"max_moves = \"4/10m\"\nrole = \"mysql\"\n[group.mysql]\ndsn_file = \"/a\"\nreplication_dsn_file = \"/b\"\n"}, oldnew...)...)
}

// fakeRole is a service whose position is a number. It notes what it is told, and holds the agent to the contract:
// nothing becomes writable without a claim, and the gate opens over what is writable only.
type fakeRole struct {
	n    *testNode
	tell role.Tell

	mu        sync.Mutex
	calls     []string
	seen      role.Observation
	situation role.Situation // the last one that was judged
	verdict   func(role.Situation) role.Verdict
	prepare   func(context.Context, role.Claim) error // nil: at once
	handOver  func() error                            // after the target has caught up
	catchUp   error
	slow      time.Duration // of Deactivate
	claim     role.Claim
}

func newFakeRole(n *testNode) func(config.Group, role.Tell) (Role, error) {
	return func(_ config.Group, tell role.Tell) (Role, error) {
		n.service = &fakeRole{n: n, tell: tell, verdict: func(role.Situation) role.Verdict { return role.Verdict{Eligible: true} }}
		n.service.seen = role.Observation{At: time.Now(), Position: "1"}
		return n.service, nil
	}
}

// makeRoles gives a node the roles of its groups.
func (n *testNode) makeRoles(path string) {
	n.lasts = newLastFile(path, n.log)
	if err := n.newRoles(newFakeRole(n)); err != nil {
		n.w.t.Fatal(err)
	}
}

func (n *testNode) runRoles(ctx context.Context, tasks *sync.WaitGroup) {
	tasks.Go(func() { _ = n.lasts.Run(ctx) })
	for _, r := range n.roles {
		tasks.Go(func() { _ = r.Run(ctx) })
	}
	n.startRoles()
}

func (f *fakeRole) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// said returns the calls since the last time.
func (f *fakeRole) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.calls = nil }()
	return f.calls
}

// set changes what the service looks like, and lets the agent see it.
func (f *fakeRole) set(change func(*role.Observation)) {
	f.mu.Lock()
	change(&f.seen)
	f.seen.At = time.Now()
	seen := f.seen
	f.mu.Unlock()
	f.tell.Observed(seen)
}

func (f *fakeRole) with(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeRole) writable() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen.Writable
}

func (f *fakeRole) Run(ctx context.Context) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		f.set(func(*role.Observation) {})
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *fakeRole) Judge(s role.Situation) role.Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.situation = s
	if s.Self.Down != "" {
		return role.Verdict{Failed: true, Reason: "down: " + s.Self.Down}
	}
	return f.verdict(s)
}

func (f *fakeRole) Follow(l role.Leader) { f.note("follow %s", l.Node) }

func (f *fakeRole) Missing(have, want string) (role.Missing, error) {
	h, err := strconv.ParseUint(have, 10, 64)
	if err != nil {
		return role.Missing{}, err
	}
	w, err := strconv.ParseUint(want, 10, 64)
	return role.Missing{Transactions: w - min(h, w)}, err
}

func (f *fakeRole) Prepare(ctx context.Context, c role.Claim) error {
	f.note("prepare")
	f.mu.Lock()
	prepare := f.prepare
	f.mu.Unlock()
	if prepare != nil {
		return prepare(ctx, c)
	}
	return nil
}

func (f *fakeRole) Activate(_ context.Context, c role.Claim) error {
	f.note("activate")
	if left, err := c.Held(); err != nil || left <= 0 {
		return role.ErrLost
	}
	f.with(func() { f.claim = c })
	f.set(func(o *role.Observation) { o.Writable = true })
	return nil
}

func (f *fakeRole) Deactivate(_ context.Context, reason string) error {
	f.note("deactivate: %s", reason)
	f.mu.Lock()
	slow := f.slow
	f.mu.Unlock()
	time.Sleep(slow) // fake time (testing/synctest)
	f.set(func(o *role.Observation) { o.Writable = false })
	return nil
}

func (f *fakeRole) HandOver(ctx context.Context, c role.Claim, catchUp func(context.Context, string) error) error {
	f.note("hand over")
	f.set(func(o *role.Observation) { o.Writable = false })
	err := catchUp(ctx, f.seen.Position)
	f.mu.Lock()
	then := f.handOver
	f.mu.Unlock()
	if err == nil && then != nil {
		err = then()
	}
	if err != nil {
		f.set(func(o *role.Observation) { o.Writable = true })
	}
	return err
}

func (f *fakeRole) CatchUp(_ context.Context, position string) error {
	f.note("catch up to %s", position)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.catchUp == nil {
		f.seen.Position = position
	}
	return f.catchUp
}

var _ Role = (*fakeRole)(nil)
