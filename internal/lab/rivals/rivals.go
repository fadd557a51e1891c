// Package rivals runs programs that move a floating address on the machines of a lab: hbagent, and others to compare it
// with. Each is set up as its own manual advises, in one file of this package, and is started, stopped, killed and
// asked for a planned move through the same small interface.
//
// # Order of use
//
// Prepare once for a world, then Start on each of Nodes, then Ready, then whatever is to be measured. A machine that
// lost its power needs PowerOn and Start. What a Cluster has started ends with the machine, and with the world.
//
// # Concurrency
//
// A Cluster belongs to one goroutine, except PIDs and Configs, which any may call.
package rivals

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// ErrMissing is wrapped by [Tool.Version] where the program is not installed; the error names the package.
var ErrMissing = errors.New("not installed")

// ErrCannot is wrapped by what a tool has no means for: ucarp watches no service.
var ErrCannot = errors.New("the tool cannot do that")

// The paces at which tools are compared. Others are settings of one tool alone.
const (
	Default = "default" // as the tool comes
	Equal   = "equal"   // the owner is heard once a second, as keepalived has it by default
	Fastest = "fastest" // the fastest that moves nothing on its own
)

// A Setting is one way to set a tool up.
type Setting struct {
	Name      string        // in the tool's own words: "ttl 1s", "advert_int 0.05"
	Pace      string        // Default, Equal, Fastest, several with a space between them, or "" for a further one
	Heartbeat time.Duration // between two heartbeats of the owner
	Value     time.Duration // what the tool calls ttl, advert_int, advbase, token
}

// Options are the same for every tool.
type Options struct {
	Addresses []netip.Prefix // move together; the benchmark watches the last one. Default: lab.Floating4
	// Service: watch the web server of each machine (HTTP on 127.0.0.1:80, every 200 ms, two failures), and move when
	// it fails. A tool that cannot ask that often asks as often as it can, and one that cannot at all returns ErrCannot.
	Service bool
	Groups  int // hbagent only: further groups, each with an address of its own, for what they cost at rest
}

func (o Options) withDefaults() Options {
	if len(o.Addresses) == 0 {
		o.Addresses = []netip.Prefix{lab.Floating4}
	}
	return o
}

// A Tool is a program that moves a floating address.
type Tool interface {
	Name() string
	// Version is what the program says of itself. ErrMissing (wrapped, with the package's name) where it is not installed.
	Version(ctx context.Context) (string, error)
	// Settings are the ways it is measured, the default first.
	Settings() []Setting
	// Prepare writes the files of every machine that takes part: web1, web2 and, where the tool has a third voter or
	// node, db1. It starts nothing.
	Prepare(w *lab.World, s Setting, o Options) (Cluster, error)
}

// A Cluster is a tool on the machines of a world.
type Cluster interface {
	// Nodes is where it runs.
	Nodes() []string
	// Start starts it as its service manager does, and returns when its processes run.
	Start(ctx context.Context, node string) error
	// Stop stops it as its service manager does.
	Stop(ctx context.Context, node string) error
	// Restart does what `systemctl restart` does.
	Restart(ctx context.Context, node string) error
	// Ready waits until owner has the addresses by the tool's own word, and every other machine that may own them
	// would take them at once if it failed.
	Ready(ctx context.Context, owner string) error
	// Kill ends it with SIGKILL; nobody restarts it but Start.
	Kill(ctx context.Context, node string) error
	// Signal sends a signal (SIGSTOP, SIGCONT) to what Kill ends.
	Signal(node string, sig syscall.Signal) error
	// Switchover asks for a planned move the way its manual has it; it may return before the move is done. It leaves
	// the tool so that the next one can be asked for.
	Switchover(ctx context.Context, from, to string) error
	// PIDs are all its processes on the machine.
	PIDs(node string) []int
	// Configs are the files of the first machine by name.
	Configs() map[string]string
}

// All are the tools in the order of the report.
func All() []Tool { return []Tool{Hbagent{}, Keepalived{}, Ucarp{}, Pacemaker{}} }

// lookup finds a program, or says which package has it.
func lookup(program, pkg string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s (package %s): %w", program, pkg, ErrMissing)
	}
	return path, nil
}

// firstLine is what a program says of itself in one line: on stdout, or on stderr if that is empty.
func firstLine(ctx context.Context, program string, args ...string) (string, error) {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if len(out) == 0 {
		out = said.Bytes()
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), nil
}
