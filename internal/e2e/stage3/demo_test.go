package stage3_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// `hbagent demo --stage 3` plays to its end, and says what a visitor noticed.
func TestDemo(t *testing.T) {
	labtest.Need(t)
	if _, err := exec.LookPath("mariadbd"); err != nil {
		if _, err := exec.LookPath("/usr/sbin/mariadbd"); err != nil {
			labtest.Skip(t, "MariaDB")
		}
	}
	var out, said bytes.Buffer
	if err := lab.RunDemo(labtest.Within(t, 3*patience), lab.DemoOptions{Stage: 3, Self: labtest.Program(), Out: &out, Err: &said}); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &out, &said)
	}
	for _, want := range []string{"db1", "is promoted", "two machines answered never", "GROUP"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
}
