package checks

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExec(t *testing.T) {
	t.Setenv("SECRET", "geheim")
	for name, tt := range map[string]struct {
		script string
		ok     bool
		want   string
	}{
		"ok":                 {`echo "LOAD OK - 0.1|load=0.1;5;10"; echo "second line"`, true, "LOAD OK - 0.1"},
		"warning passes":     {`echo "DISK 91%"; exit 1`, true, "warning: DISK 91%"},
		"critical":           {`echo "DISK 99%|x"; exit 2`, false, "critical: DISK 99%"},
		"unknown":            {`echo "no such disk"; exit 3`, false, "unknown: no such disk"},
		"outside convention": {`echo hm; exit 4`, false, "hm (exit status 4)"},
		"silent":             {`exit 0`, true, "OK"},
		"silent and failed":  {`exit 2`, false, "critical: no output"},
		"only performance":   {`echo "|a=1"`, true, "OK"},
		"complains":          {`echo "cannot read" >&2; exit 3`, false, "unknown: cannot read"},
		"killed":             {`kill -SEGV $$`, false, "no output (signal: segmentation fault*"},
		"much output":        {`head -c 1000000 /dev/zero | tr '\0' x; exit 0`, true, strings.Repeat("x", 197) + "…"},
		"control characters": {`printf 'a\033[31mb\000c\n'`, true, "a [31mb c"},
		"environment":        {`echo "[$SECRET] $LANG $PATH"`, true, "[] C.UTF-8 " + strings.TrimPrefix(commandEnv[0], "PATH=")},
		"no input":           {`read x; echo "read: $?"`, true, "read: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustNew(t, Spec{Type: "exec", Command: []string{script(t, tt.script)}})
			check(t, probe(t, c, patience), tt.ok, tt.want)
		})
	}
}

func TestExecDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	plain, lost, empty := filepath.Join(dir, "plain"), filepath.Join(dir, "lost"), filepath.Join(dir, "empty")
	write(t, plain, "#!/bin/sh\n", 0o644)
	write(t, lost, "#!/nonexistent/python\n", 0o755)
	write(t, empty, "", 0o755)
	for path, want := range map[string]string{
		"/nonexistent/plugin": "/nonexistent/plugin does not exist",
		plain:                 plain + " is not executable for the agent:*",
		dir:                   dir + " is not executable for the agent:*",
		lost:                  lost + ": its interpreter (first line) or loader does not exist",
		empty:                 empty + " is not a program:*",
	} {
		check(t, probe(t, mustNew(t, Spec{Type: "exec", Command: []string{path}}), patience), false, want)
	}
}

// The whole process group dies at the timeout, and its pipes hold up nobody.
func TestExecTimeoutKillsGroup(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c := mustNew(t, Spec{Type: "exec", Command: []string{script(t, `echo $$ >>$1; sleep 1000 & echo $! >>$1; wait`), pids}})
	check(t, probe(t, c, short), false, "no answer within 200ms")
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(text))); n != 2 {
		t.Fatalf("%d processes were started, want 2", n)
	}
	for _, f := range strings.Fields(string(text)) {
		awaitDeath(t, f)
	}
}

// A plugin that leaves a child behind, which holds the pipe, is done all the same.
func TestExecGrandchildHoldsPipe(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c := mustNew(t, Spec{Type: "exec", Command: []string{script(t, `sleep 1000 & echo $! >$1; echo fine`), pids}})
	begin := time.Now()
	check(t, probe(t, c, patience), true, "fine")
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("took %v", took)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	awaitDeath(t, strings.TrimSpace(string(text)))
}

// awaitDeath waits until the process is gone or a zombie that nobody has reaped.
func awaitDeath(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(patience)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		stat, _ := os.ReadFile("/proc/" + pid + "/stat")
		_, state, _ := strings.Cut(string(stat), ") ")
		if syscall.Kill(n, 0) == syscall.ESRCH || strings.HasPrefix(state, "Z") {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			_ = syscall.Kill(n, syscall.SIGKILL)
			t.Fatalf("process %s was left behind", pid)
		}
	}
}
