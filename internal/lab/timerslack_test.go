package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// What the lab measures of an agent holds for one that its unit starts.
func TestAgentsRunWithTheSlackOfTheirUnit(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/hbagent.service")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("\nTimerSlackNSec=%v\n", lab.AgentTimerSlack); !strings.Contains(string(unit), want) {
		t.Errorf("hbagent.service has no line %q", want)
	}
	own, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	a := labtest.New(t, lab.Options{Nodes: []string{"a"}}).Node("a")
	for want, start := range map[string]func(string, *exec.Cmd) (*lab.Process, error){
		strings.TrimSpace(string(own)): a.Start,
		fmt.Sprint(lab.AgentTimerSlack.Nanoseconds()): func(name string, cmd *exec.Cmd) (*lab.Process, error) {
			return lab.StartWithSlack(a, name, cmd, lab.AgentTimerSlack)
		},
	} {
		if p, err := start("cat", exec.Command("cat", "/proc/self/timerslack_ns")); err != nil {
			t.Fatal(err)
		} else if <-p.Done(); p.Tail(1) != want {
			t.Errorf("timer slack: %q ns, want %s", p.Tail(1), want)
		}
		if err := os.Remove(a.Dir() + "/cat.log"); err != nil {
			t.Fatal(err)
		}
	}
}
