package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
)

// nginxCheck is an HTTP check that recognises the page of stub_status
// (https://nginx.org/en/docs/http/ngx_http_stub_status_module.html).
type nginxCheck struct{ probe *pageProbe }

func newNginx(s Spec) (Checker, error) {
	p, err := newPageProbe(s)
	if err != nil {
		return nil, err
	}
	return &nginxCheck{p}, nil
}

func (c *nginxCheck) Check(ctx context.Context) Result {
	got, failure, ok := c.probe.get(ctx)
	if !ok {
		return failure
	}
	if st, err := parseStubStatus(got.body); err == nil {
		return pass("%d active connections, %d waiting", st.active, st.waiting)
	}
	return pass("%v", got)
}

type stubStatus struct{ active, waiting int }

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
		return st, fmt.Errorf("%w: active connections: %w", errNotStubStatus, err)
	}
	_, last, ok := bytes.Cut(rest, []byte("Waiting:"))
	if !ok {
		return st, errNotStubStatus
	}
	last, _, _ = bytes.Cut(last, []byte("\n"))
	if st.waiting, err = count(last); err != nil {
		return st, fmt.Errorf("%w: waiting: %w", errNotStubStatus, err)
	}
	return st, nil
}

// count reads a number of things: not negative, and small enough to add up.
func count(b []byte) (int, error) {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 31)
	return int(n), err
}
