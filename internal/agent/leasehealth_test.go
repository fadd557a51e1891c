package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/web"
)

func TestHealthRing(t *testing.T) {
	const s = time.Second
	r := newHealthRing(s)
	diff(t, "step", r.step, 2*s)
	diff(t, "step of a long ttl", newHealthRing(30*s).step, 20*s)
	newest := func(now time.Duration, n int) []int32 { return r.lows(now)[healthSteps-n:] }

	r.note(100*s, 700*time.Millisecond)
	r.note(101*s, 400*time.Millisecond)
	r.note(101*s, 900*time.Millisecond)
	r.note(102*s, 650*time.Millisecond)
	diff(t, "the least of each step", newest(103*s, 3), []int32{web.NotKnown, 400, 650})
	r.note(108*s, -5*time.Millisecond)
	diff(t, "steps without a look", newest(108*s, 5), []int32{400, 650, web.NotKnown, web.NotKnown, 0})
	diff(t, "none yet", newest(110*s, 2), []int32{0, web.NotKnown})
	diff(t, "length", len(r.lows(110*s)), healthSteps)

	r.note(110*s+healthSteps*r.step+50*time.Hour, 800*time.Millisecond) // a machine that slept
	for i, ms := range r.lows(110*s + healthSteps*r.step + 50*time.Hour) {
		if want := int32(web.NotKnown); i < healthSteps-1 && ms != want {
			t.Fatalf("step %d: %d", i, ms)
		}
	}
}

// The owner and the voters see the lease renewed in time, and how it ran out when the owner died.
func TestLeaseHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 900 * time.Millisecond
		w, web1, web2, db1 := settled(t, edited(t, `ttl = "1s"`, `ttl = "900ms"`))
		lows := func(n *testNode) []int32 {
			t.Helper()
			all, err := n.api.Leases(t.Context())
			if err != nil || len(all) != 1 || all[0].Group != "web" || all[0].TTL != ttl {
				t.Fatalf("%v %+v", err, all)
			}
			return all[0].LowMs
		}
		w.wait(10 * ttl)
		ms := int32(ttl.Milliseconds())
		for _, n := range []*testNode{web1, web2, db1} {
			l := lows(n)
			for _, low := range l[len(l)-4 : len(l)-1] { // whole steps
				want := ms * 17 / 30 // renewed after a third of the ttl, which is a tenth longer than the lease
				if n != web1 {
					want = ms * 2 / 3 // promised for the whole of it
				}
				if low < want-ms/50 || low > want+ms/50 {
					t.Errorf("%s saw %d ms left of %d: %v", n.node, low, ms, l[len(l)-6:])
				}
			}
		}
		web1.kill(context.Canceled)
		w.part(web1)
		w.wait(4 * ttl)
		w.owned("web2")
		for _, n := range []*testNode{web2, db1} {
			l := lows(n)
			least := ms
			for _, low := range l[len(l)-4:] {
				least = min(least, low)
			}
			if least != 0 {
				t.Errorf("%s did not see the lease run out: %v", n.node, l[len(l)-6:])
			}
		}
	})
}
