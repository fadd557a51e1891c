package doctor

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/vip"
)

// Chosen by us.
const (
	askAgent   = 2 * time.Second       // an agent answers in milliseconds, or hangs
	probeEvery = 25 * time.Millisecond // below what a peer answers in a second
	probeLeast = 8
	decoyWait  = 350 * time.Millisecond // two questions
)

// collector fills Facts. What runs at the same time writes to different fields.
type collector struct {
	*Facts
	o      Options
	client *control.Client
	root   fs.FS
	log    sync.Mutex
}

// Collect looks at everything within ctx. It changes nothing.
func Collect(ctx context.Context, o Options) (*Facts, error) {
	o.Measure = min(max(cmp.Or(o.Measure, DefaultMeasure), MinMeasure), MaxMeasure)
	o.Root = cmp.Or(o.Root, "/")
	c := &collector{
		Facts: &Facts{At: time.Now(), Links: map[string]Link{}, Wire: map[string]Wire{}},
		o:     o, client: control.NewClient(o.RunDir), root: os.DirFS(o.Root),
	}
	c.firstWords(ctx)
	if err := loadConfig(c.Facts, cmp.Or(o.ConfigFile, c.Agent.Process.ConfigFile, o.Default)); err != nil {
		return nil, err
	}
	c.LocalAddr = localAddresses()
	findNode(c.Facts, o)
	c.links()
	c.processes()
	c.unit()
	c.user()
	c.files()
	c.managers()
	c.sockets()
	c.machine()
	c.together(ctx)
	c.lastWords(ctx)
	return c.Facts, nil
}

// firstWords asks the agent before anything is sent.
func (c *collector) firstWords(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askAgent)
	defer cancel()
	var err error
	if c.Agent.Status, err = c.client.Status(ctx); err == nil {
		c.Agent.Running = true
		if c.Agent.Process, err = c.client.Process(ctx); err != nil {
			c.Agent.CapsWhy = err.Error()
		} else {
			c.Agent.Caps, c.Agent.CapsWhy = capabilitiesOf(c.Agent.Process.PID)
		}
		return
	}
	c.Agent.NoAgent = errors.Is(err, control.ErrNoAgent)
	c.Agent.Why = err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		c.Agent.Why = "the agent does not answer on its socket: it hangs, or the machine is overloaded"
	}
}

// lastWords asks it again, after the wire: what moved in between is not held against anybody.
func (c *collector) lastWords(ctx context.Context) {
	if !c.Agent.Running {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askAgent)
	defer cancel()
	if after, err := c.client.Status(ctx); err == nil {
		c.Agent.After = after
	}
	if events, err := c.client.Events(ctx, c.At.Add(-historyFor), 0); err == nil {
		c.Agent.Events = events
	}
}

// together is what takes time.
func (c *collector) together(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { c.Sample = sample(ctx, c.o.Measure) })
	if c.Config == nil {
		wg.Wait()
		return
	}
	wg.Go(func() { c.selfTest(ctx) })
	wg.Go(func() { c.Services = agent.ExamineServices(ctx, c.Config, c.Node) })
	wg.Go(func() { c.peers(ctx) })
	wg.Go(func() { c.VRRP = listenVRRP(ctx, c.o.Measure) })
	wg.Go(func() { c.witness(ctx) })
	for _, name := range c.asked() {
		wg.Go(func() {
			w := c.ask(ctx, name)
			c.log.Lock()
			defer c.log.Unlock()
			c.Wire[name] = w
		})
	}
	wg.Wait()
}

// asked are the interfaces on which the wire is asked: those of groups, and that of the node's own address.
func (c *collector) asked() []string {
	names := c.interfaces()
	self, ok := c.Config.Node(c.Node)
	if !ok {
		return names
	}
	for _, l := range c.Others {
		if slices.ContainsFunc(l.Addrs, func(a Address) bool { return a.Addr() == self.Address }) && l.Ethernet {
			names = append(names, l.Name)
		}
	}
	return names
}

// ask asks one segment for all floating addresses, for the nodes, and for addresses that nobody has.
func (c *collector) ask(ctx context.Context, iface string) Wire {
	l := c.Links[iface]
	if !c.Self.NetRaw {
		return Wire{Why: "asking the wire needs CAP_NET_RAW: run this command as root"}
	}
	if l.Exists && (!l.Up || !l.Carrier) {
		return Wire{Why: iface + " carries nothing"}
	}
	addrs := map[netip.Addr]bool{}
	w := Wire{}
	for _, g := range c.on(iface) {
		for _, p := range g.Addresses {
			if p.Addr().Is6() && l.NoIPv6 {
				continue
			}
			addrs[p.Addr()] = true
			if w.Decoys == nil {
				w.Decoys = decoys(p, c.taken())
			}
		}
	}
	for _, a := range w.Decoys {
		addrs[a] = true
	}
	for _, n := range c.Config.Nodes {
		if !n.Address.Is6() || !l.NoIPv6 {
			addrs[n.Address] = true
		}
	}
	var list []netip.Addr
	for a := range addrs {
		list = append(list, a)
	}
	proxied := c.proxied(ctx, iface, w.Decoys)
	claims, err := vip.WhoHas(ctx, iface, list)
	w.Proxied = proxied()
	if err != nil {
		w.Why = err.Error()
		return w
	}
	for _, claim := range claims {
		w.Claims = append(w.Claims, Claim{claim.Addr, claim.MAC.String(), !claim.Answered})
	}
	return w
}

