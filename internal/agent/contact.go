package agent

import (
	"context"
	"errors"
	"time"

	"github.com/hbagent/hbagent/pkg/cluster"
)

// A node that is cut off sees its peers go down one after the other, some seconds
// apart: at the first of them it still counts a majority. So that it does not take
// a server out of a list for that, it asks those that count as alive whether they
// are there, and acts when a majority has answered after the peer went down.

const methodHello = "hello" // {} -> {}

// Chosen by us: an answer takes a round trip; one that does not come is asked for again until the peer counts as down.
const (
	helloWait  = 500 * time.Millisecond
	helloRetry = 250 * time.Millisecond
)

// contact is what is known since a peer went down, or since a majority was heard again. It belongs to the loop.
type contact struct {
	doubt    uint64          // counts the peers that went down
	answered map[string]bool // voters that have answered since the last one did; nil: nobody went down
	// begin is when this node last began to hear a majority (the start, or the end of being cut off): then the others
	// come back one by one, and those that are not there yet need not be down.
	begin time.Time
}

// unsure reports whether a majority has yet to answer since a peer went down.
func (l *loop) unsure() bool {
	if l.contact.answered == nil {
		return false
	}
	n := 0
	for _, v := range l.voters.voters {
		if p := l.peers[v]; v == l.node || p != nil && p.alive && l.contact.answered[v] {
			n++
		}
	}
	needed, _ := l.machine.Quorum()
	return n < needed
}

// doubtContact is called when a peer went down.
func (l *loop) doubtContact() {
	if l.templates == nil || !l.templates.any() {
		return // nobody asks
	}
	l.contact.doubt++
	l.contact.answered = make(map[string]bool)
	for _, v := range l.voters.voters {
		l.greet(v)
	}
}

// greet asks a voter that counts as alive, while there is a doubt.
func (l *loop) greet(node string) {
	if p := l.peers[node]; p != nil && p.alive && l.unsure() && l.voters.has(node) {
		go l.sayHello(node, l.contact.doubt)
	}
}

// sayHello asks until there is an answer, the peer counts as down, or the question is out of date.
func (l *loop) sayHello(node string, doubt uint64) {
	for {
		ctx, cancel := l.within(helloWait)
		_, err := l.net.Call(ctx, node, methodHello, []byte("{}"))
		cancel()
		again := true
		if err := l.do(context.Background(), func() { again = l.hello(node, doubt, err) }); err != nil || !again {
			return // the loop has ended, or it knows
		}
		select {
		case <-l.ended:
			return
		case <-time.After(helloRetry):
		}
	}
}

// hello takes an answer, or that there was none, and tells whether to ask again. An agent that refuses to answer is
// there all the same.
func (l *loop) hello(node string, doubt uint64, err error) (again bool) {
	if l.contact.doubt != doubt || l.contact.answered[node] || !l.peers[node].alive {
		return false
	}
	if remote := (cluster.RemoteError{}); err != nil && !errors.As(err, &remote) {
		return true
	}
	l.contact.answered[node], l.dirty = true, true
	return false
}
