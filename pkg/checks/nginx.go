package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
)

// nginxCheck is an HTTP check that recognises the page of stub_status
// (https://nginx.org/en/docs/http/ngx_http_stub_status_module.html). A connection
// that was accepted and not handled was dropped: worker_connections is too small.
type nginxCheck struct {
	probe                 *pageProbe
	maxActive, maxDropped int // 0: any number

	last stubStatus // of the probe before; zero: there was none
}

func newNginx(s Spec) (Checker, error) {
	p, err := newPageProbe(s)
	if err != nil {
		return nil, err
	}
	if s.MaxActive < 0 || s.MaxDropped < 0 {
		return nil, fmt.Errorf("max_active %d and max_dropped %d, want no negative ones", s.MaxActive, s.MaxDropped)
	}
	return &nginxCheck{probe: p, maxActive: s.MaxActive, maxDropped: s.MaxDropped}, nil
}

func (c *nginxCheck) Check(ctx context.Context) Result {
	got, failure, ok := c.probe.get(ctx)
	if !ok {
		return failure
	}
	st, err := parseStubStatus(got.body)
	switch {
	case err == nil:
		return c.judge(st)
	case c.maxActive > 0 || c.maxDropped > 0:
		return fail("%v, but %v", got, err)
	}
	return pass("%v", got)
}

// judge compares with the probe before. Counters that went back are those of an
// nginx that was started again.
func (c *nginxCheck) judge(st stubStatus) Result {
	last := c.last
	c.last = st
	text := fmt.Sprintf("%d active connections, %d waiting", st.active, st.waiting)
	if st.dropped() > 0 {
		text += fmt.Sprintf(", %d dropped", st.dropped())
	}
	if c.maxActive > 0 && st.active > c.maxActive {
		return fail("%s: at most %d may be active", text, c.maxActive)
	}
	if last == (stubStatus{}) || st.accepts < last.accepts || st.dropped() < last.dropped() {
		return pass("%s", text)
	}
	if fresh := st.dropped() - last.dropped(); fresh > 0 {
		text += fmt.Sprintf(", %d of them since the last probe", fresh)
		if c.maxDropped > 0 && fresh > uint64(c.maxDropped) {
			return fail("%s: is worker_connections too small?", text)
		}
	}
	return pass("%s", text)
}

type stubStatus struct {
	active, waiting  int
	accepts, handled uint64 // since nginx was started
}

// dropped counts the connections that were accepted and closed at once.
func (s stubStatus) dropped() uint64 { return s.accepts - s.handled }

var errNotStubStatus = errors.New("not the page of stub_status")

// parseStubStatus reads
//
//	Active connections: 291
//	server accepts handled requests
//	 16630948 16630948 31070465
//	Reading: 6 Writing: 179 Waiting: 106
func parseStubStatus(body []byte) (stubStatus, error) {
	var st stubStatus
	rest, ok := bytes.CutPrefix(body, []byte("Active connections:"))
	if !ok {
		return st, errNotStubStatus
	}
	first, _, _ := bytes.Cut(rest, []byte("\n"))
	var err error
	if st.active, err = count(first); err != nil {
		return stubStatus{}, fmt.Errorf("%w: active connections: %w", errNotStubStatus, err)
	}
	_, counters, ok := bytes.Cut(rest, []byte("requests"))
	if !ok {
		return stubStatus{}, errNotStubStatus
	}
	if st.accepts, st.handled, err = readCounters(counters); err != nil {
		return stubStatus{}, fmt.Errorf("%w: accepts and handled: %w", errNotStubStatus, err)
	}
	_, last, ok := bytes.Cut(counters, []byte("Waiting:"))
	if !ok {
		return stubStatus{}, errNotStubStatus
	}
	last, _, _ = bytes.Cut(last, []byte("\n"))
	if st.waiting, err = count(last); err != nil {
		return stubStatus{}, fmt.Errorf("%w: waiting: %w", errNotStubStatus, err)
	}
	return st, nil
}

// readCounters reads the first two numbers of the line that follows their names.
func readCounters(b []byte) (accepts, handled uint64, err error) {
	_, b, _ = bytes.Cut(b, []byte("\n"))
	line, _, _ := bytes.Cut(b, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 3 { // a fork of nginx adds a fourth
		return 0, 0, fmt.Errorf("%d numbers, want 3", len(fields))
	}
	if accepts, err = strconv.ParseUint(string(fields[0]), 10, 63); err != nil {
		return 0, 0, err
	}
	if handled, err = strconv.ParseUint(string(fields[1]), 10, 63); err != nil {
		return 0, 0, err
	}
	if handled > accepts {
		return 0, 0, errors.New("more handled than accepted")
	}
	return accepts, handled, nil
}

// count reads a number of things: not negative, and small enough to add up.
func count(b []byte) (int, error) {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 31)
	return int(n), err
}
