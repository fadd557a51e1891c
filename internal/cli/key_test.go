package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
	"github.com/hbagent/hbagent/internal/setup"
	"github.com/hbagent/hbagent/pkg/cluster"
)

func TestKeyStatus(t *testing.T) {
	agree := control.KeyStatus{Cluster: "shop", Node: "web1", At: controltest.Now, Encrypted: true, Agree: true, Nodes: []control.KeyNode{
		{Node: "web1", Alive: true, Keys: &control.NodeKeys{First: "0011aabbccdd"}},
		{Node: "web2", Alive: true, Keys: &control.NodeKeys{First: "0011aabbccdd", Learnt: true}, HeardWith: "0011aabbccdd"},
	}}
	half := control.KeyStatus{Cluster: "shop", Node: "web1", At: controltest.Now, Encrypted: true, Nodes: []control.KeyNode{
		{Node: "web1", Alive: true, Keys: &control.NodeKeys{First: "0011aabbccdd", Others: []string{"ffeeddccbbaa"}, Rotating: "ffeeddccbbaa", Stage: 1}},
		{Node: "web2", Keys: &control.NodeKeys{First: "0011aabbccdd"}, Unreadable: 17, UnreadableAt: controltest.Now},
		{Node: "db1", Alive: true, HeardWith: "0011aabbccdd"},
	}, Warnings: []string{"web2 sends with a key that is not ours"}}
	for _, tt := range []struct {
		golden string
		answer control.KeyStatus
		code   int
	}{
		{"key-agree.txt", agree, exitOK},
		{"key-half.txt", half, exitFailed},
		{"key-none.txt", control.KeyStatus{Cluster: "shop", Node: "web1"}, exitFailed},
	} {
		dir := controltest.Serve(t, controltest.Agent{OnKeyStatus: func(context.Context) (control.KeyStatus, error) { return tt.answer, nil }})
		got := run(t, "key", "status", "--run-dir", dir)
		if got.code != tt.code {
			t.Errorf("%s: %+v", tt.golden, got)
		}
		golden(t, tt.golden, got.stdout)
		got = run(t, "key", "status", "--json", "--run-dir", dir)
		if got.code != tt.code || !strings.Contains(got.stdout, `"warnings": [`) {
			t.Errorf("%s: --json: %+v", tt.golden, got)
		}
	}
}

