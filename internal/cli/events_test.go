package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// night is the history of a cluster in which web2 took over, and db1 does not answer.
func night() control.History {
	at := func(seconds int) time.Time { return controltest.Now.Add(time.Duration(seconds) * time.Second) }
	return control.History{
		Events: []control.Event{
			{At: at(-3600), Node: "web1", Seq: 1, Kind: "started", Detail: "version 0.4.0"},
			{At: at(-95), Node: "web2", Seq: 4, Group: "web", Kind: "owner", From: "web1", To: "web2", Epoch: 9, Reason: "web1 was not heard for 1s", Detail: "dead-owner",
				Accounts: []control.Account{{At: at(-96), Node: "db1", Seq: 7, From: "web1", Reason: "the last owner was not heard"}}},
			{At: at(-94), Node: "web2", Seq: 5, Group: "web", Kind: "owner", From: "web2", Reason: "check fails", Detail: "apache"},
		},
		Sources: []control.EventSource{{Node: "web1"}, {Node: "web2", SkewMs: -3210}, {Node: "db1", Error: "is down"}},
	}
}

func TestEvents(t *testing.T) {
	live := make(chan control.Event)
	var asked control.EventQuery
	dir := controltest.Serve(t, controltest.Agent{
		OnEvents: func(_ context.Context, q control.EventQuery) (control.History, error) {
			asked = q
			return night(), nil
		},
		OnFollow: func(context.Context) (<-chan control.Event, error) { return live, nil },
	})
	const said = "hbagent: the clock of web2 is 3.2 s behind this node's; its lines have its own times\n" +
		"hbagent: nothing from db1, or not all: is down\n"
	for _, tt := range []struct {
		name string
		args []string
		want control.EventQuery
	}{
		{"events.txt", nil, control.EventQuery{Cluster: true, Max: 1000}},
		{"events.txt", []string{"--since", "12h", "-n", "7"}, control.EventQuery{Cluster: true, Max: 7, Since: controltest.Now.Add(-12 * time.Hour)}},
		{"events-all.txt", []string{"--all"}, control.EventQuery{Cluster: true, Max: 1000}},
		{"events.txt", []string{"--node", "web2"}, control.EventQuery{Node: "web2", Max: 1000}},
		{"events.txt", []string{"--local"}, control.EventQuery{Max: 1000}},
	} {
		got := run(t, append([]string{"events", "--run-dir", dir}, tt.args...)...)
		if got.code != exitOK || got.stderr != said {
			t.Errorf("%q: code %d, stderr %q, want %q", tt.args, got.code, got.stderr, said)
		}
		golden(t, tt.name, got.stdout)
		if diff := cmp.Diff(tt.want, asked); diff != "" {
			t.Errorf("%q: the agent was asked (-want +got):\n%s", tt.args, diff)
		}
	}
	t.Run("json", func(t *testing.T) {
		got := run(t, "events", "--json", "--run-dir", dir)
		var back []control.Event
		for line := range strings.Lines(got.stdout) {
			var e control.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			back = append(back, e)
		}
		if diff := cmp.Diff(night().Events, back); diff != "" || got.stderr != said {
			t.Errorf("stderr %q; events (-want +got):\n%s", got.stderr, diff)
		}
	})
	t.Run("follow until Ctrl-C", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, _ := testApp(t)
		out := &onWrite{when: "Ctrl-C now", do: cancel}
		var stderr strings.Builder
		a.stdout, a.stderr = out, &stderr
		go func() { live <- control.Event{At: controltest.Now, Node: "web1", Kind: "note", Detail: "Ctrl-C now"} }()
		code := a.run(ctx, []string{"events", "--follow", "--since", "12h", "--run-dir", dir})
		if code != exitOK || !strings.Contains(out.String(), "web1 -> web2: web1 was not heard for 1s") || stderr.String() != said {
			t.Errorf("code %d, stderr %q, stdout %s", code, stderr.String(), out.String())
		}
	})
}

func TestEventsOfOneNodeThatIsMissing(t *testing.T) {
	dir := controltest.Serve(t, controltest.Agent{OnEvents: func(context.Context, control.EventQuery) (control.History, error) {
		return control.History{Sources: []control.EventSource{{Node: "db1", Error: "is down"}}}, nil
	}})
	if got := run(t, "events", "--node", "db1", "--run-dir", dir); got.code != exitFailed || !strings.Contains(got.stderr, "nothing from db1, or not all: is down") {
		t.Errorf("got %+v", got)
	}
}

func TestEventsOfAnOlderAgent(t *testing.T) {
	dir := controltest.Serve(t, controltest.Agent{})
	if got := run(t, "events", "--run-dir", dir); got.code != exitOK || !strings.Contains(got.stderr, "its own history only") {
		t.Errorf("got %+v", got)
	}
	if got := run(t, "events", "--local", "--run-dir", dir); got.code != exitOK || got.stderr != "" {
		t.Errorf("got %+v", got)
	}
}

func TestFlagValuesAreCompleted(t *testing.T) {
	dir := controltest.Serve(t, controltest.Agent{OnStatus: func(context.Context) (control.Status, error) { return controltest.AllWell(), nil }})
	for _, tt := range []struct {
		args string
		want string
	}{
		{"plan --down ", "web1 web2 db1"},
		{"plan --fail ", "apache@web1 apache@web2 mysql@web2 mysql@db1"},
		{"events --node ", "web1 web2 db1"},
		{"maintenance on --node ", "web1 web2 db1"},
		{"switchover web --to ", "web1 web2"},
		{"switchover db --to ", "web2 db1"},
		{"switchover --to ", "web1 web2 db1"},
		{"status ", "web db"},
	} {
		got := run(t, append([]string{"__complete", "--run-dir", dir}, strings.Split(tt.args, " ")...)...)
		lines := strings.Split(got.stdout, "\n")
		words := strings.Join(lines[:max(len(lines)-2, 0)], " ")
		if got.code != exitOK || words != tt.want {
			t.Errorf("%q: %q, want %q (%+v)", tt.args, words, tt.want, got)
		}
	}
}
