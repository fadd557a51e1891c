package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Chosen by us.
const (
	dialTimeout = 2 * time.Second
	// The client waits a little longer than the server works, so that the server's own, better words
	// about a timeout arrive.
	patience = 2 * time.Second
	// maxAnswer bounds what a client reads: a thousand groups on a hundred nodes fit well.
	maxAnswer = 32 << 20
)

// Client asks the agent of a run directory. It holds no connection between calls and may be used by
// many goroutines. Every error is an *[Error] (errors.Is knows [ErrNoAgent] and [ErrPermission]), or
// the caller's own ctx.Err() when that is what ended the call.
type Client struct {
	path string
	http *http.Client
}

// NewClient makes a client. It does not connect: an agent that is not there shows in the first call.
func NewClient(runDir string) *Client {
	path := SocketPath(runDir)
	dialer := net.Dialer{Timeout: dialTimeout}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
	}}}
}

// Status returns the cluster as the agent's node sees it.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, readLimit, http.MethodGet, pathStatus, nil, &s)
	return s, err
}

// Plan asks what would happen, and makes nothing happen.
func (c *Client) Plan(ctx context.Context, req PlanRequest) (Plan, error) {
	var p Plan
	err := c.call(ctx, readLimit, http.MethodPost, pathPlan, req, &p)
	return p, err
}

// Process returns as whom the agent runs.
func (c *Client) Process(ctx context.Context) (AgentProcess, error) {
	var p AgentProcess
	err := c.call(ctx, readLimit, http.MethodGet, pathAgent, nil, &p)
	return p, err
}

// Probe lets the agent try the gossip port towards every other node.
func (c *Client) Probe(ctx context.Context, req ProbeRequest) (ProbeResult, error) {
	var r ProbeResult
	err := c.call(ctx, probeLimit, http.MethodPost, pathProbe, req, &r)
	return r, err
}

// RunChecks runs the node's checks once, or the one named.
func (c *Client) RunChecks(ctx context.Context, name string) ([]CheckRun, error) {
	var runs []CheckRun
	err := c.call(ctx, checksLimit, http.MethodPost, pathChecksRun, checksRequest{Name: name}, &runs)
	return runs, err
}

// Maintenance puts a node into maintenance, or takes it out. When ctx ends the call returns, and the agent
// goes on with what it has begun.
func (c *Client) Maintenance(ctx context.Context, req MaintenanceRequest) (MaintenanceResult, error) {
	var r MaintenanceResult
	err := c.call(ctx, switchoverLimit, http.MethodPost, pathMaintenance, req, &r)
	return r, err
}

// RenderTemplates asks what the node's templates make of the present state.
func (c *Client) RenderTemplates(ctx context.Context, name string) ([]TemplateRender, error) {
	var list []TemplateRender
	err := c.call(ctx, readLimit, http.MethodPost, pathTemplates, templatesRequest{Name: name}, &list)
	return list, err
}

// Reload makes the agent read its config file again.
func (c *Client) Reload(ctx context.Context, force bool) (ReloadResult, error) {
	var r ReloadResult
	err := c.call(ctx, reloadLimit, http.MethodPost, pathReload, reloadRequest{Force: force}, &r)
	return r, err
}

// Events returns the history of the agent's own node from since on, oldest first; max 0 means the server's default.
func (c *Client) Events(ctx context.Context, since time.Time, max int) ([]Event, error) {
	h, err := c.History(ctx, EventQuery{Since: since, Max: max})
	return h.Events, err
}

// History returns the history that was asked for; Max 0 means the server's default. An agent that does not know of
// other nodes' histories answers with its own, and no Sources.
func (c *Client) History(ctx context.Context, q EventQuery) (h History, err error) {
	err = c.eventStream(ctx, eventsQuery{EventQuery: q}, func(s EventSource) error {
		h.Sources = append(h.Sources, s)
		return nil
	}, func(e Event) error {
		h.Events = append(h.Events, e)
		return nil
	})
	return h, err
}

// Follow calls source for each node that was asked, f with the history and then with every event as it happens, until ctx
// ends (its error), one of them returns an error (that), or the agent goes away.
func (c *Client) Follow(ctx context.Context, q EventQuery, source func(EventSource) error, f func(Event) error) error {
	return c.eventStream(ctx, eventsQuery{EventQuery: q, follow: true}, source, f)
}

