package mysql

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// waits returns when somebody has wanted something else than i.
func (r *Role) waits(t *testing.T, i intent) {
	t.Helper()
	soon(t, func() error {
		if now, _, _ := r.wanted(); now == i {
			return errors.New("nothing else is wanted")
		}
		return nil
	})
}

// A step that comes late, with a claim that is over, does not take the place of what is
// wanted since.
func TestLateStepChangesNothing(t *testing.T) {
	r, own, _ := newMySQL8(t)
	old, lease := claim(2)
	must(t, r.Prepare(t.Context(), old))
	lease.lose()
	must(t, r.Deactivate(t.Context(), "lost"))
	c, _ := claim(3)
	must(t, r.Prepare(t.Context(), c))
	must(t, r.Activate(t.Context(), c))
	for name, step := range map[string]func(context.Context, role.Claim) error{"Prepare": r.Prepare, "Activate": r.Activate} {
		if err := step(t.Context(), old); !errors.Is(err, role.ErrLost) {
			t.Errorf("%s: %v, want ErrLost", name, err)
		}
	}
	r.tick(t.Context(), make(chan answer, 1))
	if i, now, _ := r.wanted(); i != master || now.Epoch != 3 || own.readOnly {
		t.Errorf("intent %v of epoch %d, read-only %v: the owner's service is not writable", i, now.Epoch, own.readOnly)
	}
}

// A Deactivate that gets its turn after the lease has come back leaves the server to
// its owner.
func TestDeactivateThatComesTooLate(t *testing.T) {
	r, own, _ := newMySQL8(t)
	release := occupy(t, r)
	deactivated := make(chan error, 1)
	go func() { deactivated <- r.Deactivate(t.Context(), "lost") }()
	r.waits(t, undecided)
	c, _ := claim(3)
	must(t, r.wantWith(preparing, c))
	own.readOnly, own.superOnly = false, false
	release()
	if err := <-deactivated; !errors.Is(err, errEnded) {
		t.Errorf("Deactivate: %v, want %v", err, errEnded)
	}
	if own.readOnly {
		t.Error("the owner's server was made read-only")
	}
}

// What Run has seen is no reason to act once something else is wanted.
func TestRunLooksAgainAtWhatIsWanted(t *testing.T) {
	r, own, _ := newMySQL8(t)
	must(t, r.Deactivate(t.Context(), "start"))
	own.readOnly, own.superOnly = false, false
	st, _, err := look(t.Context(), r.server, time.Now())
	must(t, err)
	c, _ := claim(2)
	must(t, r.Prepare(t.Context(), c))
	must(t, r.Activate(t.Context(), c))
	own.did()
	r.keepReadOnly(t.Context(), readOnly, st)
	if got := own.did(); len(got) > 0 || own.readOnly {
		t.Errorf("%q: the owner's server was made read-only", got)
	}
}

// An agent whose loop has failed deactivates after everything else has ended.
func TestDeactivateAfterRun(t *testing.T) {
	r, own, _ := newMySQL8(t)
	c, _ := claim(2)
	must(t, r.Prepare(t.Context(), c))
	must(t, r.Activate(t.Context(), c))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, r.Run(ctx))
	must(t, r.Deactivate(t.Context(), "the agent stops"))
	if !own.readOnly {
		t.Error("writable")
	}
}

// A replica whose master's machine is gone takes its time to stop.
func TestStopWaitsForAMasterThatIsGone(t *testing.T) {
	r, own, _ := newMySQL8(t)
	own.executed, own.source = parsed(t, uuidA+":1-50"), sourceStatus()
	own.slow = map[string]time.Duration{"STOP REPLICA IO_THREAD": statementTimeout + time.Second/2}
	c, _ := claim(2)
	must(t, r.Prepare(t.Context(), c))
	if own.source["Replica_IO_Running"] != "No" {
		t.Error("it still receives")
	}
}

// A server that hangs as it is to become read-only does not hold up a handover, whose
// caller may wait for minutes.
func TestHandOverOfAServerThatHangs(t *testing.T) {
	r, own, _ := newMySQL8(t)
	c, _ := claim(2)
	must(t, r.Prepare(t.Context(), c))
	must(t, r.Activate(t.Context(), c))
	own.slow = map[string]time.Duration{"SET GLOBAL super_read_only = 1": time.Minute}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := r.HandOver(ctx, c, func(context.Context, string) error { return nil })
	if ctx.Err() != nil || !errors.Is(err, errNoAnswer) || errors.Is(err, role.ErrNotUndone) || own.readOnly {
		t.Errorf("%v, read-only %v", err, own.readOnly)
	}
}
