package cluster

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
)

func mustPublish(t *testing.T, n *node, s NodeState) {
	t.Helper()
	if err := n.Publish(s); err != nil {
		t.Fatal(err)
	}
}

func TestStateSpreads(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	a, b, c := nw.start("web1"), nw.start("web2"), nw.start("db1")
	nw.awaitMesh(a, b, c)
	since := time.Unix(1700000000, 0).UTC()
	for _, groups := range []int{1, 100} { // a datagram, a stream
		s := NodeState{
			ConfigHash: "abc", Generation: uint64(groups), TTL: time.Second, At: since, Started: since,
			Checks: []CheckState{{Name: "apache", Type: "apache", Status: "passing", Required: true, Message: "ok", Since: since}},
		}
		for i := range groups {
			s.Groups = append(s.Groups, GroupState{Name: fmt.Sprintf("group-%d", i), State: "standby", Epoch: 7,
				Since: since, Eligible: true, Reason: strings.Repeat("r", 100), LeaseLeftMs: 900, Moves: 3})
		}
		mustPublish(t, a, s)
		took := nw.await("both others have the state", func() bool {
			return b.state("web1").Generation == s.Generation && c.state("web1").Generation == s.Generation
		})
		t.Logf("%d groups (%d bytes) after %v", groups, len(mustJSON(s)), took)
		got := b.state("web1")
		if got.Incarnation != a.instance || got.Seq == 0 {
			t.Errorf("version (%d,%d)", got.Incarnation, got.Seq)
		}
		s.Node, s.RunID, s.Version, s.Incarnation, s.Seq = "web1", "run-1-web1", "1.0", got.Incarnation, got.Seq
		if diff := cmp.Diff(s, got); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
		}
	}
	if got := len(a.States()); got != 1 {
		t.Errorf("States has %d entries, want the own one only", got)
	}
}

// A node that was not there when a state was published, by one that is gone,
// learns it from a third.
func TestStateThroughThird(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	a, b := nw.start("web1"), nw.start("web2")
	nw.awaitMesh(a, b)
	mustPublish(t, a, NodeState{Generation: 5})
	nw.await("the second has it", func() bool { return b.state("web1").Generation == 5 })
	a.end(t, false)
	c := nw.start("db1")
	nw.await("the third has it", func() bool { return c.state("web1").Generation == 5 })
}

// A state that was lost on the way is noticed in the ack of a probe, and pulled.
func TestLostStateIsPulled(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.startOnly("web1"), nw.startOnly("web2") // nobody pushes: nobody runs Run
	mustPublish(t, a, NodeState{Generation: 9})
	pushes := a.peers["web2"].push
	<-pushes // as if it had been sent, and lost
	ack := delegate{a.Cluster}.AckPayload()
	web1 := &b.peers["web1"].node
	prober := delegate{b.Cluster}

	prober.NotifyPingComplete(web1, time.Millisecond, ack)
	select {
	case <-pushes:
	case <-time.After(patience):
		t.Fatal("it is not pulled")
	}
	if _, err := a.pushState(t.Context(), a.peers["web2"]); err != nil {
		t.Fatal(err)
	}
	poll(t, "it arrives", func() bool { return len(b.States()) == 1 }) // without Run nothing tells
	// Now b has it, and asks no more: the next thing a hears is something else.
	prober.NotifyPingComplete(web1, time.Millisecond, ack)
	prober.NotifyPingComplete(web1, time.Millisecond, nil)
	if err := b.SendLease("web1", []byte("after")); err != nil {
		t.Fatal(err)
	}
	nw.await("the lease arrives", func() bool { return a.hasLease("after") || waitRing(nw) })
	select {
	case <-pushes:
		t.Error("a known state is pulled again")
	default:
	}
}

