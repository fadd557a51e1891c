package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// AgentLog names the agents' processes and logs.
const AgentLog = "agent"

// agentTimerSlack is TimerSlackNSec= of hbagent.service.
const agentTimerSlack = time.Millisecond

// lastWords is how many lines of an agent's log an error carries: a crash says why first, and where all its goroutines were then.
const lastWords = 100

// ErrNoAgentRuns is returned by what needs a running agent on the node.
var ErrNoAgentRuns = errors.New("no agent runs there")

// hbagent is a command line of the program under test.
func (w *World) hbagent(args ...string) *exec.Cmd {
	cmd := exec.Command(w.program, args...)
	cmd.Args[0] = "hbagent" // a test binary knows by this that it is to be hbagent (labtest.Main)
	return cmd
}

// StartAgent starts `hbagent agent` on the node and waits until it answers on its control socket. extra
// arguments are appended.
func (n *Node) StartAgent(ctx context.Context, extra ...string) error {
	if p := n.runningAgent(); p != nil {
		return fmt.Errorf("%s: an agent runs already", n.Name)
	}
	cmd := n.w.hbagent(append([]string{"agent", "-c", n.ConfigFile(), "--node", n.Name,
		"--run-dir", n.RunDir(), "--state-dir", n.StateDir()}, extra...)...)
	if n.machine {
		cmd = n.mounted(cmd)
	}
	cmd.Env = append(cmd.Env, n.w.agentEnv...)
	p, err := n.start(AgentLog, cmd, n.w.slack)
	if err != nil {
		return err
	}
	n.procMu.Lock()
	n.agent = p
	n.procMu.Unlock()
	return Poll(ctx, func() error {
		if !p.Running() {
			return fatal{fmt.Errorf("the agent of %s ended: %s; its last words:\n%s", n.Name, p.ending(), p.Tail(lastWords))}
		}
		_, err := n.Status(ctx)
		return err
	})
}

// mounted lets a command see the machine's directory at machineDir: a shell in a mount namespace of its own, which
// becomes the command (unshare(1), mount(8)).
func (n *Node) mounted(cmd *exec.Cmd) *exec.Cmd {
	const script = `mount --bind "$0" ` + machineDir + ` && exec "$@"`
	return exec.Command("unshare", append([]string{"--mount", "--", "sh", "-c", script, n.Dir(), cmd.Path}, cmd.Args[1:]...)...)
}

// AgentEnvironment adds variables to the environment of agents that start from now on: a drop-in of the unit.
func (w *World) AgentEnvironment(vars ...string) { w.agentEnv = append(w.agentEnv, vars...) }

// StartAgents starts the agent of every node.
func (w *World) StartAgents(ctx context.Context) error {
	return eachNode(w.nodes, func(n *Node) error { return n.StartAgent(ctx) })
}

// KillAgent kills the node's agent with SIGKILL, and waits until it is gone.
func (n *Node) KillAgent() error {
	p := n.runningAgent()
	if p == nil {
		return fmt.Errorf("kill the agent of %s: %w", n.Name, ErrNoAgentRuns)
	}
	return p.Kill()
}

// StopAgent ends the node's agent with SIGTERM; it hands over first.
func (n *Node) StopAgent(ctx context.Context) error {
	p := n.runningAgent()
	if p == nil {
		return fmt.Errorf("stop the agent of %s: %w", n.Name, ErrNoAgentRuns)
	}
	return p.Stop(ctx)
}

// SignalAgent sends a signal to the node's agent: SIGHUP to reload, SIGSTOP and SIGCONT to hang it.
func (n *Node) SignalAgent(sig syscall.Signal) error {
	p := n.runningAgent()
	if p == nil {
		return fmt.Errorf("signal the agent of %s: %w", n.Name, ErrNoAgentRuns)
	}
	return p.Signal(sig)
}

// EndAgent sends a signal that ends the node's agent, and waits until it is gone: SIGUSR2 ends it for a restart,
// and it keeps what it has.
func (n *Node) EndAgent(ctx context.Context, sig syscall.Signal) error {
	p := n.runningAgent()
	if p == nil {
		return fmt.Errorf("end the agent of %s: %w", n.Name, ErrNoAgentRuns)
	}
	if err := p.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end the agent of %s with %v: %w", n.Name, sig, ctx.Err())
	}
}

