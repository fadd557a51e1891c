package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// The agents of this test binary end at once (helper): the demo must fail, and say where and why.
func TestDemoThatFailsSaysWhere(t *testing.T) {
	labtest.Need(t)
	var out, said bytes.Buffer
	err := lab.RunDemo(labtest.Within(t, 2*patience), lab.DemoOptions{JSON: true, Out: &out, Err: &said})
	if !errors.Is(err, lab.ErrDemoFailed) {
		t.Fatalf("RunDemo = %v, want ErrDemoFailed", err)
	}
	for _, want := range []string{"start", "no such port: 7946", "--- agent on web1"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("stderr does not name %q:\n%s", want, &said)
		}
	}
	if err := labtest.Misfit(t, "demo", out.String()); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	var report lab.DemoReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if report.OK || report.Error == "" || len(report.Machines) != 3 || len(report.Steps) != 0 {
		t.Errorf("report = %+v, want a failure in the first step", report)
	}
	labtest.New(t, lab.Options{}) // nothing of the demo is in the way
}

func TestDemoEndsWithItsContext(t *testing.T) {
	labtest.Need(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, said bytes.Buffer
	if err := lab.RunDemo(ctx, lab.DemoOptions{Out: &out, Err: &said}); !errors.Is(err, context.Canceled) {
		t.Errorf("RunDemo = %v, want context.Canceled", err)
	}
	labtest.New(t, lab.Options{})
}
