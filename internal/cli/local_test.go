package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control/controltest"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/pkg/vip"
)

func TestKeygen(t *testing.T) {
	t.Run("stdout", func(t *testing.T) {
		one, two := run(t, "keygen"), run(t, "keygen")
		key, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(one.stdout, "\n"))
		if err != nil || len(key) != 32 || one.stdout == two.stdout {
			t.Errorf("got %q and %q (%v), want two different keys of 32 bytes", one.stdout, two.stdout, err)
		}
	})
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "gossip.key")
		if got := run(t, "keygen", "-o", path); got.code != exitOK || got.stdout != "" {
			t.Fatalf("got %+v", got)
		}
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o640 {
			t.Errorf("mode %o, want 640", fi.Mode().Perm())
		}
		keys, err := config.ReadKeys(path)
		if err != nil || len(keys) != 1 || len(keys[0]) != 32 {
			t.Errorf("the agent reads %v (%v), want one key of 32 bytes", keys, err)
		}

		before := readFile(t, path)
		got := run(t, "keygen", "-o", path)
		if got.code != exitFailed || !strings.Contains(got.stderr, "--force") || readFile(t, path) != before {
			t.Errorf("got %+v, want that the key stays", got)
		}
		if got := run(t, "keygen", "-o", path, "--force"); got.code != exitOK || readFile(t, path) == before {
			t.Errorf("got %+v, want a new key", got)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(entries) != 1 {
			t.Errorf("left behind: %v (%v)", entries, err)
		}
	})
	t.Run("for the agent", func(t *testing.T) {
		gid := os.Getgid()
		if os.Geteuid() == 0 {
			gid = 54321 // only root can give to a group that it is not in
		}
		path := filepath.Join(t.TempDir(), "gossip.key")
		for _, args := range [][]string{nil, {"--force"}} {
			a, run := testApp(t)
			a.neighbors.groupOfAgent = func() int { return gid }
			if got := run(append([]string{"keygen", "-o", path}, args...)...); got.code != exitOK {
				t.Fatalf("got %+v", got)
			}
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if st := fi.Sys().(*syscall.Stat_t); int(st.Gid) != gid || fi.Mode().Perm() != 0o640 {
				t.Errorf("%v: group %d, mode %o, want %d, 640", args, st.Gid, fi.Mode().Perm(), gid)
			}
		}
	})
	t.Run("no directory", func(t *testing.T) {
		if got := run(t, "keygen", "-o", filepath.Join(t.TempDir(), "no", "key")); got.code != exitFailed || got.stderr == "" {
			t.Errorf("got %+v, want code 1", got)
		}
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConfig(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "hbagent.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	example := run(t, "config", "example")
	if example.code != exitOK || example.stdout != config.Example() {
		t.Error("config example does not print the example")
	}
	if got := run(t, "config", "reference"); got.code != exitOK || got.stdout != config.Reference() {
		t.Error("config reference does not print the reference")
	}
	if got := run(t, "config", "check", write(example.stdout)); got.code != exitOK || !strings.HasPrefix(got.stdout, "ok: cluster ") {
		t.Errorf("the example is not good: %+v", got)
	}
	path := write(strings.Replace(example.stdout, "[cluster]", "[clutser]", 1))
	if got := run(t, "config", "check", path); got.code != exitFailed || got.stdout != "" || !strings.HasPrefix(got.stderr, path+":") {
		t.Errorf("got %+v, want the problem with file and line on stderr", got)
	}
	if got := run(t, "config", "check", path+".not"); got.code != exitFailed || got.stderr == "" {
		t.Errorf("got %+v, want that there is no such file", got)
	}
}

func TestCleanup(t *testing.T) {
	var spared []string // of the groups that the run directory records
	a := func(t *testing.T, env map[string]string) func(...string) result {
		spared = nil
		a, run := testApp(t)
		a.getenv = func(name string) string { return env[name] }
		a.neighbors.resumableGroups = func(string) ([]string, error) { return []string{"web"}, nil }
		a.neighbors.cleanup = func(_ string, spare func(string) bool) ([]vip.Removed, error) {
			var removed []vip.Removed
			for group, addr := range map[string]string{"web": "10.0.0.50", "db": "10.0.0.60"} {
				if spare(group) {
					spared = append(spared, group)
				} else if group == "db" {
					removed = append(removed, vip.Removed{Group: group, Interface: "eth0", Addr: netip.MustParseAddr(addr)})
				}
			}
			return removed, nil
		}
		return run
	}
	const removedDB = "removed 10.0.0.60 from eth0 (group db)\n"
	afterStop := map[string]string{envServiceResult: "success"}

	t.Run("by hand it spares nothing", func(t *testing.T) {
		got := a(t, nil)("cleanup", "--run-dir", t.TempDir())
		if got.code != exitOK || got.stdout != removedDB || spared != nil {
			t.Errorf("got %+v, spared %v", got, spared)
		}
	})
	t.Run("after a stop it spares what can be resumed", func(t *testing.T) {
		got := a(t, afterStop)("cleanup", "--run-dir", t.TempDir())
		if got.code != exitOK || got.stdout != removedDB || len(spared) != 1 || spared[0] != "web" {
			t.Errorf("got %+v, spared %v", got, spared)
		}
	})
	t.Run("after a start with a bad config it spares nothing", func(t *testing.T) {
		got := a(t, map[string]string{envServiceResult: "exit-code", envExitStatus: "78"})("cleanup", "--run-dir", t.TempDir())
		if got.code != exitOK || got.stdout != removedDB || spared != nil {
			t.Errorf("got %+v, spared %v", got, spared)
		}
	})
	t.Run("after a crash it spares what can be resumed", func(t *testing.T) {
		got := a(t, map[string]string{envServiceResult: "signal", envExitStatus: "KILL"})("cleanup", "--run-dir", t.TempDir())
		if got.code != exitOK || len(spared) != 1 {
			t.Errorf("got %+v, spared %v", got, spared)
		}
	})
	t.Run("a record that cannot be read spares nothing", func(t *testing.T) {
		app, run := testApp(t)
		app.getenv = func(name string) string { return afterStop[name] }
		app.neighbors.resumableGroups = func(string) ([]string, error) { return nil, errors.New("damaged") }
		app.neighbors.cleanup = func(_ string, spare func(string) bool) ([]vip.Removed, error) {
			if spare("web") {
				t.Error("web is spared")
			}
			return nil, nil
		}
		if got := run("cleanup", "--run-dir", t.TempDir()); got.code != exitOK || got.stdout != "nothing to remove\n" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("services become read-only, but for what may be resumed", func(t *testing.T) {
		app, run := testApp(t)
		app.getenv = func(name string) string { return afterStop[name] }
		app.neighbors.resumableGroups = func(string) ([]string, error) { return []string{"web"}, nil }
		app.neighbors.cleanup = func(string, func(string) bool) ([]vip.Removed, error) { return nil, nil }
		failure := error(nil)
		app.neighbors.deactivate = func(o agent.Options, spare func(string) bool) ([]string, error) {
			if o.ConfigFile != "/c" || !spare("web") || spare("db") {
				t.Errorf("config %s, spared: web %v, db %v", o.ConfigFile, spare("web"), spare("db"))
			}
			return []string{"db"}, failure
		}
		got := run("cleanup", "-c", "/c", "--run-dir", t.TempDir())
		if got.code != exitOK || got.stdout != "read-only: the service of db\n" {
			t.Errorf("got %+v", got)
		}
		failure = errors.New("no answer")
		if got := run("cleanup", "-c", "/c", "--run-dir", t.TempDir()); got.code != exitFailed || !strings.Contains(got.stderr, "no answer") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("leaves a running agent alone", func(t *testing.T) {
		dir := t.TempDir()
		lock, err := os.Create(filepath.Join(dir, "lock"))
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		if got := a(t, nil)("cleanup", "--run-dir", dir); got.code != exitFailed || got.stdout != "" || !strings.Contains(got.stderr, "an agent is running") {
			t.Errorf("got %+v", got)
		}
		if got := a(t, nil)("cleanup", "--force", "--run-dir", dir); got.code != exitOK || got.stdout != removedDB {
			t.Errorf("--force: got %+v", got)
		}
	})
	t.Run("no run directory", func(t *testing.T) {
		if got := a(t, nil)("cleanup", "--run-dir", filepath.Join(t.TempDir(), "none")); got.code != exitOK || !strings.HasPrefix(got.stdout, "nothing to remove") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("failure", func(t *testing.T) {
		app, run := testApp(t)
		app.neighbors.cleanup = func(string, func(string) bool) ([]vip.Removed, error) {
			return nil, errors.New("needs CAP_NET_ADMIN")
		}
		if got := run("cleanup", "--run-dir", t.TempDir()); got.code != exitFailed || got.stderr != "hbagent: clean up: needs CAP_NET_ADMIN\n" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAgent(t *testing.T) {
	t.Run("passes everything on", func(t *testing.T) {
		a, run := testApp(t)
		a.getenv = func(name string) string { return map[string]string{"JOURNAL_STREAM": "8:1"}[name] }
		a.neighbors.runAgent = func(_ context.Context, o agent.Options) error {
			o.Logger.Debug("ready", "run_dir", o.RunDir, "state_dir", o.StateDir, "config", o.ConfigFile, "node", o.Node)
			return nil
		}
		got := run("agent", "-c", "/c", "--node", "web1", "--run-dir", "/r", "--state-dir", "/s", "--log-level", "debug", "--log-format", "json")
		want := `{"level":"DEBUG","msg":"ready","run_dir":"/r","state_dir":"/s","config":"/c","node":"web1"}` + "\n"
		if got != (result{exitOK, "", want}) {
			t.Errorf("got %+v, want on stderr %s", got, want)
		}
	})
	t.Run("fails in one line", func(t *testing.T) {
		a, run := testApp(t)
		a.neighbors.runAgent = func(context.Context, agent.Options) error { return errors.New("needs CAP_NET_ADMIN") }
		if got := run("agent"); got != (result{exitFailed, "", "hbagent: needs CAP_NET_ADMIN\n"}) {
			t.Errorf("got %+v", got)
		}
	})
}

// hbagent.service leaves an agent down that exits with 78, and starts it again after anything else.
func TestAgentThatMustNotBeStartedAgain(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unit, err := os.ReadFile("../../deploy/systemd/hbagent.service")
	if err != nil || !strings.Contains(string(unit), fmt.Sprintf("\nRestartPreventExitStatus=%d\n", exitConfig)) {
		t.Errorf("hbagent.service does not know exit code %d (%v)", exitConfig, err)
	}
	config := func(key string) string {
		return strings.ReplaceAll(`[cluster]
name = "shop"
key_file = "KEY"
[[node]]
name = "a"
address = "127.0.0.1"
[[node]]
name = "b"
address = "127.0.0.2"
[[node]]
name = "c"
address = "127.0.0.3"
`, "KEY", key)
	}
	for _, tt := range []struct{ name, path, want string }{
		{"no file", filepath.Join(dir, "none.toml"), "none.toml"},
		{"a typing error", file("typo.toml", "[cluster]\nnmae = \"shop\"\n"), "typo.toml:2:1"},
		{"no key", file("nokey.toml", config(filepath.Join(dir, "none.key"))), "hbagent keygen"},
		{"a bad key", file("badkey.toml", config(file("bad.key", "not a key\n"))), "bad.key"},
	} {
		a, run := testApp(t)
		a.neighbors.runAgent = agent.Run // none of these gets as far as to touch the machine
		got := run("agent", "-c", tt.path, "--node", "a", "--run-dir", filepath.Join(dir, "run"), "--state-dir", filepath.Join(dir, "state"))
		if got.code != exitConfig || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: got %+v, want code %d and %q", tt.name, got, exitConfig, tt.want)
		}
	}
}

func TestDemo(t *testing.T) {
	a, run := testApp(t)
	a.neighbors.runDemo = func(_ context.Context, o lab.DemoOptions) error {
		self, err := os.Executable()
		if err != nil || o.Self != self || !o.JSON || !o.Keep || o.Out == nil || o.Err == nil {
			t.Errorf("got %+v (%v)", o, err)
		}
		return lab.ErrDemoFailed
	}
	if got := run("demo", "--json", "--keep"); got != (result{exitFailed, "", "hbagent: the demo failed\n"}) {
		t.Errorf("got %+v", got)
	}
}

func TestVersion(t *testing.T) {
	if got := run(t, "version"); got.code != exitOK || !strings.HasPrefix(got.stdout, "hbagent dev (commit ") {
		t.Errorf("got %+v", got)
	}
	var v versionInfo
	if err := json.Unmarshal([]byte(run(t, "version", "--json").stdout), &v); err != nil || v.Version != "dev" || v.Go != runtime.Version() {
		t.Errorf("got %+v (%v)", v, err)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := run(t, "completion", shell); got.code != exitOK || !strings.Contains(got.stdout, "hbagent") {
			t.Errorf("%s: code %d, %d bytes", shell, got.code, len(got.stdout))
		}
	}
	got := run(t, "__complete", "switchover", "--run-dir", serveStatus(t, controltest.AllWell()), "")
	if !strings.HasPrefix(got.stdout, "web\ndb\n") {
		t.Errorf("groups are not offered: %+v", got)
	}
}
