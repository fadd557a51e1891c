package checks

import (
	"context"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestLinkJudge(t *testing.T) {
	const up = unix.IFF_UP | unix.IFF_LOWER_UP
	c := &linkCheck{"eth0"}
	for want, a := range map[string]netlink.LinkAttrs{
		"eth0 is switched off: ip link set eth0 up": {OperState: netlink.OperDown},
		"eth0 has no carrier":                       {RawFlags: unix.IFF_UP, OperState: netlink.OperDown},
		"eth0 has carrier, but is dormant":          {RawFlags: up, OperState: netlink.OperDormant},
		"eth0 has carrier, but is lower-layer-down": {RawFlags: up, OperState: netlink.OperLowerLayerDown},
		"eth0 has carrier, but is testing":          {RawFlags: up, OperState: netlink.OperTesting},
	} {
		got := c.judge(&a)
		check(t, got, false, want)
		if !got.Final {
			t.Errorf("%s: not final", want)
		}
	}
	for _, state := range []netlink.LinkOperState{netlink.OperUp, netlink.OperUnknown} {
		check(t, c.judge(&netlink.LinkAttrs{RawFlags: up, OperState: state}), true, "eth0 is up")
	}
}

// A Runner with a schedule of an hour hears of everything from the kernel.
func TestLinkInKernel(t *testing.T) {
	if !inNetns(t) {
		return
	}
	a, b := veth(t, "hb0", "hb1")
	must(t, netlink.LinkSetUp(a))
	must(t, netlink.LinkSetUp(b))

	s := Spec{Name: "wire", Type: "link", Interface: "hb0", Interval: 100 * time.Millisecond, Timeout: time.Second, Fall: 1000, Rise: 1}
	states := make(chan State, 1000)
	r, err := NewRunner([]Spec{s}, func(s State) { states <- s }, Options{Rand: func() float64 { return 0.5 }})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("Run does not end: the watch holds it")
		}
	}()
	await := func(status Status, message string) {
		t.Helper()
		deadline := time.After(patience)
		for {
			select {
			case s := <-states:
				if s.Status == status && s.Message == message {
					return
				}
			case <-deadline:
				t.Fatalf("never %v with %q, but %+v", status, message, r.States()[0])
			}
		}
	}
	await(Passing, "hb0 is up")
	for range 3 {
		must(t, netlink.LinkSetDown(b))
		await(Failing, "hb0 has no carrier")
		must(t, netlink.LinkSetUp(b))
		await(Passing, "hb0 is up")
	}
	must(t, netlink.LinkSetDown(a))
	await(Failing, "hb0 is switched off: ip link set hb0 up")
	must(t, netlink.LinkDel(b))
	await(Failing, "no interface hb0")
}

// The watch alone, without the schedule, sees the cable go, and its end frees it.
func TestLinkWatch(t *testing.T) {
	if !inNetns(t) {
		return
	}
	a, b := veth(t, "hb0", "hb1")
	must(t, netlink.LinkSetUp(a))
	must(t, netlink.LinkSetUp(b))
	s := Spec{Name: "wire", Type: "link", Interface: "hb0", Interval: time.Hour, Timeout: time.Second, Fall: 1000, Rise: 1}
	states := make(chan State, 1000)
	r, err := NewRunner([]Spec{s}, func(s State) { states <- s }, Options{})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	next := func() State {
		t.Helper()
		select {
		case s := <-states:
			return s
		case <-time.After(patience):
			t.Fatalf("nothing heard; %+v", r.States()[0])
			return State{}
		}
	}
	if s := next(); s.Status != Passing {
		t.Fatalf("at first: %+v", s)
	}
	begin := time.Now()
	must(t, netlink.LinkSetDown(b))
	s2 := next()
	took := time.Since(begin)
	if s2.Status != Failing || s2.Message != "hb0 has no carrier" {
		t.Errorf("heard %+v", s2)
	}
	t.Logf("loss of carrier reported after %v", took)
	if took > patience/2 {
		t.Errorf("loss of carrier took %v", took)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("Run does not end: the watch holds it")
	}
}
