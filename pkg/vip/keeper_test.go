package vip

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestLostAddressesAndBrokenFeed(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.must(b.Open("web", b.in(time.Hour)))
		b.k.steal(2, addr4)
		b.wantEvents("after a theft", "address-lost 10.9.0.50", "address-restored 10.9.0.50")

		// The feed overruns: what happened in the dark is found by comparing.
		b.k.takeSilently(2, addr6)
		b.k.feed(0).end(unix.ENOBUFS)
		time.Sleep(resubscribeAfter)
		b.wantEvents("after an overrun", "watch-error", "address-lost fd09::50", "address-restored fd09::50")

		// What cannot be put back is told once a second, and put back when it can be.
		var working atomic.Bool
		b.k.onPut = func(netip.Addr) error {
			if !working.Load() {
				return errors.New("no")
			}
			return nil
		}
		b.k.steal(2, addr4)
		b.wantEvents("while it fails", "address-error 10.9.0.50")
		b.k.feed(1).tell(change{gone: host(addr4)})
		b.wantEvents("within the same second")
		working.Store(true)
		time.Sleep(retryEvery)
		b.wantEvents("after a retry", "address-lost 10.9.0.50", "address-restored 10.9.0.50")
	})
}

// The neighbours are listed once for what is announced at one time, and again for the next round.
func TestNeighboursAreListedOnce(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.k.mu.Lock()
		b.k.neighbours = []net.HardwareAddr{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
		b.k.mu.Unlock()
		b.must(b.Reconfigure([]Group{webGroup(), {Name: "db", Interface: "eth0", Addresses: prefixes("10.9.0.60/24")}}))
		b.must(b.Open("web", b.in(time.Hour)))
		b.must(b.Open("db", b.in(time.Hour)))
		synctest.Wait()
		// To everybody a request and a reply for each IPv4 address, an advertisement for the IPv6 one; to two neighbours one frame each.
		if n, listed := len(b.k.frames()), b.k.lists(); n != 5+2*3 || listed != 1 {
			t.Errorf("%d frames, the neighbours listed %d times", n, listed)
		}
		time.Sleep(burstGap)
		synctest.Wait()
		if listed := b.k.lists(); listed != 2 {
			t.Errorf("the neighbours were listed %d times in two rounds", listed)
		}
	})
}

// What the record writes by hand is what it reads.
func TestRecordText(t *testing.T) {
	for _, entries := range [][]entry{{}, {{"a \"b\"", "eth0", addr4}}, {{"web", "eth0", addr4}, {"web", "eth0", addr6}}} {
		var r record
		for range 2 { // the second time of lines that it has
			text, err := r.text(entries)
			if err != nil {
				t.Fatal(err)
			}
			var got recordFile
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if diff := cmp.Diff(recordFile{Version: recordVersion, Addresses: entries}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
		}
	}
}

// Nobody reports what happens to an address between its addition and the end of Open.
func TestLookAfterAnOpening(t *testing.T) {
	inBubble(t, func(b *bench) {
		opened := false
		b.k.onPut = func(a netip.Addr) error {
			if a == addr6 && !opened {
				b.k.takeSilently(2, addr4)
			}
			return nil
		}
		b.must(b.Open("web", b.in(time.Hour)))
		opened = true
		b.wantEvents("at once")
		time.Sleep(lookAfter)
		b.wantEvents("after a look", "address-lost 10.9.0.50", "address-restored 10.9.0.50")
	})
}

func TestLinkEvents(t *testing.T) {
	set := func(b *bench, l link, down bool) {
		b.k.mu.Lock()
		b.k.links[0] = l
		b.k.mu.Unlock()
		b.k.feed(0).tell(change{link: "eth0", down: down})
		synctest.Wait()
	}
	inBubble(t, func(b *bench) {
		b.must(b.Open("web", b.in(time.Hour)))
		up := b.k.links[0]
		down := up
		down.Up, down.AdminUp = false, false
		set(b, down, true)
		b.wantEvents("down", "link-down")
		b.k.frames()
		set(b, up, false)
		b.wantEvents("up", "link-up")
		if n := len(b.k.frames()); n != 3 { // ARP request, reply, NA
			t.Errorf("%d frames after link-up, want 3", n)
		}
		// Down and up again between two looks.
		b.k.frames()
		set(b, up, true)
		b.wantEvents("flap", "link-down", "link-up")
		if n := len(b.k.frames()); n != 3 {
			t.Errorf("%d frames after a flap, want 3", n)
		}
		anew := up
		anew.Index = 7
		set(b, anew, false)
		b.wantEvents("made anew", "link-down", "link-up",
			"address-lost 10.9.0.50", "address-restored 10.9.0.50", "address-lost fd09::50", "address-restored fd09::50")
	})
}

func TestAnnouncementSchedule(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.must(b.Open("web", b.in(time.Hour)))
		var at []time.Duration
		var frames uint64
		began := time.Now()
		for time.Since(began) < 130*time.Second {
			synctest.Wait()
			if n := len(b.k.frames()); n > 0 {
				frames += uint64(n)
				at = append(at, time.Since(began))
			}
			time.Sleep(100 * time.Millisecond)
		}
		ms := time.Millisecond
		want := []time.Duration{0, 1100 * ms, 2200 * ms, 3300 * ms, 4400 * ms, 64400 * ms, 124400 * ms}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("announced at (-want +got):\n%s", diff)
		}
		if got, want := b.Stats(), (Stats{Announced: frames}); got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}
