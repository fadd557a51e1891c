package mysql

import (
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	p := policy{maxLag: 10 * time.Second, waitForLast: 2 * time.Minute}
	// A replica of db1 in the best of health, a moment after its last look.
	good := role.Observation{At: now.Add(-100 * time.Millisecond), Position: "0-1-100", Following: "db1", Connected: true, CurrentTo: now.Add(-100 * time.Millisecond)}
	with := func(change func(*role.Observation)) role.Observation { o := good; change(&o); return o }
	last := role.Last{Node: "db1", Epoch: 7, Position: "0-1-100", At: now}
	lastWith := func(position string) role.Last { l := last; l.Position = position; return l }
	peer := func(position string, eligible bool) map[string]role.Peer {
		return map[string]role.Peer{"db3": {Alive: true, Eligible: eligible, Observation: role.Observation{At: now, Position: position}}}
	}
	back := func(change func(*role.Observation)) map[string]role.Peer {
		o := role.Observation{At: now, Position: "0-1-102"}
		if change != nil {
			change(&o)
		}
		return map[string]role.Peer{"db1": {Alive: true, Observation: o}}
	}
	// The site was off: what it had is what it knows of the last master.
	heir := with(func(o *role.Observation) { o.Connected, o.CurrentTo = false, time.Time{} })
	unknown := "what db1, the last master, has is not known yet, and waits for it until 12:02:00 UTC"
	for name, tt := range map[string]struct {
		s        role.Situation
		eligible bool
		failed   bool
		reason   string // of it, the beginning
		until    time.Time
	}{
		"not looked at yet": {s: role.Situation{Self: role.Observation{}, Owner: "db1"}, reason: "the database server has not been looked at yet"},
		"down":              {s: role.Situation{Self: with(func(o *role.Observation) { o.Down = "connection refused" }), Owner: "db1"}, failed: true, reason: "the database server cannot be asked: connection refused"},
		"not looked at for long": {s: role.Situation{Self: with(func(o *role.Observation) { o.At = now.Add(-11 * time.Second) }), Owner: "db1"},
			failed: true, reason: "the database server was last seen 11s ago"},
		"down, by force": {s: role.Situation{Self: with(func(o *role.Observation) { o.Down = "x" }), Forced: true}, failed: true, reason: "the database server cannot be asked"},

		"a good replica": {s: role.Situation{Self: good, Owner: "db1"}, eligible: true, until: good.CurrentTo.Add(10*time.Second + time.Millisecond)},
		"it follows nobody": {s: role.Situation{Self: with(func(o *role.Observation) { o.Following = "" }), Owner: "db1"},
			reason: "follows nobody yet, and db1 is the master"},
		"it follows another": {s: role.Situation{Self: with(func(o *role.Observation) { o.Following = "db3" }), Owner: "db1"},
			reason: "follows db3, and db1 is the master"},
		"9s behind": {s: role.Situation{Self: with(func(o *role.Observation) { o.LagMs, o.CurrentTo = 9000, now.Add(-9*time.Second) }), Owner: "db1"},
			eligible: true, until: now.Add(time.Second + time.Millisecond)},
		"11s behind": {s: role.Situation{Self: with(func(o *role.Observation) { o.LagMs, o.CurrentTo = 11000, now.Add(-11*time.Second) }), Owner: "db1"},
			reason: "11s behind db1, more than max_lag (10s)", until: now.Add(time.Second)},
		"11s behind, by force": {s: role.Situation{Self: with(func(o *role.Observation) { o.LagMs, o.CurrentTo = 11000, now.Add(-11*time.Second) }), Owner: "db1", Forced: true},
			eligible: true, reason: "asked for by hand"},
		"cut off for 3s": {s: role.Situation{Self: with(func(o *role.Observation) { o.Connected, o.LagMs, o.CurrentTo = false, -1, now.Add(-3*time.Second) }), Owner: "db1"},
			eligible: true, until: now.Add(7*time.Second + time.Millisecond)},
		"cut off for 12s": {s: role.Situation{Self: with(func(o *role.Observation) { o.Connected, o.LagMs, o.CurrentTo = false, -1, now.Add(-12*time.Second) }), Owner: "db1"},
			reason: "not connected to db1 for 12s, more than max_lag (10s)", until: now.Add(time.Second)},
		"never connected": {s: role.Situation{Self: with(func(o *role.Observation) { o.Connected, o.LagMs, o.CurrentTo = false, -1, time.Time{} }), Owner: "db1"},
			reason: "not yet connected to db1", until: now.Add(time.Second)},
		"its applier is stopped": {s: role.Situation{Self: with(func(o *role.Observation) { o.LagMs, o.CurrentTo = -1, now.Add(-12*time.Second) }), Owner: "db1"},
			reason: "how far it is behind db1 has not been known for 12s", until: now.Add(time.Second)},
		"broken":             {s: role.Situation{Self: with(func(o *role.Observation) { o.Broken = "error 1062" }), Owner: "db1"}, failed: true, reason: "replication is broken: error 1062"},
		"diverged":           {s: role.Situation{Self: with(func(o *role.Observation) { o.Diverged = "3 transactions" }), Owner: "db1"}, failed: true, reason: "diverged: 3 transactions"},
		"diverged, by force": {s: role.Situation{Self: with(func(o *role.Observation) { o.Diverged = "3 transactions" }), Forced: true}, eligible: true, reason: "asked for by hand"},

		"the master": {s: role.Situation{Node: "db1", Self: role.Observation{At: now, Writable: true}, Owner: "db1"}, eligible: true},
		"the master, with a warning": {s: role.Situation{Node: "db1", Self: role.Observation{At: now, Writable: true, Warning: "fallen back"}, Owner: "db1"},
			eligible: true, reason: "fallen back"},
		"the master, read-only": {s: role.Situation{Node: "db1", Self: role.Observation{At: now}, Owner: "db1"}, eligible: true, reason: "the master is read-only"},
		"the master, down":      {s: role.Situation{Node: "db1", Self: role.Observation{At: now, Down: "gone"}, Owner: "db1"}, failed: true, reason: "the database server cannot be asked: gone"},

		"the master died, everything is here": {s: role.Situation{Self: good, Last: last, OwnerSeen: now, Waiting: now}, eligible: true},
		"received is enough": {s: role.Situation{Self: with(func(o *role.Observation) {
			o.Position, o.Received, o.CurrentTo = "0-1-90", "0-1-100", now.Add(-time.Hour)
		}), Last: last, OwnerSeen: now, Waiting: now},
			eligible: true},
		"a tail is missing, and it was close": {s: role.Situation{Self: good, Last: lastWith("0-1-103"), OwnerSeen: now, Waiting: now},
			eligible: true, reason: "lacks 3 transactions of db1"},
		"it was cut off long before": {s: role.Situation{Self: with(func(o *role.Observation) { o.CurrentTo = now.Add(-time.Hour) }), Last: lastWith("0-1-101"), OwnerSeen: now, Waiting: now},
			reason: "lacks 1 transaction of db1, the last master, and waits for it until 12:02:00 UTC, or for --force", until: now.Add(2 * time.Minute)},
		"all of the site was off, and it missed the end": {s: role.Situation{Self: with(func(o *role.Observation) { o.CurrentTo, o.Connected = time.Time{}, false }), Last: lastWith("0-1-900"), Waiting: now.Add(-time.Minute)},
			reason: "lacks 800 transactions of db1, the last master, and waits for it until 12:01:00 UTC, or for --force", until: now.Add(time.Minute)},
		"waited long enough": {s: role.Situation{Self: with(func(o *role.Observation) { o.CurrentTo, o.Connected = time.Time{}, false }), Last: lastWith("0-1-900"), Waiting: now.Add(-2 * time.Minute)},
			eligible: true, reason: "lacks 800 transactions of db1, the last master"},
		"by force": {s: role.Situation{Self: with(func(o *role.Observation) { o.CurrentTo = time.Time{} }), Last: lastWith("0-1-900"), Waiting: now, Forced: true},
			eligible: true, reason: "asked for by hand"},
		"all of the site was off, and it was the master": {s: role.Situation{Node: "db1", Self: role.Observation{At: now, Position: "0-1-100"}, Last: last, Waiting: now}, eligible: true},
		"all of the site was off, and it missed nothing": {s: role.Situation{Self: with(func(o *role.Observation) { o.CurrentTo, o.Connected = time.Time{}, false }), Last: last, Waiting: now}, eligible: true},
		"the last master is back, and has told nothing": {s: role.Situation{Self: heir, Last: last, Waiting: now, Peers: back(func(o *role.Observation) { *o = role.Observation{} })},
			reason: unknown, until: now.Add(2 * time.Minute)},
		"its server has not answered yet": {s: role.Situation{Self: heir, Last: last, Waiting: now, Peers: back(func(o *role.Observation) { o.Position = "" })},
			reason: unknown, until: now.Add(2 * time.Minute)},
		"its server recovers": {s: role.Situation{Self: heir, Last: last, Waiting: now, Peers: back(func(o *role.Observation) { o.Position, o.Down = "0-1-100", "connection refused" })},
			reason: unknown, until: now.Add(2 * time.Minute)},
		"what is known of it is of before": {s: role.Situation{Self: heir, Last: last, Waiting: now, Peers: back(func(o *role.Observation) { o.At, o.Position = now.Add(-11*time.Second), "0-1-100" })},
			reason: unknown, until: now.Add(2 * time.Minute)},
		"the last master is back with more than was told": {s: role.Situation{Self: heir, Last: last, Waiting: now, Peers: back(nil)},
			reason: "lacks 2 transactions of db1, the last master, and waits for it until 12:02:00 UTC", until: now.Add(2 * time.Minute)},
		"and is not to be the master for two minutes": {s: role.Situation{Self: heir, Last: last, Waiting: now.Add(-2 * time.Minute), Peers: back(nil)},
			eligible: true, reason: "lacks 2 transactions of db1, the last master"},
		"the last master is back with what was told": {s: role.Situation{Self: heir, Last: last, Waiting: now, Peers: back(func(o *role.Observation) { o.Position = "0-1-100" })}, eligible: true},
		"its server is back, its agent is not":       {s: role.Situation{Self: good, Last: last, Waiting: now}, reason: unknown, until: now.Add(2 * time.Minute)},
		"all of it has come":                         {s: role.Situation{Self: good, Last: last, Waiting: now, Peers: back(func(o *role.Observation) { o.Position = "0-1-100" })}, eligible: true},
		"it was close, and the last master came back with more": {s: role.Situation{Self: good, Last: last, OwnerSeen: now, Waiting: now, Peers: back(nil)},
			reason: "lacks 2 transactions of db1, the last master", until: now.Add(2 * time.Minute)},
		"it was close, and the last master's last word is of before": {s: role.Situation{Self: good, Last: lastWith("0-1-102"), OwnerSeen: now, Waiting: now, Peers: back(func(o *role.Observation) { o.Writable = true })},
			eligible: true, reason: "lacks 2 transactions of db1"},
		"it was close, and the master's server is gone": {s: role.Situation{Self: good, Last: last, OwnerSeen: now, Waiting: now, Peers: back(func(o *role.Observation) { o.Down = "connection refused" })}, eligible: true},
		"it lagged, and is connected to a master that is back": {s: role.Situation{Self: good, Current: now.Add(-time.Hour), Last: lastWith("0-1-103"), OwnerSeen: now, Waiting: now},
			reason: "lacks 3 transactions of db1, the last master, and waits", until: now.Add(2 * time.Minute)},
		"the last master has lost something":                 {s: role.Situation{Node: "db1", Self: role.Observation{At: now, Position: "0-1-95"}, Last: last, Waiting: now}, eligible: true, reason: "lacks 5 transactions that it had as the master"},
		"nothing is known, and it follows nobody":            {s: role.Situation{Self: role.Observation{At: now, Position: "0-1-5"}, Waiting: now}, eligible: true},
		"nothing is known, and it is a replica of somebody":  {s: role.Situation{Self: role.Observation{At: now, Position: "0-1-5", Following: "db1"}, Waiting: now}, reason: "what it lacks of db1 is not known, and waits for it until 12:02:00 UTC", until: now.Add(2 * time.Minute)},
		"nothing is known, and it has waited for its master": {s: role.Situation{Self: role.Observation{At: now, Position: "0-1-5", Following: "db1"}, Waiting: now.Add(-time.Hour)}, eligible: true, reason: "what it lacks of db1 is not known"},
		"a position that cannot be read":                     {s: role.Situation{Self: good, Last: lastWith("what?"), OwnerSeen: now, Waiting: now}, reason: "a position cannot be read"},
		"another has as much":                                {s: role.Situation{Self: good, Last: last, OwnerSeen: now, Peers: peer("0-1-100", true)}, eligible: true},
		"another has more, and may not":                      {s: role.Situation{Self: good, Last: last, OwnerSeen: now, Peers: peer("0-1-102", false)}, eligible: true},
		"another has less":                                   {s: role.Situation{Self: good, Last: last, OwnerSeen: now, Peers: peer("0-1-99", true)}, eligible: true},
		"another has nonsense":                               {s: role.Situation{Self: good, Last: last, OwnerSeen: now, Peers: peer("nonsense", true)}, eligible: true},
		"the kind of server has changed":                     {s: role.Situation{Self: good, Last: lastWith(uuidA + ":1-5"), OwnerSeen: now.Add(time.Hour), Waiting: now}, reason: "lacks 5 transactions of db1, the last master, and waits", until: now.Add(2 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.s.Node == "" {
				tt.s.Node = "db2"
			}
			tt.s.Now = now
			if tt.s.Current.IsZero() && !tt.s.OwnerSeen.IsZero() {
				tt.s.Current = tt.s.Self.CurrentTo
			}
			v := p.judge(tt.s)
			if v.Eligible != tt.eligible || v.Failed != tt.failed || !v.Until.Equal(tt.until) || !strings.HasPrefix(v.Reason, tt.reason) || (tt.reason == "") != (v.Reason == "") {
				t.Errorf("%+v, want eligible %v, failed %v, until %v, reason %q", v, tt.eligible, tt.failed, tt.until, tt.reason)
			}
			if !v.Eligible && v.Reason == "" {
				t.Error("no reason")
			}
		})
	}
}

