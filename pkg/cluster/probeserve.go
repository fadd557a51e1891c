package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// maxAnswers is how many probes of one peer are answered in a second. Chosen by us: two callers with the
// defaults at once. What is beyond is dropped unread, and looks like loss to who overdoes it.
const maxAnswers = 200

// answering counts the probes of one peer. It belongs to the goroutine that reads packets.
type answering struct {
	second time.Time
	count  int
}

func (a *answering) allow(now time.Time) bool {
	if now.Sub(a.second) >= time.Second {
		a.second, a.count = now, 0
	}
	a.count++
	return a.count <= maxAnswers
}

// Probe sends questions to every other node on the gossip port, over this node's own sockets, and returns what came
// of it, in the order of the names. It takes a second for the defaults, and 10 s at most. Any goroutine.
func (c *Cluster) Probe(ctx context.Context, o ProbeOptions) []PeerProbe {
	peers, names := make([]netip.AddrPort, len(c.order)), make([]string, len(c.order))
	for i, p := range c.order {
		peers[i], names[i] = p.addr, p.name
	}
	return c.probing.all(ctx, peers, names, o)
}

// takeProbe is called by the goroutine that reads packets, for each datagram of a peer that is a probe.
func (c *Cluster) takeProbe(p *peer, from netip.AddrPort, b []byte, at time.Time) {
	q, err := parseProbe(b)
	if err != nil {
		return
	}
	if q.kind != probeAsk {
		c.probing.take(q, at)
		return
	}
	if !p.answering.allow(at) {
		return
	}
	var ask probeAskBody
	size := len(b)
	reply := func(b []byte) {
		// To whatever port it came from: somebody may ask who has no agent.
		if _, err := c.net.udp.WriteToUDPAddrPort(b, from); err != nil {
			c.logger.Debug("cannot answer a probe", "peer", p.name, "err", err)
		}
	}
	seal := c.seal.Load()
	switch err := seal.open(q, &ask); {
	case err != nil:
		if no := seal.refuse(q, err); no != nil {
			reply(no)
		}
	case ask.Back:
		c.spawn(func() { reply(c.seal.Load().seal(probeAnswer, q.id, c.probeAnswer(p, true), size)) })
	default:
		reply(seal.seal(probeAnswer, q.id, c.probeAnswer(p, false), size))
	}
}

// refuse is what to say to a probe that cannot be opened, nil for nothing.
func (s *sealer) refuse(q probePacket, err error) []byte {
	switch {
	case errors.Is(err, errOtherCluster):
		return s.nack(q.id, nackCluster)
	case errors.Is(err, errNotOpened):
		return s.nack(q.id, nackKey)
	}
	return nil
}

// serveProbe answers one probe on a stream of a peer.
func (c *Cluster) serveProbe(p *peer, conn net.Conn) {
	defer conn.Close()
	// With back, the answer waits for a stream of our own.
	if err := conn.SetDeadline(time.Now().Add(2 * streamProbe)); err != nil {
		return
	}
	b, err := readProbe(conn)
	if err != nil {
		return
	}
	q, err := parseProbe(b)
	if err != nil || q.kind != probeAsk {
		return
	}
	var ask probeAskBody
	var out []byte
	if err := c.seal.Load().open(q, &ask); err != nil {
		out = c.seal.Load().refuse(q, err)
	} else {
		out = c.seal.Load().seal(probeAnswer, q.id, c.probeAnswer(p, ask.Back), 0)
	}
	if out == nil {
		return
	}
	if err := writeProbe(conn, out); err != nil {
		c.logger.Debug("cannot answer a probe", "peer", p.name, "err", err)
	}
}

// probeAnswer is what this node says of itself; with back, after it has tried a stream to the peer's own address.
func (c *Cluster) probeAnswer(p *peer, back bool) probeAnswerBody {
	var a probeAnswerBody
	if back {
		// One at a time for each peer; who asks at the same moment shares it.
		v, _, _ := c.backs.Do(p.name, func() (any, error) {
			s, _ := c.probing.askStream(c.ctx, p.addr, false)
			return s, nil
		})
		s := v.(Stream)
		a.Back = &s
	}
	c.mu.Lock()
	own := c.own.state
	c.mu.Unlock()
	a.Node, a.Version = c.opts.Node, c.opts.Version
	a.ConfigHash, a.Generation, a.TTLNs = own.ConfigHash, own.Generation, int64(c.opts.TTL)
	a.WallNs = time.Now().UnixNano()
	return a
}

// ProbeFrom probes the peers of a node whose agent does not run here: from its configured address, from a port that
// the kernel chooses. The options are those of Start; RunID and Handler are not needed.
func ProbeFrom(ctx context.Context, o Options, how ProbeOptions) ([]PeerProbe, error) {
	seal, err := newSealer(o.Cluster, o.Keys)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	var self netip.Addr
	var peers []netip.AddrPort
	var names []string
	known := map[netip.AddrPort]bool{}
	for _, p := range o.Peers {
		if p.Name == o.Node {
			self = p.Address.Unmap()
			continue
		}
		at := netip.AddrPortFrom(p.Address.Unmap(), uint16(o.Port))
		peers, names, known[at] = append(peers, at), append(names, p.Name), true
	}
	if !self.IsValid() {
		return nil, fmt.Errorf("cluster: this node, %q, is not among the configured nodes", o.Node)
	}
	local, err := localAddresses()
	if err != nil {
		return nil, fmt.Errorf("cluster: list this machine's addresses: %w", err)
	}
	if !isLocal(self, local) {
		return nil, fmt.Errorf("cluster: %w", notLocalError(self, local))
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(self, 0)))
	if err != nil {
		return nil, fmt.Errorf("cluster: open a socket at %s: %w", self, err)
	}
	g := newProbing(o.Node, func() *sealer { return seal })
	g.send = func(b []byte, to netip.AddrPort) error {
		_, err := udp.WriteToUDPAddrPort(b, to)
		return err
	}
	g.dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) { return dialFrom(ctx, self, to) }
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			q, err := parseProbe(buf[:n])
			if err == nil && q.kind != probeAsk && known[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())] {
				g.take(q, time.Now())
			}
		}
	}()
	probes := g.all(ctx, peers, names, how)
	_ = udp.Close()
	<-done
	return probes, nil
}

// dialFrom opens a stream from an address of this node's.
func dialFrom(ctx context.Context, self netip.Addr, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(self, 0))}
	return d.DialContext(ctx, "tcp", to.String())
}
