package checks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// A Result is the outcome of one probe.
type Result struct {
	// OK says whether the service works.
	OK bool
	// Message is what a person wants to know: "12 busy, 38 idle workers",
	// "connection refused at 127.0.0.1:80". See the package doc for its form.
	Message string
	// Final marks a failure about which there is no doubt (the cable is out):
	// it counts at once, without waiting for Spec.Fall.
	Final bool
	// Took is how long the probe took. The Runner fills it in.
	Took time.Duration
}

// A Checker probes one service.
type Checker interface {
	// Check runs one probe and returns when it is answered or when ctx ends,
	// whichever is first. It never panics on any answer. The Runner calls it
	// from a goroutine of its own, and never twice at a time, so that a
	// Checker may keep state from probe to probe without a lock.
	Check(ctx context.Context) Result
}

// A Watcher is a Checker that learns of changes by itself, as the link check
// does from the kernel.
type Watcher interface {
	// Watch calls wake whenever a probe is worth running at once, and returns
	// when ctx ends (nil) or when it can no longer watch. The Runner calls it
	// from a goroutine of its own, beside Check, and calls it again after an
	// error. wake never blocks.
	Watch(ctx context.Context, wake func()) error
}

// An ARPProber asks on iface whether target answers ARP (IPv6: neighbour
// solicitation), and returns the round-trip time. An error says why there was
// no answer; it must return when ctx ends.
type ARPProber func(ctx context.Context, iface string, target netip.Addr) (time.Duration, error)

// A Spec describes one check: what to ask and when. Fields that a type does not
// use are ignored; New says which are missing.
type Spec struct {
	Name string
	Type string // one of Types

	URL       string        // apache, nginx, http
	Host      string        // apache, nginx, http: Host header and TLS name, when the URL holds only an address
	Body      string        // apache, nginx, http: regular expression that the first 64 KiB of the page must match
	Status    int           // apache, nginx, http: wanted status; 0 takes 200 to 399
	Saturated time.Duration // apache with ?auto: without idle workers for longer than this is a failure; 0 only reports

	MaxBusy    int // apache with ?auto: more busy workers are a failure; 0: any number
	MaxActive  int // nginx with stub_status: more active connections are a failure; 0: any number
	MaxDropped int // nginx with stub_status: more connections dropped since the last probe are a failure; 0: any number

	Address    string        // tcp, memcached: host:port; memcached also a socket's path
	DSNFile    string        // mysql: file with a go-sql-driver DSN
	MaxLag     time.Duration // mysql: a replica that is further behind, or does not replicate, fails; 0 only shows it
	MaxThreads int           // mysql: more threads running are a failure; 0: any number
	ReadOnly   string        // mysql: read_only must be "on" or "off"; empty: either
	Command    []string      // exec: absolute path and arguments
	Unit       string        // systemd
	Interface  string        // link; arp (empty: the default route's)
	Target     netip.Addr    // arp; the zero Addr: the default gateway

	Interval time.Duration // from start to start
	Timeout  time.Duration // of one probe
	Fall     int           // failures in a row until failing, at least 1
	Rise     int           // successes in a row until passing again, at least 1
	Required bool          // not used here; handed on in State
}

// Types are the check types that New knows, in alphabetical order.
var Types = []string{"apache", "arp", "exec", "http", "link", "memcached", "mysql", "nginx", "systemd", "tcp"}

// Options carry what checks need from the rest of the program.
type Options struct {
	// ARP is needed by checks of type arp only.
	ARP ARPProber
	// Logger hears of panics in checks and of failing watches. Nil discards.
	Logger *slog.Logger
	// Rand returns numbers in [0,1) for the schedule's jitter, from many
	// goroutines. Nil: math/rand/v2.
	Rand func() float64
	// OnResult is told of each result of a scheduled probe, changed or not, from the
	// goroutine of its check. It must not block. Nil: nobody is told.
	OnResult func(name string, r Result)
	// New makes the Runner's checkers, so that a program can add types of its
	// own and a test can bring fakes. Nil: the package's New.
	New func(Spec, Options) (Checker, error)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.New == nil {
		o.New = New
	}
	if o.OnResult == nil {
		o.OnResult = func(string, Result) {}
	}
	return o
}

// New makes the checker for spec. It asks nothing of the service: a service or
// file that is missing now is a failing check, not an error here. Errors name
// the field that is missing or wrong. The checker has state of its own; the
// schedule's fields of spec are not looked at.
func New(spec Spec, o Options) (Checker, error) {
	var (
		c   Checker
		err error
	)
	switch spec.Type {
	case "apache":
		c, err = newApache(spec)
	case "arp":
		c, err = newARP(spec, o.ARP)
	case "exec":
		c, err = newExec(spec)
	case "http":
		c, err = newHTTP(spec)
	case "link":
		c, err = newLink(spec)
	case "memcached":
		c, err = newMemcached(spec)
	case "mysql":
		c, err = newMySQL(spec)
	case "nginx":
		c, err = newNginx(spec)
	case "systemd":
		c, err = newSystemd(spec)
	case "tcp":
		c, err = newTCP(spec)
	default:
		err = fmt.Errorf("unknown type %q; there are %s", spec.Type, strings.Join(Types, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("check %q: %w", spec.Name, err)
	}
	return c, nil
}

// validateSchedule looks at the fields that the Runner uses.
func (s Spec) validateSchedule() error {
	var errs []error
	if s.Name == "" {
		errs = append(errs, errors.New("name is empty"))
	}
	if s.Interval < minInterval {
		errs = append(errs, fmt.Errorf("interval %v is below %v", s.Interval, minInterval))
	}
	if s.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout %v is not positive", s.Timeout))
	}
	if s.Fall < 1 {
		errs = append(errs, fmt.Errorf("fall %d is below 1", s.Fall))
	}
	if s.Rise < 1 {
		errs = append(errs, fmt.Errorf("rise %d is below 1", s.Rise))
	}
	if len(errs) > 0 {
		return fmt.Errorf("check %q: %w", s.Name, errors.Join(errs...))
	}
	return nil
}

// sameProbe says whether s and t ask the same question, whatever their schedule.
func (s Spec) sameProbe(t Spec) bool {
	for _, p := range []*Spec{&s, &t} {
		p.Interval, p.Timeout, p.Fall, p.Rise, p.Required = 0, 0, 0, 0, false
	}
	return s.equal(t)
}

func (s Spec) equal(t Spec) bool { return reflect.DeepEqual(s, t) }
