package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// quietTime is how long after the move the old owner sends no SYN-ACK a second time: see "answers" below. A
	// client repeats a lost SYN after 1 s (RFC 6298 section 2), and then after another 2 s.
	quietTime = 2500 * time.Millisecond
	// answerTime is how long after a SYN its answer may leave. It is far below the second after which both
	// ends repeat themselves.
	answerTime = 500 * time.Millisecond
	// beforeGate and beforeGateOut are ahead of the gate's chains, which drop; the second is behind
	// connection tracking, which should see the packet as it was.
	beforeGate    = beforeNAT - 1
	beforeGateOut = afterNAT - 1
)

// Names in the table of a draining group.
const (
	askAs   = "ask-as" // map: floating address to the machine's own
	asked4  = "asked4" // sets: connections whose SYN came just now
	asked6  = "asked6"
	quiet4  = "quiet4" // sets: addresses for which nothing is repeated
	quiet6  = "quiet6"
	replies = "output"
)

// Drain shuts the gate for everything that speaks for the group, and keeps it open for the TCP packets of
// connections until the deadline. ARP requests that the kernel sends for such a connection carry the address that asks
// names instead of the floating one. All of it is one transaction, and ends by itself.
func (g *NFTGate) Drain(group string, asks map[netip.Addr]netip.Addr, until time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, known := g.member(group)
	if !known {
		return fmt.Errorf("%w: %s", ErrUnknownGroup, group)
	}
	if g.lost {
		return ErrGateLost
	}
	table := drainTable + m.name
	if err := removeTables(g.socket, table); err != nil {
		return err
	}
	now := g.now()
	left := (until - now).Truncate(time.Millisecond)
	if left <= 0 || left > maxHandover {
		return fmt.Errorf("%w: %v left", ErrDeadline, left)
	}
	b := &batch{table: g.table}
	g.silence(b, m)
	m.keepDraining(b, left)
	b.table = table
	g.askAs(b, m, asks, left)
	g.answers(b, m, min(left, quietTime))
	if err := g.socket.commit(b); err != nil {
		return g.explain(err)
	}
	delete(g.live, group)
	g.draining[group] = until
	return nil
}

// EndDrain shuts the gate for the connections too, and leaves nothing of the drain. It is nothing for a group that
// is not draining.
func (g *NFTGate) EndDrain(group string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, known := g.member(group)
	if _, draining := g.draining[group]; known && draining && !g.lost {
		b := &batch{table: g.table}
		m.stopDraining(b)
		if err := g.socket.commit(b); err != nil {
			return g.explain(err)
		}
	}
	delete(g.draining, group)
	return removeTables(g.socket, drainTable+plainName(group))
}

// keepDraining lets connections go on.
func (m member) keepDraining(b *batch, left time.Duration) {
	m.stopDraining(b)
	for _, key := range m.liveKeys(familyINet) {
		b.addElements(familyINet, m.drainSet(), 0, []nftElement{{key: key, timeout: left, comment: m.group.Name}})
	}
}

func (m member) stopDraining(b *batch) {
	for _, key := range m.liveKeys(familyINet) {
		e := []nftElement{{key: key}}
		b.addElements(familyINet, m.drainSet(), 0, e)
		b.delElements(familyINet, m.drainSet(), e)
	}
}

// askAs makes the kernel ask for its clients' hardware addresses in the machine's own name. It takes the sender
// address from the packet that waits (net/ipv4/arp.c arp_solicit), which is a floating address that is another
// machine's by now. For IPv6 nothing is to be done: the kernel asks with the link-local address when the
// address of the packet is not on the interface (net/ipv6/ndisc.c ndisc_solicit).
func (g *NFTGate) askAs(b *batch, m member, asks map[netip.Addr]netip.Addr, left time.Duration) {
	if !m.v4 {
		return
	}
	b.addTable(familyARP, g.flags, "hbagent: group "+m.group.Name+" is draining")
	b.addSet(familyARP, nftSet{name: askAs, key: nftables.TypeIPAddr, bigKey: true, values: &nftables.TypeIPAddr, timed: true,
		comment: "floating address: the machine's own"})
	c := nftChain{name: replies, hooked: true, hook: 1, priority: -1, comment: "ARP of this machine, ahead of the gate"} // NF_ARP_OUT
	b.addChain(familyARP, c)
	b.addRule(familyARP, c.name, "questions in the machine's own name", join(
		payload(nh, 6, 2), exprs(equal(0, 1)), arpSender(),
		exprs(&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: askAs}),
		exprs(&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: nh, Offset: arpSenderOffset, Len: 4}))...)
	var elements []nftElement
	for _, a := range m.group.addrs() {
		if own := asks[a]; a.Is4() && own.IsValid() {
			elements = append(elements, nftElement{key: a.AsSlice(), value: own.AsSlice(), timeout: left})
		}
	}
	b.addElements(familyARP, askAs, 0, elements)
}

