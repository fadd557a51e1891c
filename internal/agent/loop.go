package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/metrics"
	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/internal/template"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// Chosen by us.
const (
	leaseQueue = 1024 // datagrams; at 20 a second and peer, a second of a large site
	leaseBurst = 15   // taken in one turn, beside one that woke the loop: some milliseconds
	workQueue  = 256
	// pulse is how often what changes by time alone is looked at: hold, max_moves, drains, the watchdog. The first wake-up after that
	// takes it along, for wake-ups are most of what an agent at rest costs; latestPulse is when it gets one of its own.
	pulse       = 500 * time.Millisecond
	latestPulse = 750 * time.Millisecond
	// judgeDivisor: while messages wait, the policy looks at everything every ttl/20.
	judgeDivisor = 20
	// pauseDivisor: a wake-up later than ttl/4 means that the process stood still.
	pauseDivisor = 4
)

// addresses is what the loop needs of *vip.Manager. Deadlines are readings of
// CLOCK_BOOTTIME.
type addresses interface {
	Open(group string, deadline time.Duration) error
	RenewAll(deadlines map[string]time.Duration) map[string]error
	Shut(group, reason string) error
	Reannounce(group string)
	Defend(group string)
	ProbeAll(ctx context.Context, groups []string, claimed func(group string, c vip.Claim)) (silent []string)
	Holding(groups ...string) map[string][]netip.Addr
	Reconfigure(groups []vip.Group) error

	// A draining handover; see pkg/vip. Connections and the probes may be called from any goroutine.
	NextHop(group string) (vip.NextHop, error)
	SendForwardProbe(ctx context.Context, group string, to vip.NextHop, cookie uint64) error
	AwaitForwardProbe(ctx context.Context, group string, cookie uint64) error
	Steer(group string, to vip.NextHop, until time.Duration) error
	Unsteer(group string) error
	Drain(group string, to vip.NextHop, until time.Duration) error
	Connections(group string) (int, error)
	EndDrain(group string) (reset int, err error)
}

// network is what the loop needs of *cluster.Cluster.
type network interface {
	SendLease(node string, payload []byte) error
	Publish(s cluster.NodeState) error
	Call(ctx context.Context, node, method string, body []byte) ([]byte, error)
	RTT() map[string]time.Duration
	keyNet
}

// errStopped is returned to whoever asks a loop that has ended.
var errStopped = control.Errorf(control.CodeUnavailable, "the agent is stopping")

// loop is the single owner of all state. Its fields are touched by run and by
// the functions given to post and do, and by nobody else.
type loop struct {
	// Set before run, never changed, and read by everybody.
	log     *slog.Logger
	version string
	node    string          // this one
	ttl     time.Duration   // another one needs a restart
	gate    string          // its name, for status
	roles   map[string]Role // by group, of those that this node may own
	// pageProblems says why the status page cannot be served; nil: nothing to say.
	pageProblems func() []string
	runIDValue   lease.RunID
	started      time.Time
	boot         func() time.Duration // CLOCK_BOOTTIME
	dropped      atomic.Uint64        // lease messages that found the queue full

	cfg         *config.Config
	voters      voterList     // in force; that of cfg may wait
	lateWitness bool          // cfg's witness waits for a restart
	caughtUp    chan struct{} // to awaitVoters: the list of cfg need not wait any more

	machine          *lease.Machine
	addrs            addresses
	net              network
	store            *store
	history          *history
	keys             *keys
	hooks            *hooks
	metrics          *metrics.Set // nil in some tests
	templates        *templates
	maintenanceStore *maintenanceFile
	lasts            *lastFile
	watch            *watchdog

	leaseIn chan []byte
	work    chan func()
	ended   chan struct{}
	// suspicion wakes the prober; one slot. probing: it looks at something, every ttl/4, and needs no waking.
	suspicion chan struct{}
	probing   bool

	groups   map[string]*groupRun
	order    []string // of groups, as configured
	checks   map[string]checks.State
	peers    map[string]*peerRun
	linkDown map[string]bool // interfaces without a carrier
	counting bool            // the open connections of draining groups, in another goroutine
	stopping bool
	// maintenance is why this node was told to own nothing, empty if it was not.
	maintenance string
	dirty       bool          // something changed that the policy or the peers should know
	turn        time.Duration // CLOCK_BOOTTIME at which this turn of the loop began
	judged      time.Duration // when the policy last looked
	pulsed      time.Duration // when the last pulse was

	published cluster.NodeState
	lastView  template.View // that the templates were shown
	contact   contact
	clock     standstill
	fatal     error
}

