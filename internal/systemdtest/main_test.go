// Package systemdtest_test installs the packages on three machines that boot a real systemd, and does with them what an
// administrator does, and what happens to machines. A client that asks over HTTP every 10 ms and ARP questions on the wire
// look at it from outside.
//
// It needs root, a base to boot from and two packages: `make test-systemd` makes them, and sets
//
//	HBAGENT_HOSTS_BASE   the base
//	HBAGENT_TEST_DEB     the package
//	HBAGENT_TEST_NEWER   the same as a newer version
package systemdtest_test

import (
	"os"
	"testing"

	"github.com/hbagent/hbagent/internal/lab/booted"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(booted.Main(func() int { return labtest.Main(m, nil) })) }
