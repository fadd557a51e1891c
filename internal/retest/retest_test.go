package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// events makes the stream of a package: lines "TEST action" or "TEST: output".
func events(t *testing.T, pkg string, lines ...string) string {
	t.Helper()
	var b strings.Builder
	for _, l := range lines {
		e := event{Package: module + pkg}
		if test, said, ok := strings.Cut(l, ": "); ok {
			e.Test, e.Action, e.Output = test, "output", said+"\n"
		} else {
			e.Test, e.Action, _ = strings.Cut(l, " ")
		}
		if err := json.NewEncoder(&b).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestStream(t *testing.T) {
	for _, tt := range []struct {
		name     string
		in       []string
		out      string
		failures []failure
		broken   []string
	}{
		{
			name: "all passes",
			in:   []string{"TestA: === RUN   TestA", "TestA: chatter", "TestA pass", ": PASS", ": ok  	pkg/vip	1.0s", " pass"},
			out:  "ok  	pkg/vip	1.0s\n",
		},
		{
			name:     "a sub-test fails",
			in:       []string{"TestA: a", "TestA/x: late", "TestA/x fail", "TestA fail", "TestB: b", "TestB pass", ": FAIL", " fail"},
			out:      "a\nlate\nFAIL\n",
			failures: []failure{{Package: module + "pkg/vip", Test: "TestA"}},
		},
		{
			name:     "a sub-test sees two owners",
			in:       []string{"TestA/x: 10.0.0.1 was on the cards of [a b] at once, from 1", "TestA/x fail", "TestA fail", " fail"},
			out:      "10.0.0.1 was on the cards of [a b] at once, from 1\n",
			failures: []failure{{Package: module + "pkg/vip", Test: "TestA", Unsafe: "10.0.0.1 was on the cards of [a b] at once, from 1"}},
		},
		{
			name:     "a test crashes",
			in:       []string{"TestA: --- FAIL: TestA", "TestA: panic: x", "TestA fail", " fail"},
			out:      "--- FAIL: TestA\npanic: x\n",
			failures: []failure{{Package: module + "pkg/vip", Test: "TestA", Unsafe: "panic: x"}},
		},
		{
			name:   "killed",
			in:     []string{"TestA: last words", ": signal: killed", " fail"},
			out:    "last words\nsignal: killed\n",
			broken: []string{"pkg/vip TestA did not end", "pkg/vip failed, and none of its tests"},
		},
		{
			name:   "the end of the package fails",
			in:     []string{"TestA pass", ": namespaces left", " fail"},
			out:    "namespaces left\n",
			broken: []string{"pkg/vip failed, and none of its tests"},
		},
		{
			name:     "a race outside of a test",
			in:       []string{"TestA fail", ": WARNING: DATA RACE", " fail"},
			out:      "WARNING: DATA RACE\n",
			failures: []failure{{Package: module + "pkg/vip", Test: "TestA"}},
			broken:   []string{"pkg/vip: no second chance: it said: WARNING: DATA RACE"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			s := newStream(&out)
			if err := s.read(strings.NewReader(events(t, "pkg/vip", tt.in...))); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.out, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.failures, s.failures); diff != "" {
				t.Errorf("failures (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.broken, s.broken); diff != "" {
				t.Errorf("broken (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	f := func(pkg, test, neverNoise string) failure { return failure{module + pkg, test, neverNoise} }
	for _, tt := range []struct {
		name     string
		in       []failure
		retried  int
		finalHas string
	}{
		{"nothing", nil, 0, ""},
		{"noise", []failure{f("pkg/vip", "TestChains", ""), f("internal/e2e", "TestReload", "")}, 2, ""},
		{"a package that computes", []failure{f("pkg/lease", "TestPlays", "")}, 0, "pkg/lease TestPlays"},
		{"the simulator", []failure{f("internal/sim", "TestSimulation", "")}, 0, "internal/sim"},
		{"chaos", []failure{f("internal/e2e/chaos", "TestScripted", "")}, 0, "internal/e2e/chaos"},
		{"a rival that doctor is to find", []failure{f("internal/e2e/doctor", "TestFaults", `detail="another machine claims this address: 02:77:00:00:00:64"`)}, 1, ""},
		{"a rival elsewhere", []failure{f("internal/e2e", "TestX", `detail="another machine claims this address: 02:77:00:00:00:64"`)}, 0, "it said"},
		{"a test of the gate", []failure{f("pkg/vip", "TestGateSilencesAtTheDeadline", "")}, 0, "watches over safety"},
		{"two owners", []failure{f("internal/e2e", "TestReload", "two owners")}, 0, "two owners"},
		{"one of two", []failure{f("internal/e2e", "TestReload", ""), f("internal/e2e", "TestHooks", "panic: x")}, 1, "panic: x"},
		{"too many", []failure{f("pkg/vip", "TestA", ""), f("pkg/vip", "TestB", ""), f("pkg/vip", "TestC", ""), f("pkg/vip", "TestD", "")}, 4, "no noise"},
	} {
		retry, final := verdict(tt.in)
		if len(retry) != tt.retried || strings.Contains(strings.Join(final, "\n"), tt.finalHas) != true || (tt.finalHas == "") != (len(final) == 0) {
			t.Errorf("%s: again %v, final %q; want %d and %q", tt.name, retry, final, tt.retried, tt.finalHas)
		}
	}
}

// What must never be seen, in the words of the tests that look for it.
func TestUnsafeWords(t *testing.T) {
	for _, line := range []string{
		"who has 10.77.0.50, asked at 17:46:12.895: answered by [web1 web2]",
		"two machines answered for the address: [x]",
		"two servers were writable in 3 of 10 looks",
		"3 acknowledged commits are lost",
		"testing.go:1617: race detected during execution of test",
		`detail="another machine claims this address: 02:77:00:00:00:0b"`,
	} {
		if !neverNoise.MatchString(line) {
			t.Errorf("%q gets a second chance", line)
		}
	}
	for _, line := range []string{
		"dial tcp 10.9.0.50:80: connect: no route to host",
		`after the move: answered by "", error i/o timeout, want "a"`,
		"who has 10.77.0.50: answered by [web1]",
	} {
		if neverNoise.MatchString(line) {
			t.Errorf("%q gets no second chance", line)
		}
	}
}

// The packages and the tests that the lists name are there.
func TestListsNameWhatExists(t *testing.T) {
	var tests strings.Builder
	for _, pkg := range noisy {
		files, err := filepath.Glob(filepath.Join("../..", pkg, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s has no tests: %v", pkg, err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(b)
		}
	}
	_, words, _ := strings.Cut(watching.String(), "(")
	for word := range strings.SplitSeq(strings.TrimSuffix(words, ")"), "|") {
		if !strings.Contains(tests.String(), "func Test"+word) {
			t.Errorf("no test begins with Test%s", word)
		}
	}
}

// The program itself, with a package whose test fails the first time.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module "+strings.TrimSuffix(module, "/")+"\n\ngo 1.26\n")
	write("pkg/vip/a_test.go", `package vip
import ("os"; "testing")
func TestOther(t *testing.T) { t.Log("chatter") }
func TestOnce(t *testing.T) {
	if _, err := os.Stat("been"); err != nil { os.WriteFile("been", nil, 0o644); t.Fatal("the first time") }
}
func TestAlways(t *testing.T) { if os.Getenv("ALWAYS") != "" { t.Fatal("always") } }
func TestGateX(t *testing.T) { if os.Getenv("GATE") != "" { t.Fatal("gate") } }
`)
	program := filepath.Join(dir, "retest")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, tt := range []struct {
		name, env  string
		run, again bool
		says       string
	}{
		{"the first time only", "A=b", true, true, "FAILED FIRST, AND PASSED ALONE: pkg/vip TestOnce"},
		{"twice", "ALWAYS=1", true, false, "pkg/vip TestAlways failed twice"},
		{"safety", "GATE=1", false, true, "pkg/vip TestGateX: no second chance: it watches over safety"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			records := t.TempDir()
			_ = os.Remove(filepath.Join(dir, "pkg/vip/been"))
			var said strings.Builder
			call := func(args ...string) bool {
				cmd := exec.Command(program, args...)
				cmd.Dir, cmd.Env = dir, append(os.Environ(), tt.env, "GOFLAGS=")
				out, err := cmd.CombinedOutput()
				said.Write(out)
				return err == nil
			}
			if got := call("run", records, "-count=1", "--", "./..."); got != tt.run {
				t.Errorf("run: %v, want %v", got, tt.run)
			}
			if got := call("again", records); got != tt.again {
				t.Errorf("again: %v, want %v", got, tt.again)
			}
			if !strings.Contains(said.String(), tt.says) || !strings.Contains(said.String(), "the first time") || strings.Contains(said.String(), "chatter") {
				t.Errorf("it said:\n%s\nwant %q, and the first failure", said.String(), tt.says)
			}
		})
	}
}
