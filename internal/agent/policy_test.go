package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/lease"
)

var noon = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

func TestJudge(t *testing.T) {
	passing := checks.State{Name: "web", Required: true, Status: checks.Passing}
	failing := checks.State{Name: "web", Required: true, Status: checks.Failing, Message: "refused"}
	type verdict struct {
		Eligible, Failed bool
		Reason           string
	}
	for _, tt := range []struct {
		name string
		edit func(*Condition)
		want verdict
	}{
		{"all well", func(*Condition) {}, verdict{true, false, ""}},
		{"stopping", func(c *Condition) { c.Stopping, c.OpenErr = true, "x" }, verdict{false, false, "the agent is stopping"}},
		{"another's group", func(c *Condition) { c.Node = "db1" }, verdict{false, false, "not among the group's nodes"}},
		{"addresses", func(c *Condition) { c.OpenErr = "cannot add the addresses" }, verdict{false, true, "cannot add the addresses"}},
		{"addresses, forced", func(c *Condition) { c.OpenErr, c.Forced = "cannot add the addresses", true }, verdict{false, true, "cannot add the addresses"}},
		{"link", func(c *Condition) { c.LinkDown = "eth0" }, verdict{false, true, "interface eth0 has no link"}},
		{"link, forced", func(c *Condition) { c.LinkDown, c.Forced = "eth0", true }, verdict{false, true, "interface eth0 has no link"}},
		{"pending", func(c *Condition) { c.Checks["web"] = checks.State{Status: checks.Pending} }, verdict{false, false, "check web has not answered yet"}},
		{"not heard of", func(c *Condition) { delete(c.Checks, "web") }, verdict{false, false, "check web has not answered yet"}},
		{"failing", func(c *Condition) { c.Checks["web"] = failing }, verdict{false, true, "check web fails: refused"}},
		{"failing without a word", func(c *Condition) { c.Checks["web"] = checks.State{Required: true, Status: checks.Failing} }, verdict{false, true, "check web fails"}},
		{"failing, forced", func(c *Condition) { c.Checks["web"], c.Forced = failing, true }, verdict{true, false, ""}},
		{"failing, not required", func(c *Condition) { c.Checks["web"] = checks.State{Status: checks.Failing} }, verdict{true, false, ""}},
		{"a check of no group", func(c *Condition) { c.Checks["disk"] = failing }, verdict{true, false, ""}},
		{"the second of two", func(c *Condition) { c.Group.Checks = []string{"web", "disk"}; c.Checks["disk"] = failing }, verdict{false, true, "check disk fails: refused"}},
		{"hold begins", func(c *Condition) { c.FailedAt = noon }, verdict{false, false, "healthy again, but not yet for 10s"}},
		{"hold ends", func(c *Condition) { c.FailedAt = ago(10*time.Second - 1) }, verdict{false, false, "healthy again, but not yet for 10s"}},
		{"hold is over", func(c *Condition) { c.FailedAt = ago(10 * time.Second) }, verdict{true, false, ""}},
		{"hold, forced", func(c *Condition) { c.FailedAt, c.Forced = noon, true }, verdict{true, false, ""}},
		{"no hold", func(c *Condition) { c.FailedAt, c.Group.Hold = noon, 0 }, verdict{true, false, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Condition{
				Group: config.Group{Name: "web", Nodes: []string{"web1", "web2"}, Checks: []string{"web"}, Hold: 10 * time.Second},
				Node:  "web1", Checks: map[string]checks.State{"web": passing}, Now: noon,
			}
			tt.edit(&c)
			var got verdict
			got.Eligible, got.Failed, got.Reason = Judge(c)
			diff(t, "verdict", got, tt.want)
		})
	}
}

