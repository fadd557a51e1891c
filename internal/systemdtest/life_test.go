package systemdtest_test

import (
	"testing"
	"time"
)

// What the README promises to a client, with the checks of the config below.
const (
	promiseOwner   = ttl + ttl/10
	promiseService = 2*500*time.Millisecond + 200*time.Millisecond
	promisePlanned = 100 * time.Millisecond
)

// The life of an installation, from the package to its purge, on the same three machines. Each step begins with a site
// that is well, and leaves it well.
func TestLife(t *testing.T) {
	deb, newer := needFile(t, "HBAGENT_TEST_DEB"), needFile(t, "HBAGENT_TEST_NEWER")
	s := newSite(t)
	s.observe(t)
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"install", func(t *testing.T) { s.install(t, deb) }},
		{"start", s.start},
		{"at rest", s.atRest},
		{"power cut", s.powerCut},
		{"power cut of the whole site", s.siteWide},
		{"Apache", s.apache},
		{"reboot", s.reboot},
		{"restart", s.restart},
		{"watchdog", s.watchdog},
		{"bad config", s.badConfig},
		{"maintenance", s.maintenance},
		{"upgrade", func(t *testing.T) { s.upgrade(t, "upgrade", newer) }},
		{"downgrade", func(t *testing.T) { s.upgrade(t, "downgrade", deb) }},
		{"remove", s.remove},
		{"purge", s.purge},
	} {
		if !t.Run(step.name, step.do) {
			t.Fatal("what follows would rest on it")
		}
	}
}
