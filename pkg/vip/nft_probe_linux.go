package vip

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	// selfTestLease is the lease of the self-test: long enough not to end by chance.
	selfTestLease = 10 * time.Second
	// selfTestLast is what is left at the end of it, at the first try: it must not run out before it is told to the kernel, and
	// the test waits for its end. A machine that stalled gets twice as much at the next try, up to selfTestMost.
	selfTestLast = 30 * time.Millisecond
	selfTestMost = 480 * time.Millisecond
	// selfTestWait bounds how long it waits for an element to end.
	selfTestWait = 3 * time.Second
	// selfTestStalls bounds how long it is repeated on a machine that stalls: many agents, or a whole machine, that
	// start at once.
	selfTestStalls = 15 * time.Second
)

// selfTestGroup is gated in scratch tables. Its addresses belong to nobody (RFC 5737, RFC 6666).
var selfTestGroup = Group{Name: "self-test", Interface: "lo", Addresses: []netip.Prefix{
	netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("100::1/128"),
}}

// probeKernel finds out, by doing it in tables of another name, whether this kernel can hold a gate, and what
// it can do beyond. Versions say little: distributions carry features back, and leave modules out.
func probeKernel(t timing, o GateOptions) (features, error) {
	var have features
	s, err := newNFTSocket()
	if err != nil {
		return have, fmt.Errorf("vip: %w: %w; %s", ErrNoGate, err, withoutGate)
	}
	var id [6]byte
	rand.Read(id[:]) // never fails, see crypto/rand
	g := &NFTGate{timing: t, now: bootTime, socket: s, table: TableName + "-test-" + hex.EncodeToString(id[:]), live: make(map[string]time.Duration)}
	defer func() {
		_ = removeTables(s, g.table) // with an owner they end with the socket as well
		_ = s.close()
	}()
	have.owner = !o.NoOwner && g.hasOwner()
	have.egress = !o.NoEgress && g.hasEgress()
	if have.owner {
		g.flags = tableOwner // not persistent: gone with this process, whatever happens
	}
	g.layout.features = have
	return have, insist(g.selfTest, bootTime)
}

// insist repeats the self-test on a machine that stalls while it starts, which says nothing about its kernel: each time with
// more time for its last step. Nor does somebody else's change in the middle of a listing say anything.
func insist(test func(last time.Duration) error, now func() time.Duration) error {
	for began, last := now(), selfTestLast; ; last = min(2*last, selfTestMost) {
		err := test(last)
		// Ten seconds do not run out by themselves, nor does the last lease before it is told to the kernel.
		stalled := errors.Is(err, ErrStalled) || errors.Is(err, ErrDeadline) || errors.Is(err, ErrGateExpired)
		switch again := stalled || errors.Is(err, unix.EINTR); {
		case err == nil:
			return nil
		case again && now()-began <= selfTestStalls:
		case stalled:
			return fmt.Errorf("vip: this machine has been too busy for a self-test of the gate for %v, as it would be for a lease: start again when it is not: %w", selfTestStalls, err)
		default:
			return fmt.Errorf("vip: %w: self-test: %w; %s", ErrNoGate, err, withoutGate)
		}
	}
}

// withoutGate is what to do where there can be no gate.
const withoutGate = `use a kernel with nf_tables (inet, arp, fib; Linux 4.19 or later), ` +
	`or write gate = "address" below [lease], with a ttl of 5s or more`

// hasOwner tells whether a table can have an owner and outlive it. Both or none: a table that has an owner
// only vanishes with the agent, and with it the gate. Nothing remains: it is one transaction.
func (g *NFTGate) hasOwner() bool {
	b := &batch{table: g.table}
	b.addTable(familyINet, tableOwner|tablePersist, "self-test")
	b.delTable(familyINet)
	return g.socket.commit(b) == nil
}

func (g *NFTGate) hasEgress() bool {
	b := &batch{table: g.table}
	b.addTable(familyNetdev, 0, "self-test")
	b.addChain(familyNetdev, nftChain{name: egress, hooked: true, hook: unix.NF_NETDEV_EGRESS, device: selfTestGroup.Interface})
	b.delTable(familyNetdev)
	return g.socket.commit(b) == nil
}

// selfTest builds the tables and walks a group through its life, at the end of which it has last.
func (g *NFTGate) selfTest(last time.Duration) error {
	if err := g.tryRebuild([]Group{selfTestGroup}, nil); err != nil {
		return fmt.Errorf("building the tables: %w", err)
	}
	name := selfTestGroup.Name
	if err := g.Open(name, g.now()+selfTestLease); err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	renew := func(left time.Duration) error { return g.Renew(map[string]time.Duration{name: g.now() + left})[name] }
	if err := renew(selfTestLease); err != nil {
		return fmt.Errorf("renewing: %w", err)
	}
	if err := g.atomic(); err != nil {
		return err
	}
	// From here on the group runs out, and a renewal must be refused.
	if err := renew(g.shorter + last); err != nil {
		return fmt.Errorf("renewing for the last time: %w", err)
	}
	for began := g.now(); ; {
		<-time.After(g.shorter + last)
		err := renew(g.shorter + last)
		if errors.Is(err, ErrGateExpired) {
			break
		}
		if err != nil {
			return fmt.Errorf("renewing what ran out: %w, want a refusal", err)
		}
		if g.now()-began > selfTestWait {
			return errors.New("elements do not time out")
		}
	}
	if err := g.Shut(name); err != nil {
		return fmt.Errorf("shutting: %w", err)
	}
	return nil
}

// atomic tries a transaction over two tables whose last message cannot be: nothing of it may happen.
func (g *NFTGate) atomic() error {
	m, _ := g.member(selfTestGroup.Name)
	arp := g.elements(m, familyARP)
	b := &batch{table: g.table}
	b.delElements(familyARP, m.liveSet(), arp)
	b.delElements(familyINet, tokens, []nftElement{{key: nativeUint32(0)}})
	if err := g.socket.commit(b); !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("a transaction with an impossible part: %v, want a refusal", err)
	}
	b = &batch{table: g.table}
	b.addElements(familyARP, m.liveSet(), unix.NLM_F_EXCL, arp)
	if err := g.socket.commit(b); !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("a refused transaction has changed something: %v", err)
	}
	return nil
}
