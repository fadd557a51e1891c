package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
)

func TestThreeNodesSeeEachOther(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	a, b, c := nw.start("web1"), nw.start("web2"), nw.start("db1")
	t.Logf("mesh after %v", nw.awaitMesh(a, b, c))
	if diff := cmp.Diff(map[string]bool{"web1": true, "web2": true, "db1": true}, a.Alive()); diff != "" {
		t.Errorf("Alive (-want +got):\n%s", diff)
	}
	if r := a.reason("web2"); r != ReasonJoined {
		t.Errorf("reason %q, want %q", r, ReasonJoined)
	}
	// Round trips come with the probes, one peer a second. No event tells of them.
	poll(t, "round trips are measured", func() bool { return len(a.RTT()) == 2 })
	for peer, rtt := range a.RTT() {
		if rtt <= 0 || rtt > 10*time.Second {
			t.Errorf("round trip to %s is %v", peer, rtt)
		}
	}
	if s := a.Stats(); s.PacketsIn == 0 || s.PacketsOut == 0 || s.StreamsIn+s.StreamsOut == 0 || s.Strangers != 0 {
		t.Errorf("counters do not count, or count strangers: %+v", s)
	}
}

func TestLeaseDatagram(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	// Nobody runs Run, so nobody joins anybody.
	a, b := nw.startOnly("web1"), nw.startOnly("web2")
	big := strings.Repeat("x", 5000) // fragmented on a real wire
	for _, payload := range []string{"before join", big, ""} {
		nw.await("the lease datagram arrives", func() bool {
			if err := a.SendLease("web2", []byte(payload)); err != nil {
				t.Fatal(err)
			}
			return b.hasLease(payload) || waitRing(nw)
		})
	}
	if b.Alive()["web1"] {
		t.Error("the peer is a member: this test shows nothing")
	}
	if err := a.SendLease("web9", nil); err == nil {
		t.Error("a lease for an unknown node was sent")
	}
	if err := a.SendLease("web2", make([]byte, maxLease+1)); err == nil {
		t.Error("an oversized lease was sent")
	}
}

func TestGracefulLeaveIsLeft(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	a, b, c := nw.start("web1"), nw.start("web2"), nw.start("db1")
	nw.awaitMesh(a, b, c)
	go a.end(t, true)
	took := nw.await("the others see it gone", func() bool { return !b.sees("web1") && !c.sees("web1") })
	t.Logf("seen after %v", took)
	<-a.ctx.Done()
	// memberlist's own goodbye may be here before ours, which says that it is one.
	nw.await("both know that it has left", func() bool { return b.reason("web1") == ReasonLeft && c.reason("web1") == ReasonLeft })
	a.end(t, false) // waits for the first
	again := nw.start("web1", func(o *Options) { o.RunID = "run-2" })
	t.Logf("back after %v", nw.awaitMesh(again, b, c))
}

// memberlist's goodbye, a datagram, overtakes ours.
func TestGoodbyeComesSecond(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.start("web1"), nw.start("web2")
	nw.awaitMesh(a, b)
	delegate{b.Cluster}.NotifyLeave(&memberlist.Node{Name: "web1"})
	nw.await("it is gone", func() bool { return b.reason("web1") == ReasonFailed })
	if err := b.receive(encodeLeave(leaveMessage{Node: "web1", Instance: a.instance})); err != nil {
		t.Fatal(err)
	}
	nw.await("it has left", func() bool { return b.reason("web1") == ReasonLeft && !b.sees("web1") })
	if b.peers["web1"].wantJoin.Load() {
		t.Error("it calls one that has left")
	}
}

func TestFailureIsSeenAndHeals(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	a, b, c := nw.start("web1"), nw.start("web2"), nw.start("db1")
	nw.awaitMesh(a, b, c)
	a.end(t, false)
	took := nw.await("the others see it dead", func() bool { return !b.sees("web1") && !c.sees("web1") })
	t.Logf("seen after %v", took)
	if took > 10*time.Second { // 5 s by the formula in memberlistConfig, on an idle machine
		t.Errorf("a dead node was seen after %v only", took)
	}
	if r := b.reason("web1"); r != ReasonFailed {
		t.Errorf("reason %q, want %q", r, ReasonFailed)
	}
	again := nw.start("web1")
	t.Logf("back after %v", nw.awaitMesh(again, b, c))
}

// Each side has found the other dead; keys that differ stand for a cut wire.
func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.start("web1"), nw.start("web2")
	nw.awaitMesh(a, b)
	if err := a.UpdateKeys([][]byte{[]byte("another key 1234")}); err != nil {
		t.Fatal(err)
	}
	nw.await("both see the other dead", func() bool { return !a.sees("web2") && !b.sees("web1") })
	if err := a.UpdateKeys([][]byte{testKey}); err != nil {
		t.Fatal(err)
	}
	if err := a.SendLease("web2", []byte("here again")); err != nil {
		t.Fatal(err)
	}
	took := nw.awaitMesh(a, b)
	t.Logf("healed after %v", took)
	if took > 5*time.Second { // maxJoinDelay, had the lease not been heard
		t.Errorf("a healed partition was noticed after %v only", took)
	}
}

func TestRestartWithNewRunID(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.start("web1"), nw.start("web2")
	nw.awaitMesh(a, b)
	mustPublish(t, a, NodeState{Generation: 1})
	nw.await("the state is known", func() bool { return b.state("web1").RunID == "run-1-web1" })
	a.end(t, false)
	// At once: the others still believe the old one alive.
	again := nw.start("web1", func(o *Options) { o.RunID = "run-2" })
	mustPublish(t, again, NodeState{Generation: 2})
	took := nw.await("the new run is known", func() bool { return b.state("web1").RunID == "run-2" && b.sees("web1") && again.sees("web2") })
	t.Logf("known after %v", took)
	poll(t, "membership knows the new instance", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.peers["web1"].runID == "run-2" && b.peers["web1"].instance == again.instance
	})
	if p, ok := b.problem(NameConflict); ok {
		t.Errorf("a restart is called a conflict: %+v", p)
	}
	// A goodbye of the old instance, recorded, does nothing to the new one.
	if err := b.receive(encodeLeave(leaveMessage{Node: "web1", Instance: a.instance})); err == nil || !b.Alive()["web1"] {
		t.Errorf("an old goodbye was taken: %v", err)
	}
	// Stopped before membership has heard of the restart: still a goodbye.
	again.end(t, false)
	last := nw.start("web1")
	nw.await("it knows its peer", func() bool { return last.sees("web2") })
	last.end(t, true)
	nw.await("it has left", func() bool { return !b.sees("web1") && b.reason("web1") == ReasonLeft })
}