func TestDecide(t *testing.T) {
	const mine = "check web fails: refused"
	up := Peer{Alive: true, Since: ago(time.Hour), Fitness: Fitness{Eligible: true, Since: ago(time.Hour)}}
	sick := Peer{Alive: true, Since: ago(time.Hour), Fitness: Fitness{Reason: "check web fails: timed out"}}
	down := Peer{Fitness: Fitness{Eligible: true}}
	held := func(s *Situation) { s.Holds, s.Holder = true, s.Node }
	unfit := func(s *Situation) { held(s); s.Unfit, s.Self = true, Fitness{Reason: mine} }
	lost := func(s *Situation) { s.Holds, s.Able, s.Peers["web2"], s.Peers["web3"] = false, true, sick, down }
	waits := func(s *Situation) {
		s.Waits, s.Able, s.Self, s.Holder = true, true, Fitness{Reason: "not yet"}, "web2"
		s.Peers["web2"], s.Peers["web3"] = down, sick
	}
	off := func(s *Situation) { s.Off, s.Self = true, Fitness{Reason: mine} }
	failback := func(s *Situation) { s.Node, s.Group.Failback = "web2", true; held(s) }
	for _, tt := range []struct {
		name  string
		edits []func(*Situation)
		edit  func(*Situation)
		want  Decision
	}{
		{name: "first candidate", want: Decision{Stand: true}},
		{name: "not eligible", edit: func(s *Situation) { s.Self = Fitness{Reason: mine} }, want: Decision{}},
		{name: "third candidate", edit: func(s *Situation) { s.Node = "web3" }, want: Decision{Stand: true, Rank: 2}},
		{name: "third, one before it is sick", edit: func(s *Situation) { s.Node = "web3"; s.Peers["web2"] = sick }, want: Decision{Stand: true, Rank: 1}},
		{name: "third, one before it is down", edit: func(s *Situation) { s.Node = "web3"; s.Peers["web1"] = down }, want: Decision{Stand: true, Rank: 1}},
		{name: "third, one before it owns it", edit: func(s *Situation) { s.Node, s.Holder = "web3", "web1" }, want: Decision{Stand: true, Rank: 1}},
		{name: "not listed", edit: func(s *Situation) { s.Node, s.Self = "db1", Fitness{} }, want: Decision{Rank: 3}},

		{name: "owner, all well", edits: []func(*Situation){held}, want: Decision{Stand: true}},
		{name: "owner, waits for hold", edits: []func(*Situation){held}, edit: func(s *Situation) { s.Self = Fitness{Reason: "not yet"} }, want: Decision{}},
		{name: "unfit", edits: []func(*Situation){unfit}, want: Decision{MoveTo: "web2", Cause: CauseHealth, Reason: mine}},
		{name: "unfit, but not the owner", edits: []func(*Situation){unfit}, edit: func(s *Situation) { s.Holds = false }, want: Decision{}},
		{name: "unfit, the next is sick", edits: []func(*Situation){unfit}, edit: func(s *Situation) { s.Peers["web2"] = sick }, want: Decision{MoveTo: "web3", Cause: CauseHealth, Reason: mine}},
		{name: "unfit, the next is down", edits: []func(*Situation){unfit}, edit: func(s *Situation) { s.Peers["web2"] = down }, want: Decision{MoveTo: "web3", Cause: CauseHealth, Reason: mine}},
		{name: "unfit, the next was never heard", edits: []func(*Situation){unfit}, edit: func(s *Situation) { delete(s.Peers, "web2") }, want: Decision{MoveTo: "web3", Cause: CauseHealth, Reason: mine}},
		{name: "shared fate", edits: []func(*Situation){unfit}, edit: func(s *Situation) { s.Peers["web2"], s.Peers["web3"] = sick, down },
			want: Decision{Reason: "stays here: web2: check web fails: timed out; web3 is down"}},
		{name: "nobody else may", edits: []func(*Situation){unfit}, edit: func(s *Situation) { s.Group.Nodes = []string{"web1"} },
			want: Decision{Reason: "stays here: no other node may own it"}},
		{name: "one move left", edits: []func(*Situation){unfit}, edit: func(s *Situation) { s.Moves = 3 }, want: Decision{MoveTo: "web2", Cause: CauseHealth, Reason: mine}},
		{name: "no move left", edits: []func(*Situation){unfit}, edit: func(s *Situation) { s.Moves = 4 },
			want: Decision{Reason: "stays here: moved 4 times in 10m0s already (max_moves)"}},
		{name: "no budget", edits: []func(*Situation){unfit}, edit: func(s *Situation) { s.Moves, s.Group.MaxMoves.Count = 99, 0 },
			want: Decision{MoveTo: "web2", Cause: CauseHealth, Reason: mine}},

		{name: "told to stay off", edits: []func(*Situation){held, off}, want: Decision{MoveTo: "web2", Cause: CauseMaintenance, Reason: mine}},
		{name: "told to stay off, and nobody else can", edits: []func(*Situation){held, off}, edit: func(s *Situation) { s.Peers["web2"], s.Peers["web3"] = sick, down }, want: Decision{}},
		{name: "told to stay off, and no owner", edits: []func(*Situation){off}, want: Decision{}},

		{name: "last resort", edits: []func(*Situation){unfit, lost}, want: Decision{Stand: true, Rank: 3}},
		{name: "no last resort while another could", edits: []func(*Situation){unfit, lost}, edit: func(s *Situation) { s.Peers["web3"] = up }, want: Decision{}},
		{name: "no last resort without a link", edits: []func(*Situation){unfit, lost}, edit: func(s *Situation) { s.Able = false }, want: Decision{}},
		{name: "no last resort of a stranger", edits: []func(*Situation){unfit, lost}, edit: func(s *Situation) { s.Holder = "web2" }, want: Decision{}},

		{name: "hold is no reason for nobody", edits: []func(*Situation){waits}, want: Decision{Stand: true, Rank: 3}},
		{name: "hold, and the dead owner still counts as alive", edits: []func(*Situation){waits}, edit: func(s *Situation) { s.Peers["web2"] = up }, want: Decision{Stand: true, Rank: 3}},
		{name: "hold, while another could", edits: []func(*Situation){waits}, edit: func(s *Situation) { s.Peers["web3"] = up }, want: Decision{}},
		{name: "hold, and nobody had it", edits: []func(*Situation){waits}, edit: func(s *Situation) { s.Holder, s.Peers["web2"] = "", up }, want: Decision{}},

		{name: "no failback", edits: []func(*Situation){failback}, edit: func(s *Situation) { s.Group.Failback = false }, want: Decision{Stand: true, Rank: 1}},
		{name: "failback", edits: []func(*Situation){failback}, want: Decision{Stand: true, Rank: 1, MoveTo: "web1", Cause: CauseFailback, Reason: "web1 is preferred and healthy again"}},
		{name: "failback, of the first", edits: []func(*Situation){failback}, edit: func(s *Situation) { s.Node = "web1" }, want: Decision{Stand: true}},
		{name: "failback, to one that is sick", edits: []func(*Situation){failback}, edit: func(s *Situation) { s.Peers["web1"] = sick }, want: Decision{Stand: true}},
		{name: "failback, to one that is down", edits: []func(*Situation){failback}, edit: func(s *Situation) { s.Peers["web1"] = down }, want: Decision{Stand: true}},
		{name: "failback, to one that has just come up", edits: []func(*Situation){failback},
			edit: func(s *Situation) { p := up; p.Since = ago(10*time.Second - 1); s.Peers["web1"] = p }, want: Decision{Stand: true, Rank: 1}},
		{name: "failback, to one that has been up for hold", edits: []func(*Situation){failback},
			edit: func(s *Situation) { p := up; p.Since = ago(10 * time.Second); s.Peers["web1"] = p },
			want: Decision{Stand: true, Rank: 1, MoveTo: "web1", Cause: CauseFailback, Reason: "web1 is preferred and healthy again"}},
		{name: "failback, past one that is sick", edits: []func(*Situation){failback}, edit: func(s *Situation) { s.Node, s.Holder = "web3", "web3"; s.Peers["web1"] = sick },
			want: Decision{Stand: true, Rank: 1, MoveTo: "web2", Cause: CauseFailback, Reason: "web2 is preferred and healthy again"}},
		{name: "failback, suspended by a person", edits: []func(*Situation){failback}, edit: func(s *Situation) { s.Cause = CauseSwitchover }, want: Decision{Stand: true, Rank: 1}},
		{name: "failback, suspended by maintenance", edits: []func(*Situation){failback}, edit: func(s *Situation) { s.Cause = CauseMaintenance }, want: Decision{Stand: true, Rank: 1}},
		{name: "failback, suspended by a restart", edits: []func(*Situation){failback}, edit: func(s *Situation) { s.Cause = CauseResume }, want: Decision{Stand: true, Rank: 1}},
		{name: "failback, to one that was sick since", edits: []func(*Situation){failback}, edit: func(s *Situation) {
			s.Cause = CauseSwitchover
			p := up
			p.Fitness.Since = ago(time.Minute)
			s.Peers["web1"] = p
		}, want: Decision{Stand: true, Rank: 1, MoveTo: "web1", Cause: CauseFailback, Reason: "web1 is preferred and healthy again"}},
		{name: "failback, of one that is unfit", edits: []func(*Situation){failback, unfit}, edit: func(s *Situation) { s.Cause = CauseSwitchover },
			want: Decision{Rank: 1, MoveTo: "web1", Cause: CauseHealth, Reason: mine}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Situation{
				Group: config.Group{Name: "web", Nodes: []string{"web1", "web2", "web3"}, Hold: 10 * time.Second, MaxMoves: config.Budget{Count: 4, Per: 10 * time.Minute}},
				Node:  "web1", Self: Fitness{Eligible: true}, HeldSince: ago(10 * time.Minute), Now: noon,
				Peers: map[string]Peer{"web1": up, "web2": up, "web3": up},
			}
			for _, edit := range tt.edits {
				edit(&s)
			}
			if tt.edit != nil {
				tt.edit(&s)
			}
			diff(t, "decision", Decide(s), tt.want)
		})
	}
}