func (c *Client) eventStream(ctx context.Context, q eventsQuery, source func(EventSource) error, f func(Event) error) error {
	return c.stream(ctx, http.MethodGet, pathEvents+"?"+q.encode(), nil, func(m message) (bool, error) {
		switch {
		case m.Source != nil:
			return false, source(*m.Source)
		case m.Event != nil:
			return false, f(*m.Event)
		}
		return m.End, nil
	})
}

// Switchover moves a group and calls progress (which may be nil) with each step. When ctx ends the
// call returns, and the move goes on: the agent finishes or undoes what it has begun.
func (c *Client) Switchover(ctx context.Context, req SwitchoverRequest, progress func(SwitchoverStep)) (SwitchoverResult, error) {
	var result SwitchoverResult
	err := c.stream(ctx, http.MethodPost, pathSwitchover, req, func(m message) (bool, error) {
		if m.Step != nil && progress != nil {
			progress(*m.Step)
		}
		if m.Result != nil {
			result = *m.Result
		}
		return m.Result != nil, nil
	})
	return result, err
}

// KeyStatus returns which gossip keys the nodes have.
func (c *Client) KeyStatus(ctx context.Context) (KeyStatus, error) {
	var s KeyStatus
	err := c.call(ctx, readLimit, http.MethodGet, pathKeys, nil, &s)
	return s, err
}

// KeyRotate rotates the gossip key and calls progress (which may be nil) with each step. When ctx ends the call
// returns, and the agent goes on with what it has begun.
func (c *Client) KeyRotate(ctx context.Context, req KeyRotateRequest, progress func(SwitchoverStep)) (KeyRotation, error) {
	var result KeyRotation
	err := c.stream(ctx, http.MethodPost, pathKeysRotate, req, func(m message) (bool, error) {
		if m.Step != nil && progress != nil {
			progress(*m.Step)
		}
		if m.Keys != nil {
			result = *m.Keys
		}
		return m.Keys != nil, nil
	})
	return result, err
}

// call asks for one value.
func (c *Client) call(ctx context.Context, limit time.Duration, method, path string, body, into any) error {
	short, cancel := context.WithTimeout(ctx, limit+patience)
	defer cancel()
	resp, err := c.do(short, method, path, body)
	if err != nil {
		return c.classify(ctx, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return c.classify(ctx, err)
	}
	return nil
}

// stream reads lines until f says that one was the last, with an eye on silence.
func (c *Client) stream(ctx context.Context, method, path string, body any, f func(message) (last bool, err error)) error {
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(silenceLimit, func() { cancel(context.DeadlineExceeded) })
	defer watchdog.Stop()
	resp, err := c.do(watched, method, path, body)
	if err != nil {
		return c.classify(ctx, cmp.Or(context.Cause(watched), err))
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var m message
		if err := lines.Decode(&m); err != nil {
			return c.classify(ctx, cmp.Or(context.Cause(watched), err))
		}
		watchdog.Reset(silenceLimit)
		if m.Error != nil {
			return m.Error
		}
		if last, err := f(m); last || err != nil {
			return err
		}
	}
}

// do sends a request and returns the answer if it is a good one, with the body open.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://hbagent"+path, reader)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var m message
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&m); err != nil || m.Error == nil {
		return nil, Errorf(CodeInternal, "the agent does not know %s (%s): is it of another version than this program?",
			path, resp.Status)
	}
	return nil, m.Error
}

// classify turns what the transport says into what a person can act on.
func (c *Client) classify(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	var timeout net.Error
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return Errorf(CodeNoAgent, "no agent answers on %s: is hbagent running? systemctl status hbagent", c.path)
	case errors.Is(err, fs.ErrPermission):
		return Errorf(CodeForbidden, "user %d may not open %s: the run directory should be mode 0755 and the socket 0666; or use sudo",
			os.Geteuid(), c.path)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Errorf(CodeTimeout, "the agent on %s does not answer: it hangs, or the machine is overloaded; journalctl -u hbagent", c.path)
	case errors.Is(err, syscall.EAGAIN):
		return Errorf(CodeUnavailable, "the agent on %s has too many callers waiting: try again", c.path)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Errorf(CodeUnavailable, "the agent on %s hung up: it is stopping, or this user has too many connections to it", c.path)
	}
	return &Error{Code: CodeInternal, Message: fmt.Sprintf("ask the agent on %s: %v", c.path, err)}
}