// proxied asks for decoys from this node's own address, and returns a function that waits for how many were answered for.
func (c *collector) proxied(ctx context.Context, iface string, decoys []netip.Addr) func() int {
	var n atomic.Int64
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, decoyWait)
	for _, a := range decoys {
		wg.Go(func() {
			if _, err := vip.ProbeHost(ctx, iface, a); err == nil {
				n.Add(1)
			}
		})
	}
	return func() int {
		wg.Wait()
		cancel()
		return int(n.Load())
	}
}

// taken are addresses that somebody has, or may have.
func (c *collector) taken() []netip.Addr {
	list := slices.Clone(c.LocalAddr)
	for _, n := range c.Config.Nodes {
		list = append(list, n.Address)
	}
	for a := range floating(c.Config) {
		list = append(list, a)
	}
	return append(list, c.Config.Lease.Witness)
}

// decoys are three addresses of an IPv4 network, spread over its upper half; none where it is small.
func decoys(p netip.Prefix, taken []netip.Addr) []netip.Addr {
	if !p.Addr().Is4() || p.Bits() > 27 || p.Bits() < 8 {
		return nil
	}
	first := p.Masked().Addr().As4()
	base := uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])
	size := uint32(1) << (32 - p.Bits())
	var out []netip.Addr
	for _, at := range []uint32{11, 13, 15} {
		n := base + size*at/20 + 1
		a := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		if slices.Contains(taken, a) {
			return nil
		}
		out = append(out, a)
	}
	return out
}

func (c *collector) selfTest(ctx context.Context) {
	switch {
	case c.Config.Lease.Gate == config.GateAddress:
		return
	case !c.Self.NetAdmin || !c.Self.NetRaw:
		if c.Agent.Running && c.Agent.Status.Gate != "" {
			c.Gate.Name = c.Agent.Status.Gate + ", as the agent found at its start"
			return
		}
		c.Gate.Why = "the self-test needs CAP_NET_ADMIN and CAP_NET_RAW: run this command as root"
		return
	}
	var name string
	err := within(ctx, func() (err error) {
		name, err = vip.SelfTest(vip.GateOptions{TTL: c.Config.Lease.TTL})
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		c.Gate.Why = "the self-test did not end in time: this machine is too busy"
		return
	}
	c.Gate.Name = name
	switch {
	case errors.Is(err, vip.ErrStalled), errors.Is(err, vip.ErrDeadline):
		c.Gate.Why = "this machine stood still too often for the self-test: " + err.Error()
	case err != nil:
		c.Gate.Err = err.Error()
	}
}

// within waits for f until ctx ends; then f goes on by itself, and nothing that it writes may be read.
func within(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// peers tries the gossip port: by the agent, whose port it is, or from a port of this command's own.
func (c *collector) peers(ctx context.Context) {
	if c.Node == "" {
		c.PeersWhy = "it is not known which node this is"
		return
	}
	req := control.ProbeRequest{Count: max(int(c.o.Measure/probeEvery), probeLeast), EveryMs: probeEvery.Milliseconds()}
	if c.Agent.Running {
		res, err := c.client.Probe(ctx, req)
		if err == nil {
			c.Peers = res.Peers
			return
		}
		c.PeersWhy = err.Error()
		return
	}
	var keys [][]byte
	if !c.Config.Cluster.Insecure {
		var err error
		if keys, err = config.ReadKeys(c.Config.Cluster.KeyFile); err != nil {
			c.PeersWhy = "without the gossip key no peer can be asked: " + err.Error()
			return
		}
	}
	probes, err := agent.ProbePeers(ctx, c.Config, c.Node, c.Files.StateDir.Path, keys, req)
	if err != nil {
		c.PeersWhy = err.Error()
		return
	}
	c.Peers = probes
}

func (c *collector) witness(ctx context.Context) {
	w := c.Config.Lease.Witness
	if !w.IsValid() {
		return
	}
	c.Witness.Addr = w
	ifaces := c.interfaces()
	switch {
	case len(ifaces) == 0:
		c.Witness.Why = "this node may own nothing, so it does not ask the witness"
		return
	case !c.Self.NetRaw:
		c.Witness.Why = "asking the wire needs CAP_NET_RAW: run this command as root"
		return
	}
	c.Witness.Interface = ifaces[0]
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	rtt, err := vip.ProbeHost(ctx, ifaces[0], w)
	c.Witness.RTT = rtt
	if err != nil {
		c.Witness.Err = err.Error()
	}
}

func localAddresses() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

// ownCapabilities are those of this process.
func ownCapabilities() ProcessCaps {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	self := ProcessCaps{Root: os.Geteuid() == 0}
	if unix.Capget(&header, &data[0]) == nil {
		self.NetAdmin = data[0].Effective&capNetAdmin != 0
		self.NetRaw = data[0].Effective&capNetRaw != 0
	}
	return self
}
