package mysql

import (
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// staleAfter is how old an observation may be: twenty looks (chosen by us).
const staleAfter = 10 * time.Second

// policy is what Judge goes by, beside the situation.
type policy struct {
	maxLag      time.Duration
	waitForLast time.Duration
}

// judge decides whether this node's server may be the master. It is pure.
func (p policy) judge(s role.Situation) role.Verdict {
	self := s.Self
	switch {
	case self.At.IsZero():
		return role.Verdict{Reason: "the database server has not been looked at yet"}
	case self.Down != "":
		return role.Verdict{Failed: true, Reason: "the database server cannot be asked: " + self.Down}
	case s.Now.Sub(self.At) > staleAfter:
		return role.Verdict{Failed: true, Reason: fmt.Sprintf("the database server was last seen %v ago", s.Now.Sub(self.At).Truncate(time.Second))}
	case s.Owner == s.Node:
		return p.judgeMaster(s)
	case s.Forced:
		return role.Verdict{Eligible: true, Reason: "asked for by hand"}
	case self.Diverged != "":
		return role.Verdict{Failed: true, Reason: "diverged: " + self.Diverged}
	case self.Broken != "":
		return role.Verdict{Failed: true, Reason: "replication is broken: " + self.Broken}
	case s.Owner != "":
		return p.judgeReplica(s)
	}
	return p.judgeHeir(s)
}

// judgeMaster judges the server of the holder: it answers, and is good enough.
func (p policy) judgeMaster(s role.Situation) role.Verdict {
	v := role.Verdict{Eligible: true, Reason: s.Self.Warning}
	if !s.Self.Writable {
		v.Reason = "the master is read-only"
	}
	return v
}

// judgeReplica judges a replica whose master lives.
func (p policy) judgeReplica(s role.Situation) role.Verdict {
	self := s.Self
	if self.Following != s.Owner {
		what := "follows nobody yet"
		if self.Following != "" {
			what = "follows " + self.Following
		}
		return role.Verdict{Reason: what + ", and " + s.Owner + " is the master"}
	}
	behind := s.Now.Sub(self.CurrentTo)
	if self.CurrentTo.IsZero() || behind > p.maxLag {
		return role.Verdict{Reason: p.lagging(self, s.Owner, behind), Until: s.Now.Add(time.Second)}
	}
	// What is heard of it now is certain for so long.
	return role.Verdict{Eligible: true, Until: self.CurrentTo.Add(p.maxLag + time.Millisecond)}
}

func (p policy) lagging(self role.Observation, owner string, behind time.Duration) string {
	switch lag, known := self.Lag(); {
	case known && lag > p.maxLag:
		return fmt.Sprintf("%v behind %s, more than max_lag (%v)", lag.Truncate(time.Second), owner, p.maxLag)
	case self.CurrentTo.IsZero():
		return "not yet connected to " + owner + ": how far it is behind is not known"
	case !self.Connected:
		return fmt.Sprintf("not connected to %s for %v, more than max_lag (%v)", owner, behind.Truncate(time.Second), p.maxLag)
	}
	return fmt.Sprintf("how far it is behind %s has not been known for %v, more than max_lag (%v)", owner, behind.Truncate(time.Second), p.maxLag)
}

// judgeHeir judges a server while nobody is the master.
func (p policy) judgeHeir(s role.Situation) role.Verdict {
	v := role.Verdict{Eligible: true}
	lacks, known, err := p.lacksOfLast(s)
	if err != nil {
		return role.Verdict{Reason: "a position cannot be read: " + err.Error()}
	}
	more, certain := p.lastHasMore(s)
	if fresh := !s.OwnerSeen.IsZero() && !s.Current.IsZero() && s.OwnerSeen.Sub(s.Current) <= p.maxLag; fresh && !certain {
		if known && lacks.Transactions > 0 {
			v.Reason = fmt.Sprintf("lacks %s of %s", transactions(lacks.Transactions), s.Last.Node)
		}
		return v
	}
	if more != "" {
		return p.wait(s, more)
	}
	if known && lacks.Transactions == 0 {
		return v // everything that the last master is known to have had
	}
	last := s.Last.Node
	if !known && s.Self.Following != "" {
		last = s.Self.Following
	} else if !known {
		return v // nothing is known of any master, and it follows none
	}
	if last == s.Node {
		// It was the last master and has lost something of that (a crash without
		// sync_binlog): nobody else is more likely to have it, except who is ahead.
		v.Reason = fmt.Sprintf("lacks %s that it had as the master", transactions(lacks.Transactions))
		return v
	}
	what := "what it lacks of " + last + " is not known"
	if known {
		what = fmt.Sprintf("lacks %s of %s, the last master", transactions(lacks.Transactions), last)
	}
	return p.wait(s, what)
}

// wait gives the last master its time, from when nobody was known to be one.
func (p policy) wait(s role.Situation, what string) role.Verdict {
	until := s.Waiting.Add(p.waitForLast)
	if !until.After(s.Now) {
		return role.Verdict{Eligible: true, Reason: what}
	}
	// No countdown: it would be news every second.
	return role.Verdict{Until: until, Reason: fmt.Sprintf("%s, and waits for it until %s, or for --force", what, until.UTC().Format("15:04:05 UTC"))}
}

// lastHasMore says what this node lacks, or may lack, of a last master that is back: what was told of it is the least that it
// had, for it went on writing until its power failed. It is certain where that server is seen, with more, after it was the master.
func (p policy) lastHasMore(s role.Situation) (what string, certain bool) {
	last := s.Last.Node
	if last == "" || last == s.Node {
		return "", false
	}
	peer := s.Peers[last]
	if answers := peer.Alive && peer.Down == "" && peer.Position != "" && s.Now.Sub(peer.At) <= staleAfter; answers {
		switch m, err := missing(s.Self.Has(), peer.Has()); {
		case err != nil:
			return "what " + last + ", the last master, has cannot be read: " + err.Error(), false
		case m.Transactions > 0:
			return fmt.Sprintf("lacks %s of %s, the last master", transactions(m.Transactions), last), !peer.Writable
		}
		return "", false
	}
	// Its server may be there before its agent. A replica of a dead one is connected, too, until it notices; so only where
	// this agent has seen no master.
	connected := s.OwnerSeen.IsZero() && s.Self.Following == last && s.Self.Connected
	if peer.Alive || connected {
		return "what " + last + ", the last master, has is not known yet", false
	}
	return "", false
}

// lacksOfLast counts what this node lacks of the last known position of a master.
func (p policy) lacksOfLast(s role.Situation) (m role.Missing, known bool, err error) {
	if s.Last.Node == "" || s.Last.Position == "" {
		return m, false, nil
	}
	m, err = missing(s.Self.Has(), s.Last.Position)
	return m, err == nil, err
}
