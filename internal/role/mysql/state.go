package mysql

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// state is what was seen of a server at one moment.
type state struct {
	at        time.Time // before the first question
	version   string    // for people: "MariaDB 10.11.6"
	uptime    time.Duration
	readOnly  bool
	superOnly bool // MySQL: not even administrators can write
	position  Position
	slavePos  string // MariaDB: @@gtid_slave_pos, what it would ask a master for
	replica   replica
	semi      semiSync
	unfit     string // a setting without which it can be no part of this
	warning   string // a setting that a person should look at
}

// replica is the state of replication from another server.
type replica struct {
	configured bool
	host       string
	port       int
	user       string
	byGTID     bool
	receiver   string // "Yes", "Connecting", "Preparing", "No"
	applier    bool   // runs
	lag        time.Duration
	lagKnown   bool
	received   Position // what has arrived, applied or not
	mark       string   // changes when the applier gets on

	receiverErrno, applierErrno int
	receiverError, applierError string
}

// connected reports whether the source sends, as far as is known.
func (r replica) connected() bool { return r.receiver == "Yes" }

// receiving reports whether the receiver is at work, connected or trying to be.
func (r replica) receiving() bool { return r.configured && r.receiver != "No" && r.receiver != "" }

// follows reports whether it is set up to follow that server.
func (r replica) follows(s source) bool {
	return r.configured && r.byGTID && r.host == s.host && r.port == s.port && r.user == s.user
}

// source is a server to follow, and with which account.
type source struct {
	host     string
	port     int
	user     string
	password string
	tls      bool
}

func (s source) addr() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// semiSync is semi-synchronous replication as the server has it.
type semiSync struct {
	known         bool // the server has it at all
	masterEnabled bool // it is asked for where this server is the master
	masterActive  bool // and in force
	slaveEnabled  bool
	slaveActive   bool
	clients       int    // replicas that acknowledge
	waitPoint     string // AFTER_SYNC, AFTER_COMMIT
}

// word is what is gossiped of it.
func (s semiSync) word(writable bool) string {
	enabled, active := s.slaveEnabled, s.slaveActive
	if writable {
		enabled, active = s.masterEnabled, s.masterActive && s.clients > 0
	}
	switch {
	case !s.known:
		return ""
	case enabled && active:
		return "on"
	case enabled:
		return "fallen back"
	}
	return "off"
}

// warn is what a person should know of it.
func (s semiSync) warn(writable bool) string {
	switch {
	case !s.known || !writable || !s.masterEnabled:
		return ""
	case !s.masterActive || s.clients == 0:
		return "semi-synchronous replication has fallen back: commits wait for no replica, and those of the last moments are lost if this server dies"
	case s.waitPoint == "AFTER_COMMIT":
		return "semi-synchronous replication waits after the commit: others may have read what is lost if this server dies; set the wait point to AFTER_SYNC"
	}
	return ""
}

func (st state) writable() bool { return !st.readOnly }

// started is when the server was started, to a second.
func (st state) started() time.Time { return st.at.Add(-st.uptime) }

// received is everything that has arrived.
func (st state) received() Position { return st.position.With(st.replica.received) }

// broken is why replication does not get on by itself; empty if it does, or if there
// is none.
func (st state) broken() string {
	r := st.replica
	switch {
	case st.unfit != "":
		return st.unfit
	case !r.configured:
		return ""
	case r.applierErrno != 0:
		return fmt.Sprintf("cannot apply a change of its master: error %d: %s", r.applierErrno, firstLine(r.applierError))
	case r.receiverErrno == erMasterFatal:
		return fmt.Sprintf("its master cannot send what it lacks: error %d: %s", r.receiverErrno, firstLine(r.receiverError))
	}
	return ""
}

// maxErrorText is how much of an error of the server is passed on, in bytes (chosen
// by us: a line or two).
const maxErrorText = 300

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText-3], "") + "..."
	}
	return s
}

// nodeAt finds the node that a server's host is the address of.
func nodeAt(host string, nodes map[string]netip.Addr) string {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	for name, addr := range nodes {
		if addr == a.Unmap() {
			return name
		}
	}
	return ""
}
