package rivals

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// pacemaker is Pacemaker with Corosync on web1, web2 and db1.
type pacemaker struct {
	w       *lab.World
	o       Options
	configs map[string]string

	corosync, pacemakerd *daemons
}

func (p *pacemaker) Nodes() []string { return []string{"web1", "web2", "db1"} }

// Start is `systemctl start pacemaker`: Corosync first, which its unit requires, where it does not run yet.
func (p *pacemaker) Start(ctx context.Context, node string) error {
	h := p.host(node)
	if err := h.boot(); err != nil {
		return err
	}
	if _, err := p.corosync.process(node); err != nil {
		if err := p.corosync.start(node, h.daemon("corosync", "-f")); err != nil {
			return err
		}
	}
	// The unit is of Type=notify: it is up when its clients can connect.
	err := lab.Poll(ctx, func() error {
		_, err := p.run(ctx, node, "corosync-cfgtool", "-s")
		return err
	})
	if err != nil {
		return fmt.Errorf("corosync on %s does not come up: %w", node, err)
	}
	if _, err := p.pacemakerd.process(node); err == nil {
		return nil
	}
	return p.pacemakerd.start(node, h.daemon("pacemakerd"))
}

// Stop is `systemctl stop corosync`: Pacemaker first (SIGTERM, on which it moves its resources away), then Corosync by the
// command of its unit.
func (p *pacemaker) Stop(ctx context.Context, node string) error {
	if err := p.stopPacemaker(ctx, node); err != nil {
		return err
	}
	c, err := p.corosync.process(node)
	if err != nil {
		return nil
	}
	if _, err := p.run(ctx, node, "corosync-cfgtool", "-H", "--force"); err != nil {
		return err
	}
	select {
	case <-c.Done():
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("corosync on %s does not end: %w", node, ctx.Err()), c.Kill())
	}
}

func (p *pacemaker) stopPacemaker(ctx context.Context, node string) error {
	d, err := p.pacemakerd.process(node)
	if err != nil {
		return nil // it does not run
	}
	return d.Stop(ctx)
}

// Restart is `systemctl restart pacemaker`: the resources move away and, since they are to stay, do not come back.
// Corosync keeps running.
func (p *pacemaker) Restart(ctx context.Context, node string) error {
	if err := p.stopPacemaker(ctx, node); err != nil {
		return err
	}
	return p.Start(ctx, node)
}

// Kill kills Corosync and all of Pacemaker's daemons on the machine at once: that is what dies with `kill -9` of the one
// process that other tools are. Of single ones pacemakerd leaves its children at work, these are started again by it, and
// without Corosync all give up; the addresses stay on the card in each case.
func (p *pacemaker) Kill(_ context.Context, node string) error {
	pids := p.PIDs(node)
	if len(pids) == 0 {
		return fmt.Errorf("pacemaker does not run on %s", node)
	}
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill pacemaker on %s: %w", node, err))
		}
	}
	for _, d := range []*daemons{p.corosync, p.pacemakerd} {
		if running, err := d.process(node); err == nil {
			errs = append(errs, running.Kill()) // waits
		}
	}
	return errors.Join(errs...)
}

// Signal goes to Corosync alone, other than Kill: that is what heartbeats. Pacemaker's daemons, which talk through it,
// stand still with it.
func (p *pacemaker) Signal(node string, sig syscall.Signal) error {
	return p.corosync.Signal(node, sig)
}

// Switchover is `crm_resource --move`, and `--clear` when the move is done, so that no constraint is left behind.
func (p *pacemaker) Switchover(ctx context.Context, _, to string) error {
	if _, err := p.run(ctx, to, "crm_resource", "--resource", "addresses", "--move", "--node", to); err != nil {
		return err
	}
	last := p.o.Addresses[len(p.o.Addresses)-1].Addr()
	moved := lab.Poll(ctx, func() error { return p.w.CheckOnlyAt(last, to) })
	_, err := p.run(context.WithoutCancel(ctx), to, "crm_resource", "--resource", "addresses", "--clear")
	return errors.Join(moved, err)
}

// PIDs are Corosync, Pacemaker's daemons, and the resource agents that they run at the moment.
func (p *pacemaker) PIDs(node string) []int {
	return append(p.corosync.PIDs(node), p.pacemakerd.PIDs(node)...)
}

func (p *pacemaker) Configs() map[string]string { return maps.Clone(p.configs) }

// toolWait bounds one run of a command line tool. Chosen by us.
const toolWait = 20 * time.Second

