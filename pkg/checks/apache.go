package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// apacheCheck fetches a page and, where that is the machine-readable page of
// mod_status (the URL's query has `auto`), watches the workers. Without a free
// worker new visitors wait in the kernel's queue, which looks healthy to anything
// that only connects.
//
// Source: httpd, modules/generators/mod_status.c.
type apacheCheck struct {
	probe     *pageProbe
	status    bool          // the page is mod_status ?auto
	saturated time.Duration // failing after so long without idle workers; 0: never

	since time.Time // when the last idle worker was taken; zero: there are some
}

func newApache(s Spec) (Checker, error) {
	p, err := newPageProbe(s)
	if err != nil {
		return nil, err
	}
	if s.Saturated < 0 {
		return nil, fmt.Errorf("saturated %v is negative", s.Saturated)
	}
	return &apacheCheck{probe: p, status: p.url.Query().Has("auto"), saturated: s.Saturated}, nil
}

func (c *apacheCheck) Check(ctx context.Context) Result {
	got, failure, ok := c.probe.get(ctx)
	if !ok {
		return failure
	}
	if !c.status {
		return pass("%v", got)
	}
	w, err := parseModStatus(got.body)
	if err != nil {
		return fail("%v, but %v", got, err)
	}
	return c.judge(w, time.Now())
}

// judge keeps the time since when there has been no idle worker.
func (c *apacheCheck) judge(w workers, now time.Time) Result {
	text := fmt.Sprintf("%d busy, %d idle workers", w.busy, w.idle)
	if w.idle > 0 {
		c.since = time.Time{}
		return pass("%s", text)
	}
	if c.since.IsZero() {
		c.since = now
	}
	if lasts := now.Sub(c.since); c.saturated > 0 && lasts > c.saturated {
		return fail("%s: saturated for %v", text, lasts.Truncate(time.Second))
	}
	return pass("%s: saturated", text)
}

type workers struct{ busy, idle int }

var errNotModStatus = errors.New("the page is not mod_status's: no BusyWorkers, no Scoreboard (is the location handled by server-status?)")

// parseModStatus reads "Key: value" lines. Unknown ones are skipped, since every
// release adds some. The scoreboard serves if the sums are missing or garbled.
func parseModStatus(body []byte) (workers, error) {
	var (
		w          workers
		errBusy    = errNotModStatus
		errIdle    = errNotModStatus
		scoreboard []byte
	)
	for line := range bytes.Lines(body) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch string(key) {
		case "BusyWorkers":
			w.busy, errBusy = count(value)
		case "IdleWorkers":
			w.idle, errIdle = count(value)
		case "Scoreboard":
			scoreboard = value
		}
	}
	if errBusy == nil && errIdle == nil {
		return w, nil
	}
	if w = readScoreboard(scoreboard); w == (workers{}) {
		return workers{}, errNotModStatus
	}
	return w, nil
}

// readScoreboard counts workers as mod_status does: "_" waits for a connection,
// "." is a slot without a process, the other letters are at work.
func readScoreboard(board []byte) workers {
	var w workers
	for _, b := range board {
		switch b {
		case '_':
			w.idle++
		case 'S', 'R', 'W', 'K', 'D', 'C', 'L', 'G', 'I':
			w.busy++
		}
	}
	return w
}
