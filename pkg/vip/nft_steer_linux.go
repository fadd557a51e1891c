package vip

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// steerTable and drainTable are what the names of a group's own tables begin with. A table for each group: it
	// comes and goes in one message, and nobody else's rebuilding touches it.
	steerTable = TableName + "-steer-"
	drainTable = TableName + "-drain-"
	// beforeOthers is the priority of our chains on the way in: nothing else should see packets of the old
	// owner, whose connections it does not know.
	beforeOthers = -500
	// maxFlows bounds the connections that packets may add; at some 150 bytes each 40 MB at the worst.
	maxFlows = 1 << 18
	// flowTimeout is longer than any steering, also one that is prolonged.
	flowTimeout = 2 * maxHandover
	// maxFragments and fragmentTimeout are for the identifications of packets in fragments: a sender needs
	// microseconds to send all of one.
	maxFragments    = 4096
	fragmentTimeout = 5 * time.Second
	// maxDetours bounds the earlier steerings that one group keeps on one node.
	maxDetours = 4
)

// Names in a group's own tables.
const (
	steered4   = "addresses4" // sets: what is steered, timed
	steered6   = "addresses6"
	flows4     = "flows4" // sets: connections of this machine
	flows6     = "flows6"
	fragments4 = "fragments4" // set: packets whose first fragment went to another machine
	ingress    = "ingress"    // base chain
	away4      = "away4"      // chains: to another machine
	away6      = "away6"
	hopSet     = "hop" // sets: hop0 lives while packets may be sent to the first hop
)

// hop is where packets go that are not this machine's. Those from the machine `from` have been there already: for
// them it is the next best place, or, with no address in `to`, this machine.
type hop struct {
	from  net.HardwareAddr // nil: whoever has no hop of its own, and last
	to    NextHop
	until time.Duration
}

// steering is what the gate is asked to do.
type steering struct {
	group   Group
	ifindex int
	hops    []hop
	until   time.Duration
	// prolongs: this process steers the group already, so what stands in its table is of now.
	prolongs bool
}

// Learn makes the group's table, and notes which connections begin at this machine from now on. Nothing is steered
// yet. (If the connections that exist were listed first, one could begin in between.) A table that is there already is
// kept where the steering goes on; what it knows of an earlier one is of no use: a port that was of a connection of
// this machine then is perhaps of another machine's now.
func (g *NFTGate) Learn(s steering) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	table := steerTable + plainName(s.group.Name)
	have, err := tablesOf(g.socket, table)
	if err != nil {
		return err
	}
	b := &batch{table: table}
	if slices.Contains(have, familyNetdev) {
		whole, err := g.hooked(table)
		if err != nil {
			return err
		}
		if whole && s.prolongs {
			g.steerUntil(b, s)
			return steerError(g.socket.commit(b))
		}
		b.delTable(familyNetdev)
	}
	b.addTable(familyNetdev, g.flags, "hbagent: connections to group "+s.group.Name+" that another machine finishes")
	for i := range maxDetours {
		b.addSet(familyNetdev, nftSet{name: hopName(i), key: nftables.TypeEtherType, bigKey: true, timed: true,
			comment: "steering, while its elements live"})
	}
	b.addSet(familyNetdev, nftSet{name: fragments4, key: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr, nftables.TypeInetService),
		timed: true, size: maxFragments, timeout: fragmentTimeout, comment: "packets of which the rest goes the same way"})
	for _, v := range []struct {
		layout                ipLayout
		addresses, flows, out string
		addr, tuple           nftables.SetDatatype
	}{
		{layout4, steered4, flows4, away4, nftables.TypeIPAddr, tuple4},
		{layout6, steered6, flows6, away6, nftables.TypeIP6Addr, tuple6},
	} {
		b.addSet(familyNetdev, nftSet{name: v.addresses, key: v.addr, bigKey: true, timed: true, comment: "addresses of the group"})
		b.addSet(familyNetdev, nftSet{name: v.flows, key: v.tuple, bigKey: true, timed: true, size: maxFlows, timeout: flowTimeout,
			comment: "connections of this machine: client, port, address, port"})
		b.addChain(familyNetdev, nftChain{name: v.out, comment: "to the other machine"})
		b.addChain(familyNetdev, nftChain{name: v.addresses, comment: "to an address of the group"})
		v.layout.sort(b, v.addresses, v.flows, v.out)
	}
	in := nftChain{name: ingress, hooked: true, hook: unix.NF_NETDEV_INGRESS, priority: beforeOthers, device: s.group.Interface,
		comment: "frames that come in by " + s.group.Interface}
	b.addChain(familyNetdev, in)
	b.addRule(familyNetdev, in.name, "not for this machine: broadcast, flooded or overheard",
		meta(expr.MetaKeyPKTTYPE), notEqual(pktHost), verdict(expr.VerdictAccept))
	for _, l := range []ipLayout{layout4, layout6} {
		b.addRule(familyNetdev, in.name, "to an address of the group",
			join(l.is(), l.loadDst(), exprs(among(l.steered()), gotoChain(l.steered())))...)
	}
	if g.layout.egress {
		out := nftChain{name: egress, hooked: true, hook: unix.NF_NETDEV_EGRESS, priority: beforeOthers, device: s.group.Interface,
			comment: "frames that leave " + s.group.Interface}
		b.addChain(familyNetdev, out)
		for _, l := range []ipLayout{layout4, layout6} {
			b.addRule(familyNetdev, out.name, "a connection that this machine opens from the address is its own",
				join(l.isTCPKind(tcpSYN), l.loadSrc(), exprs(among(l.steered())), l.outgoing(), exprs(remember(l.flows())))...)
		}
	}
	g.steerUntil(b, s)
	return steerError(g.socket.commit(b))
}