func TestKeyRotate(t *testing.T) {
	steps := []control.SwitchoverStep{
		{Step: "preflight", State: control.StepOK, Detail: "web1, web2 answer; the new key is ffeeddccbbaa"},
		{Step: "stage 1 of 3", State: control.StepRunning},
		{Step: "stage 1 of 3", State: control.StepOK, Detail: "every node understands the new key"},
	}
	const told = "ok  preflight: web1, web2 answer; the new key is ffeeddccbbaa\n..  stage 1 of 3\nok  stage 1 of 3: every node understands the new key\n"
	for _, tt := range []struct {
		name   string
		args   []string
		result control.KeyRotation
		code   int
		last   string
	}{
		{"rotated", nil, control.KeyRotation{Outcome: control.KeyRotated, Key: "ffeeddccbbaa", Stage: 3}, exitOK,
			"rotated: key ffeeddccbbaa is the only one; each node keeps it in its state directory, `hbagent key write` on each machine puts it into the key file\n"},
		{"without", []string{"--without", "db1", "--without", "db2"},
			control.KeyRotation{Outcome: control.KeyRotated, Key: "ffeeddccbbaa", Stage: 3, Without: []string{"db1", "db2"}}, exitOK,
			"; db1, db2 was left out and needs it by hand: docs/keys.md\n"},
		{"waiting", nil, control.KeyRotation{Outcome: control.KeyWaiting, Key: "ffeeddccbbaa", Stage: 1, Reason: "web2: did not answer"}, exitFailed,
			"half done, and every node still understands the others (stage 1 of 3 is complete): web2: did not answer; `hbagent key rotate` goes on, on any node\n"},
		{"refused", nil, control.KeyRotation{Outcome: control.KeyRefused, Reason: "web2 is down"}, exitFailed, "refused, nothing has changed: web2 is down\n"},
		{"aborted", []string{"--abort"}, control.KeyRotation{Outcome: control.KeyAborted, Key: "ffeeddccbbaa"}, exitOK,
			"given up: key ffeeddccbbaa is forgotten, everything is as before\n"},
		{"of a newer agent", nil, control.KeyRotation{Outcome: "postponed", Reason: "night"}, exitFailed, "ended as \"postponed\", which this version does not know: night\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked control.KeyRotateRequest
			tt.result.Steps = []control.SwitchoverStep{}
			if tt.result.Without == nil {
				tt.result.Without = []string{}
			}
			dir := controltest.Serve(t, controltest.Agent{
				OnKeyRotate: func(_ context.Context, req control.KeyRotateRequest, progress func(control.SwitchoverStep)) (control.KeyRotation, error) {
					asked = req
					for _, s := range steps {
						progress(s)
					}
					return tt.result, nil
				},
			})
			got := run(t, append([]string{"key", "rotate", "--run-dir", dir}, tt.args...)...)
			if got.code != tt.code || !strings.HasPrefix(got.stdout, told) || !strings.HasSuffix(got.stdout, tt.last) {
				t.Errorf("code %d, want %d; stderr %q; stdout\n%swant at the end\n%s", got.code, tt.code, got.stderr, got.stdout, tt.last)
			}
			want := control.KeyRotateRequest{Abort: tt.name == "aborted"}
			if tt.name == "without" {
				want.Without = []string{"db1", "db2"}
			}
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			got = run(t, append([]string{"key", "rotate", "--json", "--run-dir", dir}, tt.args...)...)
			var back control.KeyRotation
			if err := json.Unmarshal([]byte(got.stdout), &back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.result, back); diff != "" || got.code != tt.code {
				t.Errorf("--json: code %d; (-want +got):\n%s", got.code, diff)
			}
		})
	}
	if got := run(t, "key", "rotate", "--abort", "--without", "web1"); got.code != exitUsage {
		t.Errorf("--abort --without: %+v", got)
	}
	dir := controltest.Serve(t, controltest.Agent{
		OnKeyRotate: func(context.Context, control.KeyRotateRequest, func(control.SwitchoverStep)) (control.KeyRotation, error) {
			return control.KeyRotation{}, control.Errorf(control.CodeConflict, "a rotation is being carried out on web1 already")
		},
	})
	if got := run(t, "key", "rotate", "--run-dir", dir); got.code != exitFailed || !strings.Contains(got.stderr, "being carried out on web1") {
		t.Errorf("conflict: %+v", got)
	}
}

