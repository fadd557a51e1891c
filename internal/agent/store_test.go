package agent

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/pkg/lease"
)

var testRecord = lease.Record{
	Cluster: "shop", Node: "web1", RunID: 7, Generation: 1, TTL: testTTL,
	Promises: []lease.PromiseRecord{{Group: "web", Holder: "web1", RunID: 7, Epoch: 3, Highest: 4}},
	Holds:    []lease.HoldRecord{{Group: "web", Epoch: 3}},
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s := &store{path: filepath.Join(dir, recordName), bootID: "boot 1"}
	load := func(s *store) *lease.Record {
		t.Helper()
		r, err := s.load()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	diff(t, "nothing written", load(s), (*lease.Record)(nil))
	if err := s.save(testRecord); err != nil {
		t.Fatal(err)
	}
	diff(t, "the same boot", load(s), &testRecord)
	diff(t, "another boot", load(&store{path: s.path, bootID: "boot 2"}), (*lease.Record)(nil))

	for _, damaged := range []string{"", "{", "null ", `{"boot_id": 7}`, "\x00\x00"} {
		if err := os.WriteFile(s.path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := s.load(); r != nil || err == nil && damaged != "null " {
			t.Errorf("record %q: %+v, %v", damaged, r, err)
		}
	}
	if err := (&store{path: filepath.Join(dir, "missing", recordName)}).save(testRecord); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("saving into a directory that is gone: %v", err)
	}
}

func TestResumableGroups(t *testing.T) {
	t.Setenv(EnvBootID, "boot 1")
	dir := t.TempDir()
	groups, err := ResumableGroups(dir)
	if err != nil || groups != nil {
		t.Errorf("nothing written: %v, %v", groups, err)
	}
	if err := (&store{path: filepath.Join(dir, recordName), bootID: "boot 1"}).save(testRecord); err != nil {
		t.Fatal(err)
	}
	groups, err = ResumableGroups(dir)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "groups", groups, []string{"web"})
	t.Setenv(EnvBootID, "boot 2")
	if groups, err = ResumableGroups(dir); err != nil || groups != nil {
		t.Errorf("another boot: %v, %v", groups, err)
	}
}

func TestBootID(t *testing.T) {
	t.Setenv(EnvBootID, "")
	first, err := bootID()
	if err != nil || len(first) != 36 {
		t.Fatalf("boot id %q, %v", first, err)
	}
	again, _ := bootID()
	diff(t, "boot id, again", again, first)
}

func TestClocks(t *testing.T) {
	// CLOCK_BOOTTIME counts what CLOCK_MONOTONIC counts, and the time in between.
	mono, boot := monotonicTime(), bootTime()
	if mono <= 0 || boot < mono {
		t.Errorf("boot time %v, monotonic %v", boot, mono)
	}
}

func TestMachineState(t *testing.T) {
	cfg := parse(t, testConfig)
	dir := filepath.Join(t.TempDir(), "state")
	first, err := readState(dir)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "the first time", first, machineState{})
	this := first.next(cfg, listOf(cfg), noon)
	diff(t, "this", this, machineState{Incarnation: uint64(noon.UnixNano()), TTL: testTTL, Voters: cfg.Voters(), Generation: 1})
	if err := this.write(dir); err != nil {
		t.Fatal(err)
	}
	last, err := readState(dir)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "last", last, this)
	// The wall clock went back over a boot: the incarnation grows all the same.
	diff(t, "next", last.next(cfg, listOf(cfg), noon.Add(-time.Hour)).Incarnation, this.Incarnation+1)

	path := filepath.Join(dir, stateName)
	for text, ttl := range map[string]time.Duration{
		"{":                            0,
		`{"ttl_ns": -5}`:               lease.MaxTTL,
		`{"ttl_ns": 9000000000}`:       9 * time.Second,
		`{"ttl_ns": 9000000000000000}`: lease.MaxTTL,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if last, err := readState(dir); err != nil || last.TTL != ttl {
			t.Errorf("state %q: %+v, %v; want a last ttl of %v", text, last, err, ttl)
		}
	}
	if _, err := readState(filepath.Join(path, "below a file")); err == nil {
		t.Error("a state directory that cannot be made is no error")
	}
}

// A list of voters may be one step from that of the last run, with the next
// generation: a restart is no way around the rule of the reload.
func TestVotersSinceTheLastRun(t *testing.T) {
	cfg := parse(t, testConfig)
	for _, tt := range []struct {
		name       string
		voters     []string
		generation uint64
		ok         bool
	}{
		{"the first run", nil, 0, true},
		{"the same", cfg.Voters(), 1, true},
		{"one less before", []string{"web1", "web2"}, 0, true}, // a state of before lists were kept
		{"another list of the same generation", []string{"web1", "web2"}, 1, false},
		{"two replaced", []string{"web1", "x", "y"}, 1, false},
		{"a generation back", cfg.Voters(), 2, false},
	} {
		err := machineState{Voters: tt.voters, Generation: tt.generation}.checkVoters(cfg)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--new-voters") {
			t.Errorf("%s: no way out is named: %v", tt.name, err)
		}
	}
}

func TestLockRunDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	first, err := LockRunDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockRunDir(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("a second agent: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := LockRunDir(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}

// A start that fails gives back what it has taken, and says why.
func TestStartThatFails(t *testing.T) {
	dir := t.TempDir()
	o := Options{
		ConfigFile: filepath.Join(dir, "hbagent.toml"), Node: "web1", RunDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state"),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if err := Run(t.Context(), o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a config: %v", err)
	}
	// 192.0.2.1 (RFC 5737) is no address of this machine.
	if err := os.WriteFile(o.ConfigFile, []byte(edited(t, "10.0.0.11", "192.0.2.1")), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := LockRunDir(o.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), o); !errors.Is(err, ErrRunning) {
		t.Errorf("beside another agent: %v", err)
	}
	lock.Close()
	if err := Run(t.Context(), o); err == nil {
		t.Error("it runs on an address of another machine")
	}
	if lock, err = LockRunDir(o.RunDir); err != nil {
		t.Errorf("after a start that failed: %v", err)
	}
	lock.Close()
}

func TestIdentity(t *testing.T) {
	cfg := parse(t, testConfig)
	id := func(edit func(*lease.Record)) lease.RunID {
		t.Helper()
		r := testRecord
		edit(&r)
		got, err := identity(&r, cfg, "web1")
		if err != nil || got == 0 {
			t.Fatalf("run id %v, %v", got, err)
		}
		return got
	}
	diff(t, "resumed", id(func(*lease.Record) {}), lease.RunID(7))
	for name, edit := range map[string]func(*lease.Record){
		"another cluster": func(r *lease.Record) { r.Cluster = "shop2" },
		"another node":    func(r *lease.Record) { r.Node = "web2" },
		"none":            func(r *lease.Record) { r.RunID = 0 },
	} {
		if got := id(edit); got == 7 {
			t.Errorf("%s: resumed", name)
		}
	}
	a, _ := identity(nil, cfg, "web1")
	b, _ := identity(nil, cfg, "web1")
	if a == b {
		t.Error("two boots have the same run id")
	}
	parsed, ok := parseRunID(a.String())
	diff(t, "over the wire", []any{parsed, ok}, []any{a, true})
	for _, s := range []string{"", "0", "xyz", "11112222333344445"} {
		if id, ok := parseRunID(s); ok {
			t.Errorf("parseRunID(%q) = %v", s, id)
		}
	}
}
