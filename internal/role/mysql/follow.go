package mysql

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// Chosen by us.
const (
	leaderTimeout = 2 * time.Second  // for asking another node's server
	leaderEvery   = 5 * time.Second  // when all is well
	followRetry   = 10 * time.Second // between two tries of what did not help
)

// leaderState is what was seen of the server that this one is to follow.
type leaderState struct {
	asked    bool // it has answered
	writable bool
	position Position
}

// move is what is done about following.
type move int

const (
	moveNone    move = iota
	moveStop         // diverged: nothing more of the leader may come in
	movePoint        // follow this leader, from where we are
	moveStart        // it is set up and does not run
	moveRefresh      // the account has changed
)

// plan decides about a standby's replication. It is pure. why tells what keeps it from
// following; it is empty if nothing does.
func plan(st state, to source, l leaderState) (m move, diverged string) {
	r := st.replica
	if l.asked && l.writable && !l.position.Has(st.position) {
		lacks := l.position.Lacks(st.position)
		diverged = fmt.Sprintf("%s here that the master has not (%s)", transactions(lacks.Transactions), lacks.Detail)
		if r.configured && (r.receiving() || r.applier) {
			return moveStop, diverged
		}
		return moveNone, diverged
	}
	switch {
	case r.follows(to):
		return keep(r), ""
	case !l.asked || !l.writable:
		// Who was the master may be on its way out, and who will be it is not yet:
		// what would be received from either might have to be thrown away.
		return moveNone, ""
	}
	return movePoint, ""
}

// keep decides about a replica that is set up as it should be.
func keep(r replica) move {
	switch {
	case r.applierErrno != 0, r.receiverErrno == erMasterFatal:
		return moveNone // a person's: starting it again and again only fills its log
	case r.receiverErrno == erAccessDenied && !r.connected():
		return moveRefresh
	case !r.receiving() || !r.applier:
		return moveStart
	}
	return moveNone
}

// carry carries a move out.
func (r *Role) carry(ctx context.Context, m move, st state, d *dialect, to source, l leaderState) error {
	switch m {
	case moveStop:
		return r.server.exec(ctx, d.stopReplica)
	case moveStart:
		return r.server.exec(ctx, d.startReplica)
	case movePoint, moveRefresh:
		if st.replica.configured {
			if err := r.server.exec(ctx, d.stopReplica); err != nil {
				return err
			}
			var err error // what was being applied is in the position now
			if st, d, err = look(ctx, r.server, time.Now()); err != nil {
				return err
			}
		}
		// The leader receives nothing, so what it lacked it lacks.
		if m == movePoint && !l.position.Has(st.position) {
			return fmt.Errorf("applied more meanwhile: %w", role.ErrNotNow)
		}
		if lost := st.position.Lacks(st.replica.received); m == movePoint && lost.Transactions > 0 {
			r.event("received transactions are not applied", fmt.Sprintf("%s of the old master (%s): the new one decides", transactions(lost.Transactions), lost.Detail))
		}
		for _, s := range d.follow(st, to) {
			if err := r.server.exec(ctx, s.text, s.args...); err != nil {
				return err
			}
		}
		return r.server.exec(ctx, d.startReplica)
	}
	return nil
}

// sourceAt reads the account for following a node.
func (r *Role) sourceAt(node string) (source, error) {
	addr, ok := r.o.Nodes[node]
	if !ok {
		return source{}, fmt.Errorf("%s is not among the group's nodes", node)
	}
	d, err := readDSN(r.o.ReplicationDSNFile)
	if err != nil {
		return source{}, err
	}
	r.secrets.add(d.config.Passwd)
	return source{host: addr.String(), port: d.port, user: d.config.User, password: d.config.Passwd, tls: d.tls()}, nil
}

// askLeader looks at another node's server.
func (r *Role) askLeader(ctx context.Context, to source) (leaderState, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	s := newServer(r.o.ReplicationDSNFile, r.secrets, r.o.connect(net.JoinHostPort(to.host, strconv.Itoa(to.port))))
	defer s.close()
	var version, on string
	if err := s.row(ctx, askVersion, &version); err != nil {
		return leaderState{}, err
	}
	d, err := dialectOf(version)
	if err != nil {
		return leaderState{}, err
	}
	if err := s.row(ctx, "SELECT @@global.read_only", &on); err != nil {
		return leaderState{}, err
	}
	position, err := askPosition(ctx, s, d)
	return leaderState{asked: err == nil, writable: !isOn(on), position: position}, err
}
