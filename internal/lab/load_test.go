package lab_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// The load must see what goes wrong, or its zeroes prove nothing.
func TestLoadSeesFailures(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	a := w.Node("a")
	web, err := a.ApacheForLoad()
	if err != nil {
		labtest.Skip(t, err.Error())
	}
	if err := web.Start(ctx); err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	load := w.StartLoad(run, lab.LoadOptions{
		Target: netip.AddrPortFrom(a.Addr4.Addr(), 80), KeepAlive: 4, Downloads: 2, Uploads: 2, Slow: time.Second, NewPerSecond: 20,
	})
	count := func() map[string]lab.LoadTally {
		m := make(map[string]lab.LoadTally)
		for _, tally := range load.Tallies() {
			m[tally.Kind] = tally
		}
		return m
	}
	wait := func(what string, ok func(lab.LoadTally) bool) {
		t.Helper()
		for {
			m := count()
			n := 0
			for _, tally := range m {
				if ok(tally) {
					n++
				}
			}
			if n == 4 {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s: %+v", what, m)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	wait("each kind has good answers", func(l lab.LoadTally) bool { return l.Done >= 2 })
	for _, tally := range count() {
		if tally.Failed != 0 || tally.Wrong != 0 || tally.P50 == 0 || tally.Slowest < tally.P50 {
			t.Errorf("with nothing wrong: %+v", tally)
		}
	}
	if err := web.Kill(); err != nil {
		t.Fatal(err)
	}
	wait("each kind sees that the server is gone", func(l lab.LoadTally) bool { return l.Failed > 0 && len(l.Failures) > 0 })
	stop()
	if err := load.Wait(ctx); err != nil {
		t.Error(err)
	}
}
