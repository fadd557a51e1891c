package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Fields of a newer version are relayed to others.
func TestUnknownFieldsAreRelayed(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1")
	a, c := nw.startOnly("web1"), nw.startOnly("db1")
	raw := []byte(`{"node":"web2","incarnation":1,"seq":1,"of_the_future":42}`)
	if err := a.receive(encodeRawState(raw)); err != nil {
		t.Fatal(err)
	}
	if err := c.takeExchange(a.encodeExchange(), true); err != nil {
		t.Fatal(err)
	}
	poll(t, "the state is pulled", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return string(c.peers["web2"].known.raw) == string(raw)
	})
}

// An exchange names what is known of others and does not carry it: with large states of a hundred nodes it would exceed what
// memberlist takes, and cost what nobody needs.
func TestExchangeDoesNotGrowWithStates(t *testing.T) {
	t.Parallel()
	names := []string{"web1"}
	for i := range 99 {
		names = append(names, fmt.Sprintf("node%02d", i))
	}
	nw := newNetwork(t, names...)
	c := nw.startOnly("web1").Cluster
	for i, name := range names[1:] {
		s := NodeState{Node: name, Incarnation: uint64(time.Now().UnixNano()), Seq: uint64(i), Maintenance: strings.Repeat("x", 100<<10)}
		if err := c.takeState(s, mustJSON(s)); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(c.encodeExchange()); got > 8<<10 {
		t.Errorf("an exchange has %d bytes", got)
	}
}

// What somebody knows of a node is asked for unless it will tell itself, or we know as much.
func TestLacking(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1", "db2")
	c := nw.startOnly("web1").Cluster
	for _, name := range []string{"web2", "db1"} {
		if err := c.takeState(NodeState{Node: name, Incarnation: 5, Seq: 5}, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	c.peers["db2"].alive = true
	c.mu.Unlock()
	known := map[string][2]uint64{"web2": {5, 6}, "db1": {5, 5}, "db2": {1, 1}, "stranger": {9, 9}}
	for join, want := range map[bool]string{true: "[web2]", false: "[db2 web2]"} {
		if got := fmt.Sprint(c.lacking(known, join)); got != want {
			t.Errorf("join %v: asks for %s, want %s", join, got, want)
		}
	}
}

// A peer that remembers a later incarnation of ours tells so in an exchange, too.
func TestExchangeRaisesIncarnation(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	c := nw.startOnly("web1").Cluster
	future := uint64(time.Now().Add(time.Hour).UnixNano())
	c.lacking(map[string][2]uint64{"web1": {future, 3}}, false)
	if err := c.Publish(NodeState{}); err != nil {
		t.Fatal(err)
	}
	if got := c.States()[0].Incarnation; got <= future {
		t.Errorf("incarnation %d is not above %d", got, future)
	}
}

// Many are asked for in several messages, which all come while the first is served.
func TestAllThatIsAskedForIsRelayed(t *testing.T) {
	t.Parallel()
	names := []string{"web1", "web2"}
	for i := range 2*maxPulled + 3 {
		names = append(names, fmt.Sprintf("node%02d", i))
	}
	nw := newNetwork(t, names...)
	a, b := nw.startOnly("web1"), nw.startOnly("web2")
	for _, name := range names[2:] {
		s := NodeState{Node: name, Incarnation: 1, Seq: 1, Maintenance: strings.Repeat("x", maxStateDatagram)} // each a stream
		if err := a.takeState(s, mustJSON(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.takeExchange(a.encodeExchange(), false); err != nil {
		t.Fatal(err)
	}
	poll(t, "all states are pulled", func() bool { return len(b.States()) == len(names)-2 })
}

// What cannot be sent does not keep back the rest, and the next request is served.
func TestRelayOutlivesErrors(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2", "db1", "db2")
	a := nw.startOnly("web1")
	for _, name := range []string{"db1", "db2"} {
		s := NodeState{Node: name, Incarnation: 1, Seq: 1, Maintenance: strings.Repeat("x", maxStateDatagram)}
		if err := a.takeState(s, mustJSON(s)); err != nil {
			t.Fatal(err)
		}
	}
	p := a.peers["web2"]
	a.relay(p, []string{"db1", "db2", "web2", "stranger"}) // nobody listens there
	poll(t, "it gives up", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return !p.relaying && len(p.wanted) == 0
	})
	b := nw.startOnly("web2")
	a.relay(p, []string{"db1", "db2"})
	poll(t, "both states arrive", func() bool { return len(b.States()) == 2 })
}