// answers keeps the old owner from repeating a SYN-ACK in the first seconds. A client whose SYN-ACK was lost
// repeats its SYN after a second; that one reaches the new owner, and both would answer. If the client
// took the old owner's answer, its packets would all the same be taken for the new owner's connection, and reset. So
// the old owner answers a SYN that comes to it, at once, and is silent when the time for repeating comes.
// After a few seconds it may repeat again: then the client has a connection, and what may have been lost is the last
// packet of the handshake, which a client that waits for the server to speak first never sends again by itself.
func (g *NFTGate) answers(b *batch, m member, left time.Duration) {
	b.addTable(familyINet, g.flags, "hbagent: group "+m.group.Name+" is draining")
	in := nftChain{name: "prerouting", hooked: true, hook: unix.NF_INET_PRE_ROUTING, priority: beforeGate}
	out := nftChain{name: "postrouting", hooked: true, hook: unix.NF_INET_POST_ROUTING, priority: beforeGateOut}
	b.addChain(familyINet, in)
	b.addChain(familyINet, out)
	for _, v := range []struct {
		ipLayout
		quiet, asked string
		addr, tuple  nftables.SetDatatype
	}{{layout4, quiet4, asked4, nftables.TypeIPAddr, tuple4}, {layout6, quiet6, asked6, nftables.TypeIP6Addr, tuple6}} {
		b.addSet(familyINet, nftSet{name: v.quiet, key: v.addr, bigKey: true, timed: true, comment: "addresses for which nothing is repeated"})
		b.addSet(familyINet, nftSet{name: v.asked, key: v.tuple, bigKey: true, timed: true, size: maxFlows, timeout: answerTime,
			comment: "connections whose SYN has just come"})
		b.addRule(familyINet, in.name, "a SYN", join(
			v.isTCPKind(tcpSYN), v.loadDst(), exprs(among(v.quiet)), v.incoming(), exprs(remember(v.asked)))...)
		b.addRule(familyINet, out.name, "a SYN-ACK that answers no SYN of this moment", join(
			v.isTCPKind(tcpSYNACK), v.loadSrc(), exprs(among(v.quiet)),
			v.outgoing(), exprs(without(v.asked), &expr.Counter{}), withoutFlags())...)
		var elements []nftElement
		for _, a := range m.group.addrs() {
			if a.Is4() == (v.size == 4) {
				elements = append(elements, nftElement{key: a.AsSlice(), timeout: left})
			}
		}
		b.addElements(familyINet, v.quiet, 0, elements)
	}
}

// withoutFlags takes all flags from a segment: every receiver throws it away (RFC 9293 section 3.10.7: in SYN-SENT
// fourth, in ESTABLISHED fifth). If it were dropped here, the kernel would see an error, and forget the connection that
// it wanted to answer (net/ipv4/inet_connection_sock.c reqsk_timer_handler).
func withoutFlags() []expr.Any {
	return join(payload(th, tcpFlagsOffset-1, 2), masked(0xff, 0), exprs(&expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: 1, Base: th, Offset: tcpFlagsOffset - 1, Len: 2,
		CsumType: expr.CsumTypeInet, CsumOffset: tcpChecksumOffset}))
}

// drainingRules let the connections of a draining group through the gate: TCP, and on the way in the errors about it.
func (l layout) drainingRules(b *batch, m member, chain string, in bool) {
	protos := []byte{unix.IPPROTO_TCP}
	if in {
		protos = append(protos, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6)
	}
	for _, p := range protos {
		b.addRule(familyINet, chain, "draining", meta(expr.MetaKeyNFPROTO), lookup(m.drainSet()),
			meta(expr.MetaKeyL4PROTO), equal(p), verdict(expr.VerdictReturn))
	}
}

func (m member) drainSet() string { return drainingSet + m.name }

// keepDrains carries draining groups over a rebuild of the tables.
func (g *NFTGate) keepDrains(b *batch, next layout, now time.Duration) {
	for _, m := range next.members {
		if left := (g.draining[m.group.Name] - now).Truncate(time.Millisecond); left > 0 {
			m.keepDraining(b, left)
		}
	}
}

// tablesWith are the names of tables that begin so, each once.
func tablesWith(s *nftSocket, prefix string) ([]string, error) {
	var out []string
	for _, f := range allFamilies {
		err := attributes(s, f, unix.NFT_MSG_GETTABLE, nil, func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() != unix.NFTA_TABLE_NAME {
					continue
				}
				if name := ad.String(); strings.HasPrefix(name, prefix) && !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
			return ad.Err()
		})
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("listing tables: %w", err)
		}
	}
	return out, nil
}
