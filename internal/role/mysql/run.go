package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// Chosen by us.
const (
	// restepAfter is how long a step of Run is left alone before it is taken again,
	// and repeatAfter is the same for telling somebody.
	restepAfter = 2 * time.Second
	repeatAfter = time.Minute
	// restartSlack is by how much the start of a server, of which whole seconds are
	// known, may seem to differ from look to look.
	restartSlack = 1500 * time.Millisecond
	// uncertainFor a while the lease may be, after a pause of the machine that the
	// voters are still being asked about. Then it is as good as lost.
	uncertainFor = time.Second
)

// errBusy: a step of the agent is under way.
var errBusy = errors.New("another step is under way")

// Run implements agent.Role. It ends with ctx, and waits for nothing that does not.
func (r *Role) Run(ctx context.Context) error {
	defer r.server.rest() // an agent that has failed still deactivates
	answers := make(chan answer, 1)
	tick := time.NewTicker(r.o.Every)
	defer tick.Stop()
	for {
		r.tick(ctx, answers)
		select {
		case <-ctx.Done():
			if r.memory.asking {
				<-answers // it has a bound of its own, and ends with ctx
			}
			return nil
		case <-r.wake:
		case <-tick.C:
		case a := <-answers:
			r.memory.asking = false
			r.memory.askedAt = time.Now()
			r.followed(ctx, a)
		}
	}
}

// tick looks at the server, and keeps it as it is wanted.
func (r *Role) tick(ctx context.Context, answers chan<- answer) {
	st, d, err := look(ctx, r.server, time.Now())
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.checkClaim()
		r.o.Tell.Observed(r.memory.failed(time.Now(), err))
		return
	}
	r.mu.Lock()
	diverged, note := r.diverged, r.note
	r.mu.Unlock()
	r.o.Tell.Observed(r.memory.observed(st, r.o.Nodes, diverged, note))
	r.mu.Lock()
	r.seenAt = st.at
	r.mu.Unlock()

	r.checkClaim()
	switch intent, claim, leader := r.wanted(); intent {
	case readOnly:
		if st.writable() || d == &mySQL8 && !st.superOnly {
			r.keepReadOnly(ctx, intent, st)
			return
		}
		r.keepFollowing(ctx, st, leader, diverged, answers)
	case handedOver:
		if st.writable() {
			r.keepReadOnly(ctx, intent, st)
		}
	case master:
		r.keepWritable(ctx, st, claim)
	}
}

// checkClaim takes the lease for lost when it is, whether the agent has said so or not.
func (r *Role) checkClaim() {
	if lost, epoch := r.dropLost(); lost == master {
		r.event("the lease is lost", "the server is made read-only")
		r.o.Tell.LetGo(epoch)
		r.hurry()
	}
}

// dropLost wants the server read-only if the claim is lost, and returns what was wanted
// then, and in which epoch. The claim is asked and dropped at one moment: it may be confirmed at any other,
// and Activate told so.
func (r *Role) dropLost() (lost intent, epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.intent != master && r.intent != preparing && r.intent != handedOver {
		return undecided, 0
	}
	m := &r.memory
	switch left, err := r.claim.Held(); {
	case err == nil && left > 0:
		m.uncertain = time.Time{}
		return undecided, 0
	case err == nil && m.uncertain.IsZero():
		m.uncertain = time.Now()
		return undecided, 0
	case err == nil && time.Since(m.uncertain) < uncertainFor:
		return undecided, 0
	}
	m.uncertain = time.Time{}
	lost, epoch = r.intent, r.claim.Epoch
	r.intent, r.claim = readOnly, role.Claim{}
	if r.endStep != nil {
		r.endStep(role.ErrLost)
	}
	return lost, epoch
}

// keepReadOnly makes a server read-only that is not, though it should be.
func (r *Role) keepReadOnly(ctx context.Context, i intent, st state) {
	ctx, done, err := r.beginFor(ctx, i)
	if err != nil {
		return
	}
	defer done()
	limit, cancel := context.WithTimeout(ctx, restepAfter+killHarder)
	defer cancel()
	killed, err := r.makeReadOnly(limit, 0)
	switch {
	case errors.Is(err, errEnded):
	case err != nil:
		r.repeated("a standby is writable, and cannot be made read-only", err.Error())
	case st.writable():
		r.repeated("a standby was writable", fmt.Sprintf("it is read-only again; %d connections were ended", killed))
	}
}

