package rivals

import (
	"os"
	"strings"
	"testing"
)

// The drop-in that a short ttl gets is the one that the runbook has.
func TestDropInIsThatOfTheRunbook(t *testing.T) {
	text, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(realtimeDropIn) {
		if !strings.Contains(string(text), "\n"+line) {
			t.Errorf("docs/operations.md has no line %q", line)
		}
	}
}