// What a rotation has left in the state directory goes into the key file, once.
func TestKeyWrite(t *testing.T) {
	dir := t.TempDir()
	oldKey, newKey := []byte(strings.Repeat("a", 32)), []byte(strings.Repeat("b", 32))
	keyFile, configFile, saved := filepath.Join(dir, "gossip.key"), filepath.Join(dir, "hbagent.toml"), filepath.Join(dir, "keys.json")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	save := func(rest string) {
		write(saved, fmt.Sprintf(`{"base": [%q], "keys": [%q]%s}`, cluster.KeyFingerprint(oldKey), base64.StdEncoding.EncodeToString(newKey), rest))
	}
	write(keyFile, base64.StdEncoding.EncodeToString(oldKey)+"\n")
	write(configFile, fmt.Sprintf("[cluster]\nname = \"shop\"\nkey_file = %q\n[[node]]\nname = \"web1\"\naddress = \"10.0.0.11\"\n", keyFile))
	reloads := 0
	runDir := controltest.Serve(t, controltest.Agent{OnReload: func(context.Context, bool) (control.ReloadResult, error) {
		reloads++
		return control.ReloadResult{}, nil
	}})
	cmd := []string{"key", "write", "-c", configFile, "--state-dir", dir, "--run-dir", runDir}

	if got := run(t, cmd...); got.code != exitOK || !strings.Contains(got.stdout, "nothing to write") || reloads != 0 {
		t.Errorf("nothing learnt: %+v, %d reloads", got, reloads)
	}
	save(fmt.Sprintf(`, "new": %q, "stage": 2`, cluster.KeyFingerprint(newKey)))
	if got := run(t, cmd...); got.code != exitFailed || !strings.Contains(got.stderr, "is half done (stage 2 of 3)") {
		t.Errorf("half done: %+v", got)
	}
	write(saved, "{")
	if got := run(t, cmd...); got.code != exitFailed || !strings.Contains(got.stderr, "it is damaged") {
		t.Errorf("damaged: %+v", got)
	}
	save("")
	// Who sets the site up again copies the key file to the others: not the old one.
	a, _ := testApp(t)
	var said strings.Builder
	a.stderr = &said
	if err := (&installer{interview: &interview{app: a, s: &setup.Setup{KeyFile: keyFile}}, stateDir: dir}).key(); err != nil || !strings.Contains(said.String(), "`hbagent key write` before you copy it") {
		t.Errorf("init beside a rotation: %v, said %q", err, said.String())
	}
	got := run(t, cmd...)
	if want := keyFile + " has key " + cluster.KeyFingerprint(newKey) + " now\n"; got.code != exitOK || got.stdout != want || reloads != 1 {
		t.Errorf("%+v, %d reloads, want %q", got, reloads, want)
	}
	b, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	want := "# written by `hbagent key write` on " + controltest.Now.Format(time.DateOnly) + "; key " + cluster.KeyFingerprint(newKey) + " encrypts\n" +
		base64.StdEncoding.EncodeToString(newKey) + "\n"
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("key file (-want +got):\n%s", diff)
	}
	if got := run(t, cmd...); got.code != exitOK || !strings.Contains(got.stdout, "nothing to write") {
		t.Errorf("again: %+v", got)
	}
	// An agent that does not read it, because of something else, is no silent success.
	write(keyFile, base64.StdEncoding.EncodeToString(oldKey)+"\n")
	waits := controltest.Serve(t, controltest.Agent{OnReload: func(context.Context, bool) (control.ReloadResult, error) {
		return control.ReloadResult{NeedsRestart: []string{"node web1: address"}}, nil
	}})
	if got := run(t, "key", "write", "-c", configFile, "--state-dir", dir, "--run-dir", waits); got.code != exitFailed || !strings.Contains(got.stderr, "needs a restart (node web1: address)") {
		t.Errorf("an edited config: %+v", got)
	}
	// Without an agent it is written all the same.
	write(keyFile, base64.StdEncoding.EncodeToString(oldKey)+"\n")
	if got := run(t, "key", "write", "-c", configFile, "--state-dir", dir, "--run-dir", t.TempDir()); got.code != exitOK || !strings.Contains(got.stdout, "has key") {
		t.Errorf("no agent: %+v", got)
	}
}

func TestKeyRotateInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := controltest.Serve(t, controltest.Agent{
		OnKeyRotate: func(agentCtx context.Context, _ control.KeyRotateRequest, _ func(control.SwitchoverStep)) (control.KeyRotation, error) {
			cancel()
			<-agentCtx.Done() // the end of the server
			return control.KeyRotation{}, agentCtx.Err()
		},
	})
	a, _ := testApp(t)
	var stderr strings.Builder
	a.stderr = &stderr
	code := a.run(ctx, []string{"key", "rotate", "--run-dir", dir})
	if want := "the agent goes on with the rotation"; code != exitFailed || !strings.Contains(stderr.String(), want) {
		t.Errorf("code %d, stderr %q; want 1 and %q", code, stderr.String(), want)
	}
}