// hooked tells whether the table's chains on the interface are there: they go with it when it is made anew.
func (g *NFTGate) hooked(table string) (bool, error) {
	have, err := takeSnapshot(g.socket, table)
	if err != nil {
		return false, err
	}
	for _, chain := range []string{ingress, egress} {
		if _, has := have[familyNetdev][chainPart+chain]; !has && (chain == ingress || g.layout.egress) {
			return false, nil
		}
	}
	return true, nil
}

// steerUntil sets how long the addresses of the group are looked at.
func (g *NFTGate) steerUntil(b *batch, s steering) {
	now := g.now()
	for _, a := range s.group.addrs() {
		e := []nftElement{{key: a.AsSlice()}}
		set := steered4
		if a.Is6() {
			set = steered6
		}
		b.addElements(familyNetdev, set, 0, e)
		b.delElements(familyNetdev, set, e)
		e[0].timeout = (s.until - now).Truncate(time.Millisecond)
		b.addElements(familyNetdev, set, 0, e)
	}
}

func (l ipLayout) steered() string {
	if l.size == 4 {
		return steered4
	}
	return steered6
}

func (l ipLayout) flows() string {
	if l.size == 4 {
		return flows4
	}
	return flows6
}

func hopName(i int) string { return fmt.Sprintf("%s%d", hopSet, i) }

// sort are the rules for a packet to an address of the group.
func (l ipLayout) sort(b *batch, chain, flows, out string) {
	// A fragment that is not the first has no ports, and what is loaded in their place is no reason for the kernel
	// to leave the rule (tried with 6.18).
	rest := join(l.is(), exprs(&expr.Exthdr{DestRegister: 1, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2}),
		masked(ip6FragMask>>8, ip6FragMask&0xff), exprs(notEqual(0, 0)))
	if l.size == 4 {
		rest = join(l.is(), payload(nh, ipFragOffset, 2), masked(ipFragMask>>8, ipFragMask&0xff), exprs(notEqual(0, 0)))
		// IPv6 has no such rule: senders do not fragment TCP (RFC 8900), and routers may not.
		b.addRule(familyNetdev, chain, "the rest of a packet in fragments goes where its first went", join(
			rest, fragmentKey(), exprs(among(fragments4), gotoChain(out)))...)
	}
	b.addRule(familyNetdev, chain, "the rest of a packet whose first is not known", join(rest, exprs(verdict(expr.VerdictAccept)))...)
	b.addRule(familyNetdev, chain, "a new connection is this machine's", join(
		l.isTCPKind(tcpSYN), l.incoming(), exprs(remember(flows), verdict(expr.VerdictAccept)))...)
	b.addRule(familyNetdev, chain, "connections of this machine", join(
		l.isL4(unix.IPPROTO_TCP), l.incoming(), exprs(among(flows), verdict(expr.VerdictAccept)))...)
	b.addRule(familyNetdev, chain, "connections of another machine", join(
		l.isL4(unix.IPPROTO_TCP), exprs(gotoChain(out)))...)
	for _, kind := range l.errors {
		b.addRule(familyNetdev, chain, "an error about a connection of this machine", join(
			l.isErrorAboutTCP(kind), l.carried(), exprs(among(flows), verdict(expr.VerdictAccept)))...)
		b.addRule(familyNetdev, chain, "an error about another connection", join(
			l.isErrorAboutTCP(kind), exprs(gotoChain(out)))...)
	}
}

