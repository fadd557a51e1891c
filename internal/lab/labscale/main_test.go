package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab/scale"
)

// measured is a cluster in which all was well.
func measured(_ context.Context, plan scale.Plan) bench.ScalePoint {
	p := plan.Point()
	p.Seconds, p.Owner.MemoryMB, p.Status = 20, 30, 5
	p.Takeovers = []bench.Takeover{{Groups: 1, First: 900, Last: 900}}
	return p
}

func begun() bench.Scale {
	return bench.Scale{Format: bench.Format, Began: time.Unix(1, 0), Commit: "x"}
}

// A cluster that fails ends nothing: all are in the file, and the error names the one.
func TestFailedPoint(t *testing.T) {
	out := filepath.Join(t.TempDir(), "scale.json")
	n := 0
	err := collect(t.Context(), begun(), plans, out, func(ctx context.Context, plan scale.Plan) bench.ScalePoint {
		n++
		if n > 1 {
			s, err := bench.ReadScale(out + ".partial")
			if err != nil || len(s.Points) != n-1 {
				t.Errorf("%d of %d points were kept: %v", len(s.Points), n-1, err)
			}
		}
		if plan == plans[1] {
			p := plan.Point()
			p.Failed = "no such thing"
			return p
		}
		return measured(ctx, plan)
	})
	if err == nil || !strings.Contains(err.Error(), "5x5x1") {
		t.Errorf("error %v", err)
	}
	s, err := bench.ReadScale(out)
	if err != nil || len(s.Points) != len(plans) || s.Points[1].Failed != "no such thing" {
		t.Errorf("%+v, %v", s.Points, err)
	}
	if _, err := os.Stat(out + ".partial"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the part is there beside the whole: %v", err)
	}
}

// What was measured before an interrupt is kept, under another name than that of a whole run, and without the cluster
// that was cut short.
func TestInterrupted(t *testing.T) {
	out := filepath.Join(t.TempDir(), "scale.json")
	if err := os.WriteFile(out, []byte("a whole run"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	err := collect(ctx, begun(), plans, out, func(ctx context.Context, plan scale.Plan) bench.ScalePoint {
		if plan == plans[2] {
			interrupt()
		}
		return measured(ctx, plan)
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), out+".partial") {
		t.Errorf("error %v", err)
	}
	if s, err := bench.ReadScale(out + ".partial"); err != nil || len(s.Points) != 2 {
		t.Errorf("%+v, %v", s.Points, err)
	}
	if b, err := os.ReadFile(out); err != nil || string(b) != "a whole run" {
		t.Errorf("the whole run was replaced: %q, %v", b, err)
	}
}

func TestChosen(t *testing.T) {
	all, err := chosen("")
	if err != nil || !slices.Equal(all, plans) {
		t.Errorf("%v, %v", all, err)
	}
	some, err := chosen("100x5x100,7x3x2")
	want := []scale.Plan{{Nodes: 100, Voters: 5, Groups: 100, Candidates: 3, TTL: spreadTTL}, {Nodes: 7, Voters: 3, Groups: 2, Candidates: 7}}
	if err != nil || !slices.Equal(some, want) {
		t.Errorf("%v, %v; want %v", some, err, want)
	}
	for _, bad := range []string{"3x3", "0x1x1", "a", "3x3x1,"} {
		if got, err := chosen(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}
