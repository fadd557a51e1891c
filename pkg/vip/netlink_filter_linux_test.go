package vip

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The gate's own renewals wake nobody who watches nf_tables; what others do, does.
func TestOwnTransactionsAreNotHeard(t *testing.T) {
	s := newSegment(t)
	gate := s.gated(GateOptions{NoOwner: true}, s.web())
	sub, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	s.must(err)
	t.Cleanup(sub.Close)
	s.must(dropOwn(sub, gate.socket.port))
	s.must(sub.SetReceiveTimeout(&unix.Timeval{Sec: 30}))

	s.must(gate.Open("web", in(time.Minute)))
	for range 3 {
		if failed := gate.Renew(map[string]time.Duration{"web": in(time.Minute)}); failed != nil {
			t.Fatal(failed)
		}
	}
	nft(t, "add", "table", "inet", "somebody-elses")
	msgs, _, err := sub.Receive()
	s.must(err)
	first := msgs[0]
	if first.Header.Pid == gate.socket.port || unix.ByteSliceToString(attribute(first.Data[4:], 1)) != "somebody-elses" {
		t.Errorf("first heard: type %#x of port %d, %q", first.Header.Type, first.Header.Pid, first.Data)
	}
}

// Addresses that are refreshed wake nobody who watches addresses; one that goes, does.
func TestRefreshesAreNotHeard(t *testing.T) {
	s := newSegment(t)
	k, err := newKernel()
	s.must(err)
	t.Cleanup(func() { _ = k.(*linux).Close() })
	sub, err := k.Subscribe()
	s.must(err)
	t.Cleanup(sub.Close)
	s.must(sub.(feed).s.SetReceiveTimeout(&unix.Timeval{Sec: 30}))
	s.change(netlink.AddrAdd, "10.9.0.77/32")
	s.change(netlink.AddrDel, "10.9.0.77/32")
	msgs, _, err := sub.(feed).s.Receive()
	s.must(err)
	if kind := msgs[0].Header.Type; kind != unix.RTM_DELADDR {
		t.Errorf("first heard: a message of type %d, want RTM_DELADDR", kind)
	}
}
