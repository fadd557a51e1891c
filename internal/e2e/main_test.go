// Package e2e_test runs the real program, as built, on three machines in network namespaces, with the
// distribution's Apache, MariaDB and memcached where they are installed, and looks at what it does from outside:
// a client that asks over HTTP, ARP questions on the wire, and the addresses in every machine's kernel.
//
// Whatever a test is about, at its end nobody must ever have seen two owners of an address.
package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// programEnv carries the path of the built program into the sandbox; set from outside it saves the building.
const programEnv = "HBAGENT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	lab.Reexec()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if lab.Inside() || os.Getenv(programEnv) != "" {
		return labtest.Main(m, nil)
	}
	dir, err := os.MkdirTemp("", "hbagent-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "hbagent")
	build := exec.Command("go", "build", "-o", program, "github.com/hbagent/hbagent/cmd/hbagent")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "go build:", err)
		return 1
	}
	// Another user runs it in one of the tests.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(programEnv, program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return labtest.Main(m, nil)
}