func fragmentKey() []expr.Any { return key(part{nh, 12, 4}, part{nh, 16, 4}, part{nh, 4, 2}) }

// Own adds connections that exist to those of this machine.
func (g *NFTGate) Own(group string, flows []flow) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var v4, v6 []nftElement
	for _, f := range flows {
		if f.local.Addr().Is4() {
			v4 = append(v4, nftElement{key: flowKey(f)})
		} else {
			v6 = append(v6, nftElement{key: flowKey(f)})
		}
	}
	b := &batch{table: steerTable + plainName(group)}
	b.addElements(familyNetdev, flows4, 0, v4)
	b.addElements(familyNetdev, flows6, 0, v6)
	if len(b.starts) == 0 {
		return nil
	}
	return steerError(g.socket.commit(b))
}

// Steer sends what is not this machine's to the hops, until their ends: in one transaction, over what was
// before. Learn was called before it.
func (g *NFTGate) Steer(s steering) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := &batch{table: steerTable + plainName(s.group.Name)}
	now := g.now()
	for _, l := range []ipLayout{layout4, layout6} {
		out := away4
		if l.size != 4 {
			out = away6
		}
		b.clearChain(familyNetdev, out)
		if l.size == 4 {
			b.addRule(familyNetdev, out, "first of several fragments", join(l.is(),
				payload(nh, ipFragOffset, 2), masked(ipMoreFrags>>8, ipMoreFrags&0xff), exprs(notEqual(0, 0)),
				fragmentKey(), exprs(remember(fragments4)))...)
		}
		for i, h := range s.hops {
			to := h.to.IPv4
			if l.size != 4 {
				to = h.to.IPv6
			}
			var from []expr.Any
			if h.from != nil {
				from = join(payload(expr.PayloadBaseLLHeader, 6, 6), exprs(equal(h.from...)))
			}
			if to.IsValid() {
				b.addRule(familyNetdev, out, "to "+to.String(), join(from, l.is(), exprs(among(hopName(i))), forward(to.WithZone(""), s.ifindex))...)
			}
			if h.from != nil {
				b.addRule(familyNetdev, out, "it has been at "+h.from.String(), join(from, exprs(verdict(expr.VerdictAccept)))...)
			}
		}
	}
	for i, h := range s.hops {
		for _, key := range [][]byte{{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff}, keyIPv6NDP} {
			e := []nftElement{{key: key}}
			b.addElements(familyNetdev, hopName(i), 0, e)
			b.delElements(familyNetdev, hopName(i), e)
			if left := (h.until - now).Truncate(time.Millisecond); left > 0 && h.to.valid() {
				e[0].timeout = left
				b.addElements(familyNetdev, hopName(i), 0, e)
			}
		}
	}
	g.steerUntil(b, s) // their end moves too
	return steerError(g.socket.commit(b))
}

// Unsteer ends steering, and leaves nothing of it.
func (g *NFTGate) Unsteer(group string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return removeTables(g.socket, steerTable+plainName(group))
}

// steerError explains a refusal. Unlike the gate's own tables, one of these that is missing is no loss of the gate.
func steerError(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %w: the interface or the table has gone", ErrNoHandover, err)
	}
	return err
}

// SweepHandovers removes the tables of drains and steerings that a predecessor left, except for the
// steering of groups that keep says.
func (g *NFTGate) SweepHandovers(keep func(group string) bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return sweepHandovers(g.socket, func(plain string) bool {
		return slices.ContainsFunc(g.layout.members, func(m member) bool {
			return m.name == plain && keep != nil && keep(m.group.Name)
		})
	})
}

// sweepHandovers removes them, except for the steering of groups whose names in tables keep says.
func sweepHandovers(s *nftSocket, keep func(plain string) bool) error {
	tables, err := tablesWith(s, TableName+"-")
	if err != nil {
		return err
	}
	for _, t := range tables {
		name, steer := strings.CutPrefix(t, steerTable)
		if steer && keep(name) || !steer && !strings.HasPrefix(t, drainTable) {
			continue
		}
		if err := removeTables(s, t); err != nil {
			return fmt.Errorf("table %s: %w", t, err)
		}
	}
	return nil
}
