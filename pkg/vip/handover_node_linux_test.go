package vip

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// nodeRole marks a process that is one node of a site: a Manager behind a pipe.
const nodeRole = "HBAGENT_VIP_TEST_NODE"

// order is what a test has a node do. The answer is a reply.
type order struct {
	Op     string
	Group  string
	For    time.Duration
	To     NextHop
	Cookie uint64
}

type reply struct {
	N     int
	Hop   NextHop
	Took  time.Duration
	Error string
}

// nodeConfig is the first line that a node reads.
type nodeConfig struct {
	RunDir string
	Groups []Group
	Keep   bool
	// NoOwner: the tables have no owner, as before Linux 6.9.
	NoOwner bool
}

// nodeMain is the node: it obeys orders until its standard input ends.
func nodeMain() int {
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := json.NewEncoder(os.Stdout)
	var c nodeConfig
	if err := in.Decode(&c); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		return 1
	}
	g, err := NewGate(GateOptions{TTL: gateTTL, NoOwner: c.NoOwner})
	var m *Manager
	if err == nil {
		m, err = New(Options{Groups: c.Groups, RunDir: c.RunDir, Gate: g, Keep: func(string) bool { return c.Keep }})
	}
	if err != nil {
		_ = out.Encode(reply{Error: err.Error()})
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = m.Run(ctx); close(done) }()
	_ = out.Encode(reply{})
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			break
		}
		r := obey(m, o)
		if o.Op == "open" && r.Error == "" {
			r.Error = inUse(m, o.Group)
		}
		if err := out.Encode(r); err != nil {
			break
		}
	}
	cancel()
	<-done
	if err := m.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
	}
	return 0
}

// inUse waits until the kernel takes the IPv6 addresses of an open group for its own, which Open does not: a client on the
// node itself would ask the segment for them until then, and fail when nobody has answered for three seconds.
func inUse(m *Manager, group string) string {
	h := m.holding(group)
	if h == nil {
		return "not open any more"
	}
	_, v6 := split(h.addrs)
	for began := time.Now(); time.Since(began) < patience; <-time.After(time.Millisecond) {
		if ok, err := m.kernel.Settled(h.index, v6); err != nil {
			return err.Error()
		} else if ok {
			return ""
		}
	}
	return fmt.Sprintf("not in use within %v: %v", patience, v6)
}

func obey(m *Manager, o order) (r reply) {
	var err error
	began := time.Now()
	switch o.Op {
	case "open":
		err = m.Open(o.Group, in(o.For))
	case "shut":
		err = m.Shut(o.Group, "test")
	case "hop":
		r.Hop, err = m.NextHop(o.Group)
	case "steer":
		err = m.Steer(o.Group, o.To, in(o.For))
	case "unsteer":
		err = m.Unsteer(o.Group)
	case "drain":
		err = m.Drain(o.Group, o.To, in(o.For))
	case "end":
		r.N, err = m.EndDrain(o.Group)
	case "await", "probe":
		ctx, cancel := context.WithTimeout(context.Background(), o.For)
		defer cancel()
		if o.Op == "probe" {
			err = m.SendForwardProbe(ctx, o.Group, o.To, o.Cookie)
		} else {
			err = m.AwaitForwardProbe(ctx, o.Group, o.Cookie)
		}
	case "count":
		r.N, err = m.Connections(o.Group)
	default:
		err = errors.New("unknown order " + o.Op)
	}
	r.Took = time.Since(began)
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// node is a machine of a site and the process on it.
type node struct {
	t    testing.TB
	name string
	ns   netns.NsHandle
	conf nodeConfig
	cmd  *exec.Cmd
	in   io.WriteCloser
	to   *json.Encoder
	from *json.Decoder
}

// start runs the process.
func (n *node) start() {
	n.t.Helper()
	inNamespace(n.t, n.ns, func() error { // the child is born where this thread is
		n.cmd = exec.Command("/proc/self/exe")
		// The race detector otherwise waits a second at the end of each process.
		n.cmd.Env = append(os.Environ(), nodeRole+"="+n.name, "GORACE=atexit_sleep_ms=0")
		n.cmd.Stderr = os.Stderr
		in, err := n.cmd.StdinPipe()
		if err != nil {
			return err
		}
		out, err := n.cmd.StdoutPipe()
		if err != nil {
			return err
		}
		n.in, n.to, n.from = in, json.NewEncoder(in), json.NewDecoder(out)
		return n.cmd.Start()
	})
	if err := n.to.Encode(n.conf); err != nil {
		n.t.Fatal(err)
	}
	n.answer()
}

// stop ends the process in good order, or kills it.
func (n *node) stop(kill bool) {
	n.t.Helper()
	if n.cmd == nil {
		return
	}
	if kill {
		_ = n.cmd.Process.Kill()
	}
	_ = n.in.Close()
	_ = n.cmd.Wait()
	n.cmd = nil
}

func (n *node) answer() reply {
	n.t.Helper()
	var r reply
	if err := n.from.Decode(&r); err != nil {
		n.t.Fatalf("node %s: %v", n.name, err)
	}
	if r.Error != "" {
		n.t.Fatalf("node %s: %s", n.name, r.Error)
	}
	return r
}

// do has the node obey, and fails the test where it cannot.
func (n *node) do(o order) reply {
	n.t.Helper()
	if o.Group == "" {
		o.Group = "web"
	}
	if o.For == 0 {
		o.For = time.Minute
	}
	if err := n.to.Encode(o); err != nil {
		n.t.Fatalf("node %s: %v", n.name, err)
	}
	return n.answer()
}

// run runs a program on the machine, and returns what it says.
func (n *node) run(name string, args ...string) string {
	n.t.Helper()
	return runIn(n.t, n.ns, name, args...)
}

func runIn(t testing.TB, ns netns.NsHandle, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		skip(t, "needs the command %s", name)
	}
	var out []byte
	inNamespace(t, ns, func() error {
		var err error
		if out, err = exec.Command(path, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %q: %w\n%s", name, args, err, out)
		}
		return nil
	})
	return string(out)
}

// sysctl writes below /proc/sys/net of a namespace.
func sysctl(t testing.TB, ns netns.NsHandle, path, value string) {
	t.Helper()
	inNamespace(t, ns, func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0o644) })
}
