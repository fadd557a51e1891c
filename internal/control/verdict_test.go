package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

func TestProblems(t *testing.T) {
	tests := []struct {
		name     string
		status   control.Status
		severity control.Severity
		want     []string
	}{
		{"all-well", controltest.AllWell(), control.SeverityOK, nil},
		{"draining is no problem", controltest.Draining(), control.SeverityOK, nil},
		{"node-down", controltest.NodeDown(), control.SeverityDegraded, []string{"web1 is down"}},
		{"check-failing", controltest.CheckFailing(), control.SeverityDegraded, []string{
			`check apache fails on web2: HTTP 503 from http://127.0.0.1/ ("Service Unavailable"), expected 200`}},
		{"no-owner", controltest.NoOwner(), control.SeverityNoOwner, []string{
			"web has no owner: no node is eligible",
			"check apache fails on web1: connect 127.0.0.1:80: connection refused",
			`check apache fails on web2: HTTP 503 from http://127.0.0.1/ ("Service Unavailable"), expected 200`}},
		{"minority", controltest.Minority(), control.SeverityNoOwner, []string{
			"web has no owner: no majority answers",
			"db has no owner: no majority answers",
			"web2 is down", "db1 is down",
			"no quorum: web1 hears 1 of 3 voters and needs 2"}},
		{"config-differs", controltest.ConfigDiffers(), control.SeverityDegraded, []string{"config on db1 differs from web1's"}},
		{"maintenance hides the node's checks", controltest.Maintenance(), control.SeverityDegraded, []string{"web2 is in maintenance: kernel update"}},
		{"starting", controltest.Starting(), control.SeverityNoOwner, []string{
			"web has no owner: no majority answers",
			"db has no owner: no majority answers",
			"web2 has not been heard yet", "db1 has not been heard yet",
			"no quorum: web1 hears 1 of 3 voters and needs 2"}},
		{"witness silent", func() control.Status {
			s := controltest.AllWell()
			s.Quorum.Complete, s.Quorum.Detail = false, "the witness 10.0.0.1 does not answer"
			return s
		}(), control.SeverityDegraded, []string{"quorum incomplete: web1 hears 3 of 3 voters: the witness 10.0.0.1 does not answer"}},
		{"fault without a failing check", func() control.Status {
			s := controltest.AllWell()
			s.Nodes[1].Groups["web"] = control.NodeGroup{State: control.StateFault, Reason: "on_active hook failed"}
			return s
		}(), control.SeverityDegraded, []string{"web is in fault on web2: on_active hook failed"}},
		{"optional check", func() control.Status {
			s := controltest.AllWell()
			s.Nodes[1].Checks[0].Status, s.Nodes[1].Checks[0].Required, s.Nodes[1].Checks[0].Message = control.CheckFailing, false, ""
			return s
		}(), control.SeverityDegraded, []string{"check apache fails on web2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range tt.status.Problems() {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if got := tt.status.Severity(); got != tt.severity {
				t.Errorf("severity %v, want %v", got, tt.severity)
			}
		})
	}
}

// A node that is silent, and whose packets cannot be decrypted, has another key; one that was mended, or is simply
// down since, has not.
func TestOtherKey(t *testing.T) {
	s := controltest.OtherKey()
	if ps := s.Problems(); len(ps) == 0 || !strings.Contains(ps[0].String(), "has another gossip key") {
		t.Errorf("got %v", ps)
	}
	s.At = s.At.Add(time.Minute)
	for _, p := range s.Problems() {
		if strings.Contains(p.Text, "key") {
			t.Errorf("a minute later: %v", p)
		}
	}
	alive := controltest.AllWell()
	alive.Nodes[1].Unreadable, alive.Nodes[1].UnreadableAt = 3, alive.At
	if alive.Severity() != control.SeverityOK {
		t.Errorf("a node that is heard: %v", alive.Problems())
	}
}