// keepWritable looks after the master.
func (r *Role) keepWritable(ctx context.Context, st state, c role.Claim) {
	r.mu.Lock()
	since, started := r.activated, r.started
	r.mu.Unlock()
	if since.IsZero() || st.at.Before(since) {
		return // Activate is not through
	}
	if st.writable() {
		r.setNote("")
		return
	}
	if st.started().Sub(started) < restartSlack {
		r.setNote("the master was made read-only, and not by this agent")
		r.repeated("the master is read-only", "not by this agent: it is left so; SET GLOBAL read_only = OFF ends it")
		return
	}
	// Its own file says read_only, as it should.
	ctx, done, err := r.beginFor(ctx, master)
	if err != nil {
		return
	}
	defer done()
	if err := r.makeWritable(ctx, c); err != nil {
		r.repeated("the master was restarted, and cannot be made writable", err.Error())
		return
	}
	r.activatedNow(c, st)
	r.event("the master was restarted", "it is writable again")
}

// answer is what another node's server said, and what this one had before.
type answer struct {
	to    source
	epoch uint64
	own   state
	state leaderState
	err   error
}

// keepFollowing asks the leader's server when that is due. Its answer goes to followed.
func (r *Role) keepFollowing(ctx context.Context, st state, leader role.Leader, diverged string, answers chan<- answer) {
	m := &r.memory
	if leader.Node == "" || leader.Node == r.o.Node || m.asking {
		return
	}
	to, err := r.sourceAt(leader.Node)
	if err != nil {
		r.setNote("cannot follow " + leader.Node + ": " + err.Error())
		return
	}
	settled := st.replica.follows(to) && keep(st.replica) == moveNone || diverged != ""
	if settled && m.askedEpoch == leader.Epoch && st.at.Sub(m.askedAt) < leaderEvery {
		return
	}
	m.asking, m.askedEpoch = true, leader.Epoch
	go func() {
		l, err := r.askLeader(ctx, to)
		answers <- answer{to: to, epoch: leader.Epoch, own: st, state: l, err: err}
	}()
}

// followed acts on the answer of the leader's server.
func (r *Role) followed(ctx context.Context, a answer) {
	intent, _, leader := r.wanted()
	if intent != readOnly || leader.Epoch != a.epoch || ctx.Err() != nil {
		return
	}
	if a.err != nil {
		r.setNote("cannot ask the server of " + leader.Node + ": " + a.err.Error())
	} else {
		r.setNote("")
	}
	m, diverged := plan(a.own, a.to, a.state)
	if a.state.asked && a.state.writable {
		r.setDiverged(leader.Node, diverged)
	}
	mem := &r.memory
	if m == moveNone || m == mem.move && leader.Epoch == mem.moveEpoch && time.Since(mem.movedAt) < mem.moveWait {
		return
	}
	step, done, err := r.beginFor(ctx, readOnly)
	if err != nil {
		return
	}
	defer done()
	st, d, err := look(step, r.server, time.Now())
	if err == nil {
		err = r.carry(step, m, st, d, a.to, a.state)
	}
	if errors.Is(err, errEnded) {
		return
	}
	mem.move, mem.moveEpoch, mem.movedAt, mem.moveWait = m, leader.Epoch, time.Now(), restepAfter
	switch {
	case err != nil:
		mem.moveWait = followRetry
		r.setNote("cannot follow " + leader.Node + ": " + err.Error())
		r.repeated("a replica does not follow", leader.Node+": "+err.Error())
	case m == movePoint:
		r.event("follows "+leader.Node, "from "+st.position.String())
	case m == moveStart:
		r.event("replication was started again", "it was not running")
	}
}

func (r *Role) setNote(note string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note = note
}

func (r *Role) setDiverged(from, what string) {
	r.mu.Lock()
	changed := what != r.diverged
	r.diverged = what
	r.mu.Unlock()
	switch {
	case changed && what != "":
		r.event("diverged from "+from, what+"; it stays out, and nothing is thrown away")
		r.hurry()
	case changed:
		r.event("not diverged any more", "")
	}
}

// repeated is event, for what may be found again at each look.
func (r *Role) repeated(reason, detail string) {
	m := &r.memory
	if m.told == reason && time.Since(m.toldAt) < repeatAfter {
		return
	}
	m.told, m.toldAt = reason, time.Now()
	r.event(reason, detail)
}