// peerRun is what is known of another node.
type peerRun struct {
	alive  bool
	since  time.Time
	reason string
	state  cluster.NodeState
	known  bool
	fit    map[string]Fitness            // by group
	groups map[string]cluster.GroupState // of state, by name: looked up for each group whenever something changes

	services map[string]role.Observation // by group, of those with a role
}

func newLoop(log *slog.Logger, cfg *config.Config, node string) *loop {
	l := &loop{
		log: log, cfg: cfg, node: node, ttl: cfg.Lease.TTL, started: time.Now(), boot: bootTime,
		leaseIn: make(chan []byte, leaseQueue), work: make(chan func(), workQueue), ended: make(chan struct{}),
		groups: make(map[string]*groupRun), checks: make(map[string]checks.State),
		roles: make(map[string]Role), peers: make(map[string]*peerRun), linkDown: make(map[string]bool), dirty: true,
		voters: listOf(cfg), caughtUp: make(chan struct{}, 1), suspicion: make(chan struct{}, 1),
	}
	for _, n := range cfg.Nodes {
		if n.Name != node {
			l.peers[n.Name] = &peerRun{since: l.started, fit: make(map[string]Fitness)}
		}
	}
	l.setGroups(cfg)
	l.clock = standstill{boot: bootTime, mono: monotonicTime, wall: wallTime, limit: l.ttl / pauseDivisor}
	return l
}

// now is the time as the lease machine wants it: read just before each use.
func (l *loop) now() lease.Time {
	return lease.Time{Boot: lease.Instant(l.boot()), Unix: time.Now().Unix()}
}

// post hands f to the loop, and waits for room. It reports whether it was taken.
func (l *loop) post(ctx context.Context, f func()) bool {
	select {
	case l.work <- f:
		return true
	case <-l.ended:
	case <-ctx.Done():
	}
	return false
}

// do runs f in the loop and waits until it is done. What f has caused is carried
// out after that.
func (l *loop) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !l.post(ctx, func() { f(); close(done) }) {
		return l.gone(ctx)
	}
	select {
	case <-done:
		return nil
	case <-l.ended:
	case <-ctx.Done():
	}
	return l.gone(ctx)
}

