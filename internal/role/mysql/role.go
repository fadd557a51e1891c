package mysql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// Options of New. All durations have defaults.
type Options struct {
	Node  string
	Nodes map[string]netip.Addr // of the group, this one included: where replicas reach each other's server
	// DSNFile has the account for this node's server, ReplicationDSNFile the one for
	// following another's, whose port it names. Both are read for each connection.
	DSNFile, ReplicationDSNFile string

	MaxLag        time.Duration // see config.MySQL for what they mean
	ApplyTimeout  time.Duration
	DemoteTimeout time.Duration
	WaitForLast   time.Duration
	Every         time.Duration // between two looks at the server

	Tell   role.Tell
	Logger *slog.Logger

	connect func(addr string) driver.Connector // tests only: nil connects with the files; addr is empty for this node's server
}

// Defaults, as in internal/config; Every is chosen by us: four small questions each.
const (
	defaultMaxLag        = 10 * time.Second
	defaultApplyTimeout  = 30 * time.Second
	defaultDemoteTimeout = 5 * time.Second
	defaultEvery         = 500 * time.Millisecond
)

// intent is what the agent wants of the server.
type intent int

const (
	undecided  intent = iota // nothing yet: the server is left alone
	readOnly                 // a standby
	preparing                // about to become the master: it follows nobody any more
	master                   // writable, while the claim holds
	handedOver               // read-only, on the way to another node
)

// errEnded is the cause of a step that Deactivate, or a step that matters more, ended.
var errEnded = errors.New("ended by a later request")

// Role keeps one database server as its agent wants it. It implements agent.Role.
type Role struct {
	o       Options
	log     *slog.Logger
	policy  policy
	server  *server
	secrets *secrets

	// turn has room for the one step that may be under way, of the agent or of Run.
	turn chan struct{}

	mu        sync.Mutex
	intent    intent
	claim     role.Claim
	activated time.Time // when the server was made writable; zero while Activate is under way
	started   time.Time // when the server had been started then
	leader    role.Leader
	endStep   context.CancelCauseFunc // of the step that is under way; nil if none
	minor     bool                    // it is one of Run's, which anything else ends
	diverged  string                  // why this server must not follow its leader
	seenAt    time.Time               // when the look began that the agent was last told of
	note      string                  // what Run cannot do, for Observation.Warning

	wake chan struct{} // Run looks at once

	memory memory // Run's

	telling sync.Mutex // one event at a time
}

// New makes a role. It reads both files of accounts, so that a mistake in one is
// found before anything depends on it, and connects to nothing.
func New(o Options) (*Role, error) {
	if o.connect == nil {
		for _, path := range []string{o.DSNFile, o.ReplicationDSNFile} {
			if _, err := readDSN(path); err != nil {
				return nil, err
			}
		}
	}
	o.MaxLag = cmp.Or(o.MaxLag, defaultMaxLag)
	o.ApplyTimeout = cmp.Or(o.ApplyTimeout, defaultApplyTimeout)
	o.DemoteTimeout = cmp.Or(o.DemoteTimeout, defaultDemoteTimeout)
	o.Every = cmp.Or(o.Every, defaultEvery)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Tell.Observed == nil {
		o.Tell.Observed = func(role.Observation) {}
	}
	if o.Tell.Event == nil {
		o.Tell.Event = func(role.Event) {}
	}
	if o.Tell.LetGo == nil {
		o.Tell.LetGo = func(uint64) {}
	}
	known := &secrets{}
	if o.connect == nil {
		o.connect = func(addr string) driver.Connector {
			path := o.DSNFile
			if addr != "" {
				path = o.ReplicationDSNFile
			}
			return fileConnector{path: path, addr: addr, secrets: known}
		}
	}
	return &Role{
		o: o, log: o.Logger, policy: policy{o.MaxLag, o.WaitForLast}, secrets: known,
		server: newServer(o.DSNFile, known, o.connect("")),
		turn:   make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}, nil
}

// Judge implements agent.Role.
func (r *Role) Judge(s role.Situation) role.Verdict { return r.policy.judge(s) }

// Missing implements agent.Role.
func (r *Role) Missing(have, want string) (role.Missing, error) { return missing(have, want) }

// Follow implements agent.Role.
func (r *Role) Follow(l role.Leader) {
	r.mu.Lock()
	changed := l.Node != "" && l != r.leader
	if changed {
		r.leader = l
	}
	r.mu.Unlock()
	if changed {
		r.hurry()
	}
}

// hurry lets Run look at once.
func (r *Role) hurry() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// beginFor is begin for a step of Run's, which is right for one intent only: what was
// wanted when Run looked need not be so when it is its turn.
func (r *Role) beginFor(ctx context.Context, i intent) (_ context.Context, done func(), err error) {
	ctx, done, err = r.begin(ctx, true)
	if err != nil {
		return nil, nil, err
	}
	if now, _, _ := r.wanted(); now != i {
		done()
		return nil, nil, errEnded
	}
	return ctx, done, nil
}

// begin waits for its turn, and returns the context of the step. A step of Run's is
// ended for it; any other is waited for, but not by a step of Run's. done must be
// called.
func (r *Role) begin(ctx context.Context, minor bool) (_ context.Context, done func(), err error) {
	r.mu.Lock()
	if r.endStep != nil && r.minor && !minor {
		r.endStep(errEnded)
	}
	r.mu.Unlock()
	if minor && len(r.turn) > 0 {
		return nil, nil, errBusy // it will be seen again soon
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	r.endStep, r.minor = cancel, minor
	r.mu.Unlock()
	return ctx, func() {
		r.mu.Lock()
		r.endStep = nil
		r.mu.Unlock()
		cancel(nil)
		<-r.turn
		r.hurry()
	}, nil
}

// wantWith sets an intent that needs a claim. A claim that is lost changes nothing: a
// step that comes late must not take the place of what was wanted after it.
func (r *Role) wantWith(i intent, c role.Claim) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := c.Held(); err != nil {
		return err
	}
	r.wantLocked(i, c)
	return nil
}

// wantReadOnly ends the step that is under way.
func (r *Role) wantReadOnly() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wantLocked(readOnly, role.Claim{})
	if r.endStep != nil {
		r.endStep(errEnded)
	}
}

func (r *Role) wantLocked(i intent, c role.Claim) {
	if i == master && (r.intent != master || r.claim.Epoch != c.Epoch) {
		r.activated = time.Time{}
	}
	r.intent, r.claim = i, c
}

func (r *Role) wanted() (intent, role.Claim, role.Leader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.intent, r.claim, r.leader
}

// still asks the claim, right before a step that needs it.
func still(c role.Claim) (time.Duration, error) {
	if c.Held == nil {
		return 0, role.ErrLost
	}
	left, err := c.Held()
	if err == nil && left <= 0 {
		err = role.ErrLost
	}
	if err != nil && !errors.Is(err, role.ErrLost) {
		err = errors.Join(role.ErrLost, err)
	}
	return left, err
}

func (r *Role) event(reason, detail string) {
	r.log.Info("database", "reason", reason, "detail", detail)
	r.telling.Lock()
	defer r.telling.Unlock()
	r.o.Tell.Event(role.Event{Reason: reason, Detail: detail})
}
