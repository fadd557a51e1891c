package cluster

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Reporting limits. Chosen by us: often enough to be seen, seldom enough that a
// wrong key at five packets a second fills no log.
const (
	problemInterval = 1 * time.Minute // per kind and peer
	maxProblemKeys  = 128             // pairs remembered; beyond that, strangers are only counted
)

// ProblemKind names what is wrong.
type ProblemKind int

// The kinds of problem. New ones may be added.
const (
	UnknownPeer     ProblemKind = iota + 1 // packets from an address that is no configured node's; dropped
	UnknownNode                            // a peer speaks of a member that is not configured here
	NameConflict                           // a name is used at another address, or by two agents
	FloatingAddress                        // a member wants to be reached at a floating address
	WrongCluster                           // a peer belongs to another cluster
	WrongKey                               // a peer's packets cannot be decrypted
	VersionMismatch                        // a peer speaks a protocol we do not
	UDPBlocked                             // a peer answers TCP but not UDP
	Overload                               // a queue was full and something was dropped

	problemKindEnd
)

// ProblemKinds are all kinds, for who counts them.
func ProblemKinds() []ProblemKind {
	var kinds []ProblemKind
	for k := UnknownPeer; k < problemKindEnd; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

// String returns the name used in events and JSON.
func (k ProblemKind) String() string {
	switch k {
	case UnknownPeer:
		return "unknown-peer"
	case UnknownNode:
		return "unknown-node"
	case NameConflict:
		return "name-conflict"
	case FloatingAddress:
		return "floating-address"
	case WrongCluster:
		return "wrong-cluster"
	case WrongKey:
		return "wrong-key"
	case VersionMismatch:
		return "version-mismatch"
	case UDPBlocked:
		return "udp-blocked"
	case Overload:
		return "overload"
	}
	return fmt.Sprintf("problem-%d", int(k))
}

// Problem is something a person should put right.
type Problem struct {
	Kind   ProblemKind
	Node   string         // configured name, where known
	Addr   netip.AddrPort // where it was seen, where known
	Detail string         // what it is and what to do, one sentence or two
}

// problems limits and queues reports until Run delivers them. It is fed from
// under memberlist's locks, so it takes no other lock and calls nobody.
type problems struct {
	wake func()
	now  func() time.Time

	seen [problemKindEnd]atomic.Uint64 // before they are limited

	mu     sync.Mutex
	last   map[problemKey]time.Time // at most maxProblemKeys
	queued []Problem                // at most one per key
}

type problemKey struct {
	kind ProblemKind
	node string
	addr netip.Addr
}

func (q *problems) report(p Problem) {
	q.seen[p.Kind].Add(1)
	key := problemKey{p.Kind, p.Node, p.Addr.Addr()}
	now := q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if last, ok := q.last[key]; ok && now.Sub(last) < problemInterval {
		return
	}
	if _, ok := q.last[key]; !ok && len(q.last) >= maxProblemKeys {
		for k, last := range q.last {
			if now.Sub(last) >= problemInterval {
				delete(q.last, k)
			}
		}
		if len(q.last) >= maxProblemKeys {
			return
		}
	}
	if len(q.queued) >= maxProblemKeys {
		return // Run does not take them; the key stays free for later
	}
	q.last[key] = now
	q.queued = append(q.queued, p)
	q.wake()
}

// counts returns how often each kind was met, also where no report came of it.
func (q *problems) counts() map[ProblemKind]uint64 {
	counts := make(map[ProblemKind]uint64, len(q.seen))
	for _, k := range ProblemKinds() {
		counts[k] = q.seen[k].Load()
	}
	return counts
}

func (q *problems) take() []Problem {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.queued
	q.queued = nil
	return list
}