func TestPlan(t *testing.T) {
	to := source{host: "10.0.0.1", port: 3306, user: "repl"}
	running := replica{configured: true, host: "10.0.0.1", port: 3306, user: "repl", byGTID: true, receiver: "Yes", applier: true}
	with := func(change func(*replica)) replica { r := running; change(&r); return r }
	master := leaderState{asked: true, writable: true, position: parsed(t, "0-1-100,0-2-110")}
	for name, tt := range map[string]struct {
		has    string
		r      replica
		leader leaderState
		want   move
		tail   string
	}{
		"all is well":                      {"0-1-100,0-2-110", running, master, moveNone, ""},
		"behind":                           {"0-1-90", running, master, moveNone, ""},
		"no replica yet":                   {"0-1-90", replica{}, master, movePoint, ""},
		"of another":                       {"0-1-90", with(func(r *replica) { r.host = "10.0.0.9" }), master, movePoint, ""},
		"another port":                     {"0-1-90", with(func(r *replica) { r.port = 3307 }), master, movePoint, ""},
		"another account":                  {"0-1-90", with(func(r *replica) { r.user = "old" }), master, movePoint, ""},
		"by file and offset":               {"0-1-90", with(func(r *replica) { r.byGTID = false }), master, movePoint, ""},
		"the leader does not answer":       {"0-1-90", replica{}, leaderState{}, moveNone, ""},
		"the leader is not writable yet":   {"0-1-90", replica{}, leaderState{asked: true, position: master.position}, moveNone, ""},
		"of a leader that died":            {"0-1-90", with(func(r *replica) { r.receiver = "Connecting" }), leaderState{}, moveNone, ""},
		"stopped":                          {"0-1-90", with(func(r *replica) { r.receiver, r.applier = "No", false }), master, moveStart, ""},
		"its applier is stopped":           {"0-1-90", with(func(r *replica) { r.applier = false }), master, moveStart, ""},
		"its applier has failed":           {"0-1-90", with(func(r *replica) { r.applier, r.applierErrno = false, 1062 }), master, moveNone, ""},
		"the binary log is gone":           {"0-1-90", with(func(r *replica) { r.receiver, r.receiverErrno = "No", erMasterFatal }), master, moveNone, ""},
		"the password has changed":         {"0-1-90", with(func(r *replica) { r.receiver, r.receiverErrno = "Connecting", erAccessDenied }), master, moveRefresh, ""},
		"a tail, and no replica":           {"0-1-105", replica{}, master, moveNone, "5 transactions here that the master has not (0-1-101 to 0-1-105)"},
		"a tail, and a replica":            {"0-1-105", running, master, moveStop, "5 transactions here that the master has not (0-1-101 to 0-1-105)"},
		"a tail, its receiver stopped":     {"0-1-105", with(func(r *replica) { r.receiver = "No" }), master, moveStop, "5 transactions here that the master has not (0-1-101 to 0-1-105)"},
		"a tail, and stopped":              {"0-1-105", with(func(r *replica) { r.receiver, r.applier = "No", false }), master, moveNone, "5 transactions here that the master has not (0-1-101 to 0-1-105)"},
		"a tail, the leader on the way":    {"0-1-105", replica{}, leaderState{asked: true, position: master.position}, moveNone, ""},
		"something by hand on a standby":   {"0-1-100,0-2-110,0-7-111", running, master, moveStop, "1 transaction here that the master has not (0-7-111)"},
		"the leader was made from nothing": {"0-1-90", running, leaderState{asked: true, writable: true}, moveStop, "90 transactions here that the master has not (0-1-1 to 0-1-90)"},
	} {
		t.Run(name, func(t *testing.T) {
			got, tail := plan(state{position: parsed(t, tt.has), replica: tt.r}, to, tt.leader)
			if got != tt.want || tail != tt.tail {
				t.Errorf("%d, %q; want %d, %q", got, tail, tt.want, tt.tail)
			}
		})
	}
}
