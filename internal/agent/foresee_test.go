package agent

import (
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
)

// Three candidates and what the policy knows besides their health. Nothing here
// decides anew: each line is a line of TestDecide, seen from outside.
func TestForesee(t *testing.T) {
	up := Peer{Alive: true, Since: ago(time.Hour), Fitness: Fitness{Eligible: true, Since: ago(time.Hour)}}
	gone := Peer{Since: noon}
	sick := Peer{Alive: true, Since: ago(time.Hour), Fitness: Fitness{Reason: "check web fails"}}
	waiting := Peer{Alive: true, Since: ago(time.Hour), Fitness: Fitness{Reason: "healthy again, but not yet for 10s"}}
	for _, tt := range []struct {
		name string
		edit func(*future)
		want []string // outcome, after, cause, next
	}{
		{"all well", func(*future) {}, []string{"stays", "web2", "", "web1"}},
		{"owner down: the first that is left", func(f *future) { f.s.Peers["web2"] = gone }, []string{"moves", "web1", "dead-owner", "web3"}},
		{"owner down, the first is sick", func(f *future) { f.s.Peers["web2"], f.s.Peers["web1"] = gone, sick }, []string{"moves", "web3", "dead-owner", ""}},
		{"owner sick, the first is down", func(f *future) {
			f.s.Peers["web2"], f.s.Peers["web1"], f.unfit["web2"] = sick, gone, true
		}, []string{"moves", "web3", "health", ""}},
		{"owner in maintenance", func(f *future) {
			f.s.Peers["web2"], f.off["web2"] = Peer{Alive: true, Fitness: Fitness{Reason: "in maintenance: x"}}, true
		}, []string{"moves", "web1", "maintenance", "web3"}},
		{"owner in maintenance, nobody else can", func(f *future) {
			f.s.Peers = map[string]Peer{"web1": gone, "web2": {Alive: true, Fitness: Fitness{Reason: "in maintenance: x"}}, "web3": sick}
			f.off["web2"] = true
		}, []string{"stays", "web2", "", ""}},
		{"failback", func(f *future) { f.s.Group.Failback = true }, []string{"moves", "web1", "failback", "web2"}},
		{"failback, after a person moved it", func(f *future) { f.s.Group.Failback, f.s.Cause = true, CauseSwitchover }, []string{"stays", "web2", "", "web1"}},
		{"nobody had it", func(f *future) { f.owner, f.s.Holder = "", "" }, []string{"moves", "web1", "start", "web2"}},
		{"let go of", func(f *future) { f.owner = "" }, []string{"moves", "web1", "released", "web2"}},
		{"last resort", func(f *future) {
			f.owner = ""
			f.s.Peers = map[string]Peer{"web1": gone, "web2": sick, "web3": sick}
			f.unfit["web2"], f.able["web2"] = true, true
		}, []string{"moves", "web2", "released", ""}},
		{"owner down, the only other one waits for hold", func(f *future) {
			f.s.Peers = map[string]Peer{"web1": waiting, "web2": gone, "web3": sick}
			f.waits["web1"] = true
		}, []string{"moves", "web1", "dead-owner", ""}},
		{"nobody is left", func(f *future) { f.s.Peers = map[string]Peer{"web1": gone, "web2": gone, "web3": sick} }, []string{"nobody", "", "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := future{
				groupView: groupView{owner: "web2", s: Situation{
					Group:  config.Group{Name: "web", Nodes: []string{"web1", "web2", "web3"}, Hold: 10 * time.Second, MaxMoves: config.Budget{Count: 4, Per: 10 * time.Minute}},
					Holder: "web2", HeldSince: ago(10 * time.Minute), Now: noon, Peers: map[string]Peer{"web1": up, "web2": up, "web3": up},
				}},
				ttl: testTTL, unfit: map[string]bool{}, able: map[string]bool{}, off: map[string]bool{}, waits: map[string]bool{},
			}
			tt.edit(&f)
			g := f.foresee()
			diff(t, "plan", []string{string(g.Outcome), g.After, g.Cause, g.NextOwner}, tt.want)
			if g.Outcome == control.PlanStays != (g.Gap == "none") || g.Outcome == control.PlanNobody != (g.GapMs == control.GapOpen) {
				t.Errorf("the gap of %+v", g)
			}
		})
	}
}

// A peer that refuses for what only it knows (its role, its link) is no heir, though no check speaks against it: hold is
// not what it waits for.
func TestForeseeARoleThatRefuses(t *testing.T) {
	for _, tt := range []struct {
		reason string
		want   control.PlanOutcome
	}{
		{"healthy again, but not yet for 10s", control.PlanMoves},
		{"11s behind db1, more than max_lag (10s)", control.PlanNobody},
		{"interface eth0 has no link", control.PlanNobody},
	} {
		group := config.Group{Name: "db", Nodes: []string{"db1", "db2"}, Hold: 10 * time.Second}
		o := outlook{
			cfg: &config.Config{Nodes: []config.Node{{Name: "db1"}, {Name: "db2"}, {Name: "vote"}}}, node: "vote", now: noon, ttl: testTTL,
			voters: []string{"db1", "db2", "vote"}, needed: 2,
			nodes: map[string]nodeView{"db1": {alive: true}, "db2": {alive: true}, "vote": {alive: true}},
		}
		o.groups = []groupView{{owner: "db1", s: Situation{Group: group, Holder: "db1", Now: noon, Peers: map[string]Peer{
			"db1": {Alive: true, Fitness: Fitness{Eligible: true}},
			"db2": {Alive: true, Fitness: Fitness{Reason: tt.reason}},
		}}}}
		got := o.foresee(control.PlanRequest{Down: []string{"db1"}}).Groups[0]
		diff(t, tt.reason, got.Outcome, tt.want)
	}
}