// within returns a context that ends after d, with cancel, and with the loop.
func (l *loop) within(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	go func() {
		select {
		case <-l.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (l *loop) gone(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the agent's loop did not answer: %w", err)
	}
	return errStopped
}

// leaseMessage takes a datagram from the cluster's goroutine.
func (l *loop) leaseMessage(payload []byte) {
	select {
	case l.leaseIn <- payload:
	default: // see the package documentation: what matters is repeated
		l.dropped.Add(1)
		l.metrics.Dropped(metrics.QueueLease)
	}
}

// run is the loop. It ends when ctx does, leaving everything as it is: the
// caller has handed over before, or means to resume. Only a fatal error, this
// loop's own or another task's as the cause of ctx, shuts the groups here.
func (l *loop) run(ctx context.Context) (err error) {
	defer close(l.ended)
	defer func() {
		if p := recover(); p != nil {
			broken, ok := p.(*lease.Violation)
			if ok {
				err = broken
			} else {
				err = fmt.Errorf("the agent's loop panicked: %v", p)
			}
			l.log.Error("the agent's loop panicked", "panic", p, "stack", string(debug.Stack()))
		}
		if err != nil {
			l.shutAll(err)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	l.clock.start()
	l.pulsed = l.boot()
	for {
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		case payload := <-l.leaseIn:
			l.lookAtClock()
			l.step(payload)
		case f := <-l.work:
			l.lookAtClock()
			f()
		case <-timer.C:
			l.lookAtClock()
			l.machine.Tick(l.now())
		}
		// In every turn: while groups wait to be opened the timer is always due, and which of several cases is taken is chance.
		l.stepOthers()
		l.carryOut()
		if l.turn-l.pulsed >= pulse && l.fatal == nil {
			l.pulsed = l.turn
			l.takePulse()
		}
		l.settle()
		if l.fatal != nil {
			return l.fatal
		}
		l.arm(timer)
	}
}

// takePulse looks at what changes by time alone.
func (l *loop) takePulse() {
	l.dirty = true
	l.machine.Check()
	l.lookAtVoters()
	if n := l.dropped.Swap(0); n > 0 {
		l.log.Warn("lease messages came faster than they could be read", "dropped", n)
	}
	l.lookAfterDrains()
	l.noteHealth()
	l.watch.feed()
}

// settle carries out what has become due until nothing is left to do. Deciding
// may cause effects, and effects may change what is decided; two rounds are the
// rule, and the bound is there so that a mistake in the policy shows as a log
// line instead of a loop that eats the machine.
func (l *loop) settle() {
	for range 16 {
		l.carryOut()
		if l.fatal != nil || !l.dirty || l.busy() {
			return
		}
		l.dirty, l.judged = false, l.boot()
		l.judge()
		l.decide()
		l.publish()
		l.showView()
	}
	l.log.Error("the policy does not come to rest", "groups", l.order)
	l.dirty = false
}

// busy reports whether the policy has to wait: messages do, and it had its turn a moment ago. It looks at all groups whatever has
// changed, and while hundreds of them move, something changes with every message. The loop comes back at once.
func (l *loop) busy() bool { return len(l.leaseIn) > 0 && l.boot()-l.judged < l.ttl/judgeDivisor }

// arm sets the timer for the next deadline, or for the next pulse, which is none: nothing is late when that comes late. What has
// become due while the loop was at work is due now: opening a hundred addresses takes a while, and is no pause.
func (l *loop) arm(timer *time.Timer) {
	next, ok := l.deadline()
	now, latest := l.boot(), l.pulsed+latestPulse
	l.clock.due = 0
	if ok {
		l.clock.due = max(time.Duration(next), now)
		latest = min(latest, l.clock.due)
	}
	timer.Reset(latest - now)
}

// deadline is when the lease machine, a suspicion or a group that waits to be opened is due.
func (l *loop) deadline() (next lease.Instant, ok bool) {
	next, ok = l.machine.NextDeadline()
	if at, soon := l.suspect(l.now().Boot); soon && (!ok || at < next) {
		next, ok = at, true
	}
	for _, g := range l.groups {
		if g.pending != nil && !g.pending.takingOver {
			if at := lease.Instant(g.pending.openAt); !ok || at < next {
				next, ok = at, true
			}
		}
	}
	return next, ok
}

// step hands a lease message to the machine.
func (l *loop) step(payload []byte) {
	m, err := lease.Decode(payload)
	if err != nil {
		l.log.Debug("lease message dropped", "error", err)
		return
	}
	l.noteRequest(m)
	l.machine.Step(l.now(), m)
}

// stepOthers takes some of the messages that wait, so that what they change is judged once. What each of them causes is
// carried out before the next, in the order of the machine. Before each the clocks are looked at: a machine that slept within the
// burst does not know what it has promised. That the timer is due by now is no pause: arm sets it anew.
func (l *loop) stepOthers() {
	l.clock.due = 0
	for range leaseBurst {
		select {
		case payload := <-l.leaseIn:
			if l.carryOut(); l.fatal != nil {
				return
			}
			if l.lookForPause(); l.fatal != nil {
				return
			}
			l.step(payload)
		default:
			return
		}
	}
}

// shutAll is the last thing that a broken agent does.
func (l *loop) shutAll(why error) {
	for _, name := range slices.Sorted(maps.Keys(l.groups)) {
		if err := l.addrs.Shut(name, "the agent gives up"); err != nil {
			l.log.Error("cannot remove the addresses; the kernel ends them with their lifetime", "group", name, "error", err)
		}
	}
	l.history.add(control.Event{Kind: kindAgent, Reason: "gave up", Detail: why.Error()})
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }
