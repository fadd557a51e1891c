// Package e2e_test runs the real program, as built, on three machines in network namespaces, with the
// distribution's Apache, MariaDB and memcached where they are installed, and looks at what it does from outside:
// a client that asks over HTTP, ARP questions on the wire, and the addresses in every machine's kernel.
//
// Whatever a test is about, at its end nobody must ever have seen two owners of an address.
package e2e_test

import (
	"os"
	"testing"

	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.MainBuilt(m)) }
