package detect

import (
	"context"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/hbagent/hbagent/pkg/checks"
)

// Chosen by us: a service that takes longer to answer a question from its own machine is not proposed as working.
const probeWait = 2 * time.Second

// A Machine is what this machine is, as far as it can be seen.
type Machine struct {
	Hostname string
	Network  Network
	Services []Service
	// Blind says what could not be looked at, one sentence each.
	Blind []string
}

// Options replace the outside world in tests. Zero values are the real one.
type Options struct {
	Proc     fs.FS // /proc
	Hostname func() (string, error)
	Network  func() (Network, error)
	// Probe asks a service once, as a check does.
	Probe func(context.Context, checks.Spec) checks.Result
	// Server returns the Server header of a page, or "".
	Server func(ctx context.Context, url string) string
	// SkipServices looks at the networks only.
	SkipServices bool
}

func (o Options) withDefaults() Options {
	if o.Proc == nil {
		o.Proc = os.DirFS("/proc")
	}
	if o.Hostname == nil {
		o.Hostname = os.Hostname
	}
	if o.Network == nil {
		o.Network = LookNetwork
	}
	if o.Probe == nil {
		o.Probe = probeOnce
	}
	if o.Server == nil {
		o.Server = serverHeader
	}
	return o
}

// Look looks at this machine. Services are asked over the loopback interface, a few questions each of at most two
// seconds; ctx ends it early.
func Look(ctx context.Context, o Options) (Machine, error) {
	o = o.withDefaults()
	var m Machine
	var err error
	if m.Hostname, err = o.Hostname(); err != nil {
		m.Blind = append(m.Blind, "no host name: "+err.Error())
	}
	if m.Network, err = o.Network(); err != nil {
		return m, err
	}
	if o.SkipServices {
		return m, nil
	}
	listeners, err := Sockets(o.Proc)
	if err != nil {
		m.Blind = append(m.Blind, err.Error())
	}
	m.Services = services(ctx, listeners, o)
	if ctx.Err() != nil {
		return m, context.Cause(ctx)
	}
	if os.Geteuid() != 0 && slices.ContainsFunc(listeners, func(l Listener) bool { return l.PID == 0 && l.Path == "" }) {
		m.Blind = append(m.Blind, "who listens on some ports is hidden from this user: as root more is found")
	}
	return m, nil
}

func probeOnce(ctx context.Context, s checks.Spec) checks.Result {
	c, err := checks.New(s, checks.Options{})
	if err != nil {
		return checks.Result{Message: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	return c.Check(ctx)
}

func serverHeader(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return ""
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req) // no proxy, no redirect
	if err != nil {
		return ""
	}
	resp.Body.Close()
	return resp.Header.Get("Server")
}
