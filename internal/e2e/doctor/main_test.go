// Package doctor_test plants faults, one at a time and for real, in a site of three machines in network namespaces, and
// runs `hbagent doctor` on it as it was built. A site without a fault has no finding; each fault has its own finding,
// by its identifier, and besides it only what the test names as its consequence.
package doctor_test

import (
	"os"
	"testing"

	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.MainBuilt(m)) }
