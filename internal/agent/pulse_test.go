package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/config"
)

// What time alone changes is looked at by a wake-up that comes half a second after the last look, or else a little later.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, db1 := settled(t, testConfig)
		web1.kill(context.Canceled)
		web2.kill(context.Canceled)
		w.wait(time.Minute)
		last := func() (at time.Duration) { // its own wake-up may take the next pulse along, after it
			db1.look(func() { at = db1.loop.pulsed })
			return at
		}
		last()
		began := last()
		since := func() time.Duration { return last() - began }
		w.wait(pulse - time.Millisecond - (db1.bootClock() - began))
		if got := since() + since(); got != 0 {
			t.Errorf("before it was due: %v", got)
		}
		w.wait(time.Millisecond)
		since()
		if got := since(); got != pulse {
			t.Errorf("when a wake-up came: after %v, want %v", got, pulse)
		}
		began += pulse
		w.wait(latestPulse)
		if got := since(); got <= pulse || got > latestPulse {
			t.Errorf("without a wake-up: after %v, want %v", got, latestPulse)
		}
		timer := time.NewTimer(time.Hour)
		db1.look(func() { db1.loop.arm(timer) })
		db1.look(func() {
			if due := db1.loop.clock.due; due != 0 {
				t.Errorf("a pulse counts as due at %v", due)
			}
		})
	})
}

func TestProcessors(t *testing.T) {
	long, short := config.Lease{TTL: time.Second}, config.Lease{TTL: 300 * time.Millisecond}
	tests := []struct {
		name     string
		cfg      config.Config
		realtime bool
		want     int
	}{
		{"nothing", config.Config{Lease: long}, false, 1},
		{"hundreds of groups", config.Config{Lease: long, Groups: make([]config.Group, 101)}, false, 2},
		{"short", config.Config{Lease: short}, false, 2},
		{"real-time", config.Config{Lease: long}, true, 2},
		{"check", config.Config{Lease: long, Checks: []config.Check{{Type: "tcp"}, {Type: "exec", Command: []string{"/bin/true"}}}}, false, 2},
		{"unit", config.Config{Lease: long, Checks: []config.Check{{Type: "systemd", Unit: "cron.service"}}}, false, 2},
		{"hook", config.Config{Lease: long, Groups: []config.Group{{}, {OnFault: []string{"/bin/true"}}}}, false, 2},
		{"template", config.Config{Lease: long, Templates: []config.Template{{Reload: []string{"/bin/true"}}}}, false, 2},
		{"template alone", config.Config{Lease: long, Templates: []config.Template{{}}}, false, 1},
	}
	for _, tt := range tests {
		if got := processors(&tt.cfg, tt.realtime); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