func TestMovesAreCountedOnce(t *testing.T) {
	g := groupRun{cfg: config.Group{MaxMoves: config.Budget{Count: 4, Per: 10 * time.Minute}}}
	g.noteMove(5, ago(9*time.Minute))
	g.noteMove(5, ago(9*time.Minute)) // told by the new owner, and seen by this node
	g.noteMove(9, ago(time.Minute))
	diff(t, "now", g.recentMoves(noon), 2)
	diff(t, "later", g.recentMoves(noon.Add(time.Minute)), 1)
	diff(t, "much later", g.recentMoves(noon.Add(time.Hour)), 0)
	diff(t, "kept", len(g.moves), 0)
}

func TestNote(t *testing.T) {
	for _, tt := range []struct {
		cause  Cause
		reason string
		want   string
	}{
		{CauseHealth, "check web fails", "check web fails"},
		{CauseSwitchover, "asked for on web1", "asked for on web1"},
		{CauseFailback, "", ""},
		{CauseStop, strings.Repeat("x", lease.MaxName-len("stop ")), strings.Repeat("x", lease.MaxName-len("stop "))},
		{CauseStop, strings.Repeat("x", lease.MaxName), strings.Repeat("x", lease.MaxName-len("stop ")-3) + "..."},
		{CauseConfig, strings.Repeat("ü", lease.MaxName), strings.Repeat("ü", (lease.MaxName-len("config ")-3)/2) + "..."},
	} {
		n := note(tt.cause, tt.reason)
		if len(n) > lease.MaxName {
			t.Errorf("note %q has %d bytes", n, len(n))
		}
		cause, why, ok := parseNote(n)
		diff(t, n, []any{cause, why, ok}, []any{tt.cause, tt.want, true})
	}
	for _, s := range []string{"", "health", "because I can", "dead-owner x"} {
		if cause, why, ok := parseNote(s); ok {
			t.Errorf("parseNote(%q) = %q, %q", s, cause, why)
		}
	}
}

func TestCauseOf(t *testing.T) {
	for _, tt := range []struct {
		open  lease.Open
		last  string
		cause Cause
		why   string
	}{
		{lease.Open{Cause: lease.CauseFree}, "", CauseStart, "nobody had it"},
		{lease.Open{Cause: lease.CauseFree}, "web1", CauseReleased, "web1 let go of it"},
		{lease.Open{Cause: lease.CauseExpired}, "web1", CauseDeadOwner, "the last owner was not heard for one ttl"},
		{lease.Open{Cause: lease.CauseResume}, "", CauseResume, "resumed after a restart of the agent"},
		{lease.Open{Cause: lease.CauseTransfer, Note: "health check web fails"}, "web1", CauseHealth, "check web fails"},
		{lease.Open{Cause: lease.CauseTransfer, Note: "of a later version"}, "web1", CauseSwitchover, "handed over"},
	} {
		cause, why := causeOf(tt.open, tt.last)
		diff(t, "cause", []string{string(cause), why}, []string{string(tt.cause), tt.why})
	}
}
