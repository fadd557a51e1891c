package vip

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"
)

// Rules of others stay as they are, and ours work beside them whatever they say.
func TestGateBesideOthers(t *testing.T) {
	for _, policy := range []string{"drop", "accept"} {
		t.Run(policy, func(t *testing.T) {
			s := newSegment(t)
			foreign := []string{
				"add table inet firewall",
				"add chain inet firewall input { type filter hook input priority filter; policy " + policy + "; }",
				"add rule inet firewall input meta l4proto { tcp, icmpv6 } accept",
				"add chain inet firewall output { type filter hook output priority filter; policy " + policy + "; }",
				"add rule inet firewall output meta l4proto { tcp, icmpv6 } accept",
				"add table arp firewall",
				"add chain arp firewall output { type filter hook output priority -400; policy accept; }",
				"add rule arp firewall output accept",
				// as iptables-nft writes it
				"add table ip filter",
				"add chain ip filter INPUT { type filter hook input priority filter; policy accept; }",
				"add rule ip filter INPUT ip protocol tcp tcp dport 1 counter drop",
				"add set inet firewall banned { type ipv4_addr; flags timeout; }",
			}
			for _, line := range foreign {
				nft(t, strings.Fields(line)...)
			}
			t.Cleanup(func() { nft(t, "flush", "ruleset") })
			before := nft(t, "-s", "list", "ruleset")
			l := server(t, "0.0.0.0:0")
			m := s.run(Options{Groups: []Group{s.web()}, Gate: s.gate(GateOptions{})})
			s.must(m.Open("web", in(time.Minute)))
			s.wantAnswers("open", true)
			to := fmt.Sprintf("10.9.0.50:%d", port(l))
			if !reaches(t, s.ns, to, patience) {
				t.Error("no connection through the open gate")
			}
			s.must(m.gate.Shut("web"))
			s.wantAnswers("gate shut", false)
			s.farKnows(vip4)
			if reaches(t, s.ns, to, brief) || reaches(t, netns.None(), to, brief) {
				t.Error("a connection past the shut gate")
			}
			s.must(m.Shut("web", "test"))
			m.stop()
			if diff := cmp.Diff(before, nft(t, "-s", "list", "ruleset")); diff != "" {
				t.Errorf("ruleset (-want +got):\n%s", diff)
			}
		})
	}
}

// Changes of others to our tables are heard of, their own business and ours is not.
func TestGateWatch(t *testing.T) {
	s := newSegment(t)
	g := s.gated(GateOptions{NoOwner: true}, s.web())
	ctx, cancel := context.WithCancel(t.Context())
	var heard atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- g.Watch(ctx, func() { heard.Add(1) }) }()
	s.eventually("the first look", func() bool { return heard.Load() == 1 })
	s.must(g.Open("web", in(time.Minute)))
	s.must(g.Renew(one("web", in(time.Minute)))["web"])
	nft(t, "add", "table", "inet", "firewall")
	nft(t, "delete", "table", "inet", "firewall")
	nft(t, "add", "element", "inet", TableName, tokens, "{ 1 timeout 1s }")
	s.eventually("the change of a stranger", func() bool { return heard.Load() == 2 })
	if stands, err := g.Verify(); !stands || err != nil {
		t.Errorf("Verify after a change that harms nothing: %v, %v", stands, err)
	}
	nft(t, "delete", "table", "inet", TableName)
	s.eventually("the loss", func() bool { return heard.Load() > 2 })
	if stands, err := g.Verify(); stands || err != nil {
		t.Errorf("Verify after the loss: %v, %v", stands, err)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("Watch did not end")
	}
}

// An interface that is made anew takes its egress chain with it; it gets another, and the group stays live.
func TestGateInterfaceMadeAnew(t *testing.T) {
	s := newSegment(t)
	gate := s.gate(GateOptions{})
	m := s.run(Options{Groups: []Group{s.web()}, Gate: gate})
	s.must(m.Open("web", in(time.Minute)))
	s.unplug()
	m.await(t, LinkDown)
	s.must(m.Renew("web", in(time.Minute)))
	s.plug()
	m.await(t, LinkUp)
	s.eventually("both addresses", func() bool { return s.has("10.9.0.50/32") && s.has("fd09::50/128") })
	s.wantAnswers("afterwards", true)
	s.must(m.Renew("web", in(time.Minute)))
	if gate.layout.egress {
		s.eventually("an egress chain", func() bool {
			return strings.Contains(nft(t, "list", "table", "netdev", TableName), "hook egress device")
		})
	}
	s.must(gate.Shut("web"))
	s.wantAnswers("shut", false)
	s.must(m.Shut("web", "test"))
	select {
	case e := <-m.events:
		if e.Kind == GateLost {
			t.Errorf("event %+v", e)
		}
	default:
	}
}

// A group moves to other addresses and another interface while it and another one are open.
func TestGateReconfigure(t *testing.T) {
	s := newSegment(t)
	db := Group{Name: "db", Interface: s.near, Addresses: prefixes("10.9.0.60/24")}
	gate := s.gate(GateOptions{})
	m := s.run(Options{Groups: []Group{s.web(), db}, Gate: gate})
	s.must(m.Open("web", in(time.Minute)))
	s.must(m.Open("db", in(time.Minute)))
	next := db
	next.Addresses = prefixes("10.9.0.61/24", "fd09::61/64")
	s.must(m.Reconfigure([]Group{next, s.web()}))
	wantLive(t, gate, "after other addresses", "arp db 1", "arp web 1", "inet db 2", "inet web 2", "netdev db 2", "netdev web 2")
	s.wantList("after other addresses", with("10.9.0.50/32", "fd09::50/128", "10.9.0.61/32", "fd09::61/128"))
	next.Addresses = prefixes("10.9.0.50/24", "fd09::50/64") // db takes what web had, and is open
	s.must(m.Reconfigure([]Group{next}))
	wantLive(t, gate, "after web went", "arp db 1", "inet db 2", "netdev db 2")
	s.wantAnswers("of another group", true)
	s.must(m.Renew("db", in(time.Minute)))
	if dropped := counted(t); dropped != "" {
		t.Errorf("dropped:\n%s", dropped)
	}
	s.must(m.Shut("db", "test"))
	wantLive(t, gate, "at the end")
}