// The wall clock went back between two starts: peers remember newer states.
func TestIncarnationRisesAboveWhatPeersRemember(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	b := nw.start("web2")
	future := uint64(time.Now().Add(time.Hour).UnixNano())
	old := NodeState{Node: "web1", Incarnation: future, Seq: 3, Generation: 1}
	if err := b.takeState(old, mustJSON(old)); err != nil {
		t.Fatal(err)
	}
	a := nw.start("web1")
	mustPublish(t, a, NodeState{Generation: 2})
	nw.await("the new state wins", func() bool { return b.state("web1").Generation == 2 })
	if got := b.state("web1").Incarnation; got <= future {
		t.Errorf("incarnation %d is not above %d", got, future)
	}
}

func TestTakeState(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	c := nw.startOnly("web1").Cluster
	for _, tc := range []struct {
		name             string
		node             string
		incarnation, seq uint64
		want             error
	}{
		{"first", "web2", 5, 5, nil},
		{"same", "web2", 5, 5, errStateOld},
		{"older seq", "web2", 5, 4, errStateOld},
		{"older incarnation", "web2", 4, 9, errStateOld},
		{"newer seq", "web2", 5, 6, nil},
		{"newer incarnation", "web2", 6, 1, nil},
		{"unknown node", "web3", 1, 1, errStateUnknown},
		{"own", "web1", 1, 1, errStateOwn},
	} {
		s := NodeState{Node: tc.node, Incarnation: tc.incarnation, Seq: tc.seq}
		if got := c.takeState(s, mustJSON(s)); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestPublishLimits(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	c := nw.startOnly("web1").Cluster
	if err := c.Publish(NodeState{Maintenance: strings.Repeat("x", maxState)}); err == nil {
		t.Error("an oversized state was published")
	}
	if err := c.Publish(NodeState{Node: "web2"}); err == nil {
		t.Error("another node's state was published")
	}
	long := strings.Repeat("ä", maxCheckMessage)
	if err := c.Publish(NodeState{Checks: []CheckState{{Message: "x" + long}}}); err != nil {
		t.Fatal(err)
	}
	if got, want := c.States()[0].Checks[0].Message, "x"+long[:maxCheckMessage-2]; got != want {
		t.Errorf("message was cut to %q, want %q", got, want)
	}
}

func TestVersionOrder(t *testing.T) {
	t.Parallel()
	ordered := []version{{0, 0}, {0, 1}, {1, 0}, {1, math.MaxUint64}, {2, 0}, {math.MaxUint64, 0}}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := a.newerThan(b); got != (i > j) {
				t.Errorf("%v newer than %v: %v", a, b, got)
			}
		}
	}
}

// Who tells its first state is told ours: it asks for none.
func TestFirstStateIsAnswered(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	c := nw.startOnly("web1")
	p := c.peers["web2"]
	for i, step := range []struct {
		incarnation, seq uint64
		told             bool
	}{{5, 1, true}, {5, 2, false}, {6, 1, true}, {6, 1, false}} {
		s := NodeState{Node: "web2", Incarnation: step.incarnation, Seq: step.seq}
		_ = c.takeState(s, mustJSON(s)) // the last is an old one
		told := false
		select {
		case <-p.push:
			told = true
		default:
		}
		if told != step.told {
			t.Errorf("step %d: told our state %v, want %v", i, told, step.told)
		}
	}
}

// A restart that nobody noticed: the peer was alive all the time, and knows nothing now.
func TestRestartedPeerIsToldOurState(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	c := nw.startOnly("web1") // nobody pushes: nobody runs Run
	p := c.peers["web2"]
	seen := func(instance uint64) (told bool) {
		meta := mustJSON(metadata{RunID: "run", Version: "1.0", Protocol: protocolVersion, Instance: instance})
		delegate{c.Cluster}.NotifyUpdate(&memberlist.Node{Name: "web2", Meta: meta})
		select {
		case <-p.push:
			return true
		default:
			return false
		}
	}
	for i, step := range []struct {
		instance uint64
		told     bool
	}{{1, true}, {1, false}, {2, true}, {2, false}} {
		if told := seen(step.instance); told != step.told {
			t.Errorf("step %d, instance %d: told our state %v, want %v", i, step.instance, told, step.told)
		}
	}
}
