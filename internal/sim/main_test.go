package sim

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain lets the garbage grow: a run makes much of it and keeps little.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
