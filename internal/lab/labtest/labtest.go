// Package labtest runs tests inside the lab's sandbox.
//
//	func TestMain(m *testing.M) { os.Exit(labtest.Main(m, cli.Main)) }
//
//	func TestSomething(t *testing.T) {
//		w := labtest.New(t, lab.Options{})
//		...
//	}
//
// The whole test binary is started again inside the sandbox; flags, output, signals and the exit code pass
// through.
package labtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// noSkip turns skips into failures: set where everything must be present (CI).
const noSkip = "HBAGENT_TEST_NO_SKIP"

// errNoSandbox is why there is no sandbox; nil inside one. Written by Main, before any test runs.
var errNoSandbox = errors.New("TestMain does not call labtest.Main")

// logLines of each process are shown when a test fails.
const logLines = 40

// Main runs the tests inside a sandbox and returns the exit code for os.Exit. Where the machine gives no
// sandbox, the tests run outside, and those that need one skip (see [Need]).
//
// hbagent, if not nil, is the program's main function (its arguments without the program's name): agents and
// verbs in tests are then this test binary, so that no program has to be built first. The World's
// Options.Hbagent stays empty.
func Main(m interface{ Run() int }, hbagent func(args []string) int) int {
	lab.Reexec()
	if hbagent != nil && os.Args[0] == "hbagent" {
		return hbagent(os.Args[1:])
	}
	if lab.Inside() {
		errNoSandbox = nil
		return m.Run()
	}
	code, err := lab.Sandbox{Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}.Run(context.Background())
	var no *lab.UnavailableError
	switch {
	case errors.As(err, &no):
		errNoSandbox = no
		return m.Run()
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// programEnv carries the path of the built program into the sandbox; set from outside it saves the building.
const programEnv = "HBAGENT_TEST_PROGRAM"

// Program is what MainBuilt has built: the World's Options.Hbagent.
func Program() string { return os.Getenv(programEnv) }

// MainBuilt is Main for tests of the program as it is built: agents and verbs are that, and not the test binary.
func MainBuilt(m interface{ Run() int }) int {
	lab.Reexec()
	if lab.Inside() || Program() != "" {
		return Main(m, nil)
	}
	dir, err := os.MkdirTemp("", "hbagent-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "hbagent")
	build := exec.Command("go", "build", "-o", program, "github.com/hbagent/hbagent/cmd/hbagent")
	build.Stderr = os.Stderr
	// Another user runs it in one of the tests.
	if err := errors.Join(build.Run(), os.Chmod(dir, 0o755), os.Setenv(programEnv, program)); err != nil {
		fmt.Fprintln(os.Stderr, "build the program:", err)
		return 1
	}
	return Main(m, nil)
}

// Need skips the test where there is no sandbox, or fails it if HBAGENT_TEST_NO_SKIP is set.
func Need(t testing.TB) {
	t.Helper()
	if errNoSandbox != nil {
		Skip(t, errNoSandbox.Error())
	}
}

// Skip skips the test for want of something: say what, and what to install. It fails the test if
// HBAGENT_TEST_NO_SKIP is set.
func Skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv(noSkip) != "" {
		t.Fatalf("%s is set, and missing is: %s", noSkip, missing)
	}
	t.Skip("needs " + missing)
}

// New builds a world that ends with the test. If the test fails, the last words of all that was started are shown.
func New(t testing.TB, o lab.Options) *lab.World {
	t.Helper()
	Need(t)
	w, err := lab.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the last words of what ran:\n" + w.Logs("*", logLines))
		}
		if err := w.Close(); err != nil {
			t.Error("close the world:", err)
		}
	})
	return w
}

// Within returns a context for waiting in a test: it ends with the test or after d.
func Within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
