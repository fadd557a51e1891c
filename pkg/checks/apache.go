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
	maxBusy   int           // failing with more busy workers; 0: any number

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
	status := p.url.Query().Has("auto")
	if s.MaxBusy < 0 {
		return nil, fmt.Errorf("max_busy %d is negative", s.MaxBusy)
	}
	if s.MaxBusy > 0 && !status {
		return nil, fmt.Errorf("max_busy counts the workers of mod_status: url has to end in ?auto")
	}
	return &apacheCheck{probe: p, status: status, saturated: s.Saturated, maxBusy: s.MaxBusy}, nil
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
	} else {
		text += ": " + w.fullness()
		if c.since.IsZero() {
			c.since = now
		}
		if lasts := now.Sub(c.since); c.saturated > 0 && lasts > c.saturated {
			return fail("%s for %v", text, lasts.Truncate(time.Second))
		}
	}
	if c.maxBusy > 0 && w.busy > c.maxBusy {
		return fail("%s; at most %d may be busy", text, c.maxBusy)
	}
	return pass("%s", text)
}

type workers struct {
	busy, idle int
	// full tells that the scoreboard has no slot left for another worker.
	full bool
}

// fullness says what it means that no worker is idle. mod_status shows as many
// slots as MaxRequestWorkers allows, whatever ServerLimit is (Apache 2.4): while some
// are empty, it is about to start more.
func (w workers) fullness() string {
	if w.full {
		return "MaxRequestWorkers reached"
	}
	return "saturated"
}

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
	board := readScoreboard(scoreboard)
	if errBusy == nil && errIdle == nil {
		w.full = board.full
		return w, nil
	}
	if board == (workers{}) {
		return workers{}, errNotModStatus
	}
	return board, nil
}

// readScoreboard counts workers as mod_status does: "_" waits for a connection,
// "." is a slot without a process, the other letters are at work.
func readScoreboard(board []byte) workers {
	var w workers
	free := 0
	for _, b := range board {
		switch b {
		case '_':
			w.idle++
		case '.':
			free++
		case 'S', 'R', 'W', 'K', 'D', 'C', 'L', 'G', 'I':
			w.busy++
		}
	}
	w.full = free == 0 && w.busy > 0 && w.idle == 0
	return w
}
