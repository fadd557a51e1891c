package lease

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// cluster are three machines without a network: what one sends is at the others at once.
type cluster struct {
	b     testing.TB
	now   Instant
	nodes []string
	m     map[string]*Machine
}

// newCluster makes "a" the holder of every group.
func newCluster(b testing.TB, groups int) *cluster {
	c := &cluster{b: b, now: Instant(time.Hour), nodes: []string{"a", "b", "c"}, m: make(map[string]*Machine)}
	var names []string
	for i := range groups {
		names = append(names, fmt.Sprintf("group-%03d", i))
	}
	for i, n := range c.nodes {
		m, err := New(c.at(), Config{Cluster: "shop", Node: n, RunID: RunID(i + 1), Nodes: c.nodes, Voters: c.nodes, Generation: 1, TTL: time.Second,
			Groups: names, Incarnation: 1, Rand: rand.New(rand.NewPCG(1, 2)), Record: &Record{Generation: 1, TTL: time.Second}})
		if err != nil {
			b.Fatal(err)
		}
		c.m[n] = m
	}
	for _, g := range names {
		c.m["a"].SetEligible(c.at(), g, true, 0)
	}
	c.round()
	for _, g := range names {
		if !c.m["a"].Valid(c.now, g) {
			b.Fatalf("%s is not held", g)
		}
	}
	return c
}

func (c *cluster) at() Time { return Time{Boot: c.now, Unix: 1000} }

// round lets "a" do what is due, and carries messages, encoded, until nobody says anything.
func (c *cluster) round() (renewed int) {
	c.m["a"].Tick(c.at())
	for busy := true; busy; {
		busy = false
		for _, n := range c.nodes {
			for _, e := range c.m[n].Effects() {
				switch e := e.(type) {
				case Renew:
					renewed++
				case Send:
					busy = true
					for _, b := range Encode(e.Message) {
						msg, err := Decode(b)
						if err != nil {
							c.b.Fatal(err)
						}
						c.m[e.To].Step(c.at(), msg)
					}
				}
			}
		}
	}
	return renewed
}

// One renewal of everything that a node holds, by all three nodes, with the messages encoded and decoded: no kernel, no network.
func BenchmarkRound(b *testing.B) {
	for _, groups := range []int{1, 100} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			c := newCluster(b, groups)
			b.ReportAllocs()
			for b.Loop() {
				next, ok := c.m["a"].NextDeadline()
				if !ok {
					b.Fatal("a holder has nothing to do")
				}
				c.now = next
				if n := c.round(); n < groups {
					b.Fatalf("%d of %d groups were renewed", n, groups)
				}
			}
		})
	}
}

// A request to renew, as one voter gets it.
func benchMessage(groups int) Message {
	m := Message{Cluster: "shop", From: "web1", RunID: 1 << 60, Generation: 1, Voters: 1 << 60, TTL: time.Second, Seq: Seq{1 << 40, 1 << 20}, Heard: time.Millisecond}
	for i := range groups {
		m.Entries = append(m.Entries, Entry{Group: fmt.Sprintf("group-%03d", i), Kind: KindRequest, Epoch: 1 << 31, Valid: true})
	}
	return m
}

func BenchmarkEncode(b *testing.B) {
	for _, groups := range []int{1, 100} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			m := benchMessage(groups)
			b.ReportAllocs()
			for b.Loop() {
				if len(Encode(m)) == 0 {
					b.Fatal("nothing")
				}
			}
			b.ReportMetric(float64(len(slices.Concat(Encode(m)...))), "wire-B")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, groups := range []int{1, 100} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			datagrams := Encode(benchMessage(groups))
			b.ReportAllocs()
			for b.Loop() {
				for _, d := range datagrams {
					if _, err := Decode(d); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
