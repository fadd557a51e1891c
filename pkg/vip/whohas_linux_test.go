package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// WhoHas hears every machine that answers, and not only the first.
func TestWhoHas(t *testing.T) {
	s := newSegment(t)
	s.squat("10.9.0.50/24")
	s.squat("fd09::50/64")
	asked := []netip.Addr{netip.MustParseAddr("10.9.0.50"), netip.MustParseAddr("10.9.0.51"), netip.MustParseAddr("fd09::50")}
	claims, err := WhoHas(t.Context(), s.near, asked)
	if err != nil {
		t.Fatal(err)
	}
	got := map[netip.Addr]string{}
	for _, c := range claims {
		if got[c.Addr] != "" {
			t.Errorf("%v is told twice", c)
		}
		got[c.Addr] = c.MAC.String()
		if !c.Answered {
			t.Errorf("%v was asked, and is said to have only announced itself", c)
		}
	}
	mac := s.farMAC().String()
	if len(got) != 2 || got[asked[0]] != mac || got[asked[2]] != mac {
		t.Errorf("got %v, want %s for all but %v", got, mac, asked[1])
	}

	// A second machine has the address, too.
	second := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	wire := s.tap()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			s.claimARP(wire, "10.9.0.50", second)
			<-time.After(20 * time.Millisecond)
		}
	}()
	claims, err = WhoHas(t.Context(), s.near, asked[:1])
	cancel()
	<-ended
	if err != nil || len(claims) != 2 || claims[0].MAC.String() == claims[1].MAC.String() {
		t.Errorf("two machines answer, and got %v, %v", claims, err)
	}
	if _, err := WhoHas(t.Context(), "nonesuch", asked); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("an interface that is not there: %v", err)
	}
}

func TestAnswersARP(t *testing.T) {
	a, own := netip.MustParseAddr("10.9.0.50"), net.HardwareAddr{2, 0, 0, 0, 0, 1}
	request, err1 := garpRequest(a, own, own)
	reply, err2 := garpReply(a, own, own)
	question, err3 := arpProbe(netip.MustParseAddr("10.9.0.3"), own, a)
	answer, err4 := arpFrame(arp.OperationReply, own, a, own, netip.IPv4Unspecified(), own)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	for name, frame := range map[string][]byte{"announcement": request, "announcement as a reply": reply, "question": question} {
		if answersARP(frame) {
			t.Errorf("an %s counts as an answer", name)
		}
	}
	if !answersARP(answer) {
		t.Error("an answer to a probe does not count")
	}
}

// The self-test says what it found, and leaves nothing behind.
func TestSelfTest(t *testing.T) {
	needKernel(t)
	name, err := SelfTest(GateOptions{TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(name, "nft") {
		t.Errorf("got %q", name)
	}
	s, err := newNFTSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, f := range allFamilies {
		err := attributes(s, f, unix.NFT_MSG_GETTABLE, nil, func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() == unix.NFTA_TABLE_NAME && strings.HasPrefix(ad.String(), TableName+"-test-") {
					t.Errorf("table %s of %v is left", ad.String(), f)
				}
			}
			return ad.Err()
		})
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			t.Fatal(err)
		}
	}
	if _, err := SelfTest(GateOptions{TTL: time.Millisecond}); err == nil {
		t.Error("a ttl of a millisecond passes")
	}
}

// Somebody who changes the list of tables all the time makes listings void, and no self-test fail.
func TestSelfTestBesideChanges(t *testing.T) {
	needKernel(t)
	s, err := newNFTSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	change := func(name string, f func(*batch)) {
		b := &batch{table: name}
		f(b)
		if err := s.commit(b); err != nil {
			t.Error(err)
		}
	}
	const many = 1500 // more than one packet of the kernel holds
	for i := range many {
		name := fmt.Sprintf("others-%d", i)
		change(name, func(b *batch) { b.addTable(familyINet, 0, "test") })
		defer change(name, func(b *batch) { b.delTable(familyINet) })
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				change("others", func(b *batch) { b.addTable(familyINet, 0, "test"); b.delTable(familyINet) })
			}
		}
	}()
	defer func() { close(stop); <-ended }()
	for range 5 {
		_, err := SelfTest(GateOptions{TTL: time.Second})
		if stalled := errors.Is(err, ErrStalled) || errors.Is(err, ErrDeadline); err != nil && !stalled {
			t.Error(err)
		}
	}
}