func (n *Node) runningAgent() *Process {
	n.procMu.Lock()
	defer n.procMu.Unlock()
	if n.agent == nil || !n.agent.Running() {
		return nil
	}
	return n.agent
}

// Hbagent runs a verb of hbagent on the node and returns its stdout. A non-zero exit is an error
// (errors.As finds the [*exec.ExitError]) and comes with the output.
func (n *Node) Hbagent(ctx context.Context, args ...string) (string, error) {
	out, err := n.Output(ctx, n.w.hbagent(args...))
	return string(out), err
}

// Status asks the node's agent for the cluster as it sees it.
func (n *Node) Status(ctx context.Context) (control.Status, error) {
	s, err := control.NewClient(n.RunDir()).Status(ctx)
	if err != nil {
		return s, fmt.Errorf("status of %s: %w", n.Name, err)
	}
	return s, nil
}

// Group asks the node's agent for one group.
func (n *Node) Group(ctx context.Context, name string) (control.Group, error) {
	s, err := n.Status(ctx)
	if err != nil {
		return control.Group{}, err
	}
	for _, g := range s.Groups {
		if g.Name == name {
			return g, nil
		}
	}
	return control.Group{}, fmt.Errorf("status of %s: no group %q", n.Name, name)
}

// WaitOwner waits until node owns the group: by the word of its own agent, and with every address of the
// group on its card and on no other. ctx bounds it; the error then says what is missing.
func (w *World) WaitOwner(ctx context.Context, group, node string) error {
	return Poll(ctx, func() error { return w.checkOwner(ctx, group, node) })
}

// WaitAnyOwner waits until one of these nodes owns the group, as [World.WaitOwner] has it, and returns which.
func (w *World) WaitAnyOwner(ctx context.Context, group string, nodes ...string) (string, error) {
	var owner string
	err := Poll(ctx, func() error {
		var errs []error
		for _, node := range nodes {
			err := w.checkOwner(ctx, group, node)
			if err == nil {
				owner = node
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return owner, err
}

func (w *World) checkOwner(ctx context.Context, group, node string) error {
	g, err := w.Node(node).Group(ctx, group)
	if err != nil {
		return err
	}
	if g.Owner != node {
		return fmt.Errorf("group %s: owner %q as %s says (%s: %s), want %s", group, g.Owner, node, g.State, g.Reason, node)
	}
	for _, a := range g.Addresses {
		prefix, err := netip.ParsePrefix(a)
		if err != nil {
			return fatal{fmt.Errorf("group %s: %w", group, err)}
		}
		if err := w.CheckOnlyAt(prefix.Addr(), node); err != nil {
			return err
		}
	}
	return nil
}

// WaitEligible waits until all of these nodes say of themselves that they may own the group.
func (w *World) WaitEligible(ctx context.Context, group string, nodes ...string) error {
	return Poll(ctx, func() error {
		for _, name := range nodes {
			s, err := w.Node(name).Status(ctx)
			if err != nil {
				return err
			}
			for _, n := range s.Nodes {
				if g := n.Groups[group]; n.Name == name && !g.Eligible {
					return fmt.Errorf("%s may not own %s: %s", name, group, g.Reason)
				}
			}
		}
		return nil
	})
}

// eachNode runs f for all nodes at once.
func eachNode(nodes []*Node, f func(*Node) error) error {
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { errs <- f(n) }()
	}
	var all []error
	for range nodes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// AgentPID returns the process id of the node's agent, and false if none runs.
func (n *Node) AgentPID() (pid int, running bool) {
	p := n.runningAgent()
	if p == nil {
		return 0, false
	}
	return p.cmd.Process.Pid, true
}

// NiceAgent sets the nice value of the node's agent, as its unit does.
func (n *Node) NiceAgent(nice int) error {
	p := n.runningAgent()
	if p == nil {
		return fmt.Errorf("the agent of %s: %w", n.Name, ErrNoAgentRuns)
	}
	return p.Nice(nice)
}