// run runs a command line tool of the cluster beside the daemons of a machine.
func (p *pacemaker) run(ctx context.Context, node, program string, args ...string) ([]byte, error) {
	c, err := p.corosync.process(node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, toolWait)
	defer cancel()
	out, said, err := p.w.Node(node).Outputs(ctx, beside(c.PID(), program, args...))
	var exit *exec.ExitError
	if errors.As(err, &exit) { // without the command line of nsenter
		err = fmt.Errorf("%s on %s: %w: %s", program, node, errors.Join(exit, ctx.Err()), bytes.TrimSpace(said))
	}
	return out, err
}

// Ready goes by what crm_mon and crmadmin tell on the owner.
func (p *pacemaker) Ready(ctx context.Context, owner string) error {
	var last error
	err := lab.Poll(ctx, func() error {
		err := p.look(ctx, owner)
		if err != nil && ctx.Err() == nil {
			last = err // the one look that the end of ctx cuts short tells nothing
		}
		return err
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w (%w)", last, ctx.Err())
	}
	return err
}

func (p *pacemaker) look(ctx context.Context, owner string) error {
	out, err := p.run(ctx, owner, "crm_mon", "--output-as=xml", "--group-by-node")
	if err != nil {
		return err
	}
	var s clusterStatus
	if err := xml.Unmarshal(out, &s); err != nil {
		return fmt.Errorf("crm_mon on %s: %w", owner, err)
	}
	if err := s.ready(owner, p.Nodes(), p.o); err != nil {
		return err
	}
	state, err := p.run(ctx, owner, "crmadmin", "--status", s.Summary.DC.Name)
	if err == nil && !strings.Contains(string(state), "S_IDLE") {
		err = fmt.Errorf("pacemaker on %s decides: %s", s.Summary.DC.Name, strings.TrimSpace(string(state)))
	}
	for _, a := range p.o.Addresses {
		err = errors.Join(err, p.w.CheckOnlyAt(a.Addr(), owner))
	}
	return err
}

// clusterStatus is what we read of crm_mon's XML.
type clusterStatus struct {
	Summary struct {
		DC struct {
			Name   string `xml:"name,attr"`
			Quorum bool   `xml:"with_quorum,attr"`
		} `xml:"current_dc"`
	} `xml:"summary"`
	Nodes    []clusterNode `xml:"nodes>node"`
	Failures []struct {
		Key  string `xml:"op_key,attr"`
		Node string `xml:"node,attr"`
	} `xml:"failures>failure"`
}

type clusterNode struct {
	Name      string `xml:"name,attr"`
	Online    bool   `xml:"online,attr"`
	Pending   bool   `xml:"pending,attr"`
	Resources []struct {
		Agent  string `xml:"resource_agent,attr"`
		Role   string `xml:"role,attr"`
		Active bool   `xml:"active,attr"`
		Failed bool   `xml:"failed,attr"`
	} `xml:"resource"`
}

// ready says what is missing until all nodes are there, every address is at owner, and the web servers of owner and the
// other machine are seen to answer.
func (s clusterStatus) ready(owner string, nodes []string, o Options) error {
	if s.Summary.DC.Name == "" || !s.Summary.DC.Quorum {
		return errors.New("pacemaker has no designated controller with quorum")
	}
	for _, f := range s.Failures {
		return fmt.Errorf("pacemaker has %s on %s as failed", f.Key, f.Node)
	}
	for _, name := range nodes {
		i := slices.IndexFunc(s.Nodes, func(n clusterNode) bool { return n.Name == name })
		if i < 0 || !s.Nodes[i].Online || s.Nodes[i].Pending {
			return fmt.Errorf("pacemaker has not %s as online", name)
		}
		addresses, watched := s.Nodes[i].count("ocf:heartbeat:IPaddr2"), s.Nodes[i].count("ocf:"+ocfProvider+":"+ocfType)
		if name == owner && addresses != len(o.Addresses) {
			return fmt.Errorf("pacemaker has %d of %d addresses started on %s", addresses, len(o.Addresses), owner)
		}
		if o.Service && name != voterOnly && watched != 1 {
			return fmt.Errorf("pacemaker has not the web server of %s as answering", name)
		}
	}
	return nil
}

// voterOnly is the machine that has nothing to own.
const voterOnly = "db1"

func (n clusterNode) count(agent string) (started int) {
	for _, r := range n.Resources {
		if r.Agent == agent && r.Role == "Started" && r.Active && !r.Failed {
			started++
		}
	}
	return started
}
