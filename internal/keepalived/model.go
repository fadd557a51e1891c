package keepalived

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"
)

// A machine is what keepalived does on one of them.
type machine struct {
	name      string
	file      string
	routerID  string
	instances []*instance
	scripts   map[string]*script
	processes map[string]*process
	groups    []*syncGroup
	notes     []Note

	addresses, tracks int // counted: there is a bound
}

// An instance is a vrrp_instance.
type instance struct {
	pos          Pos
	name         string
	master       bool // state MASTER
	iface        string
	router       string // virtual_router_id
	priority     int
	advert       time.Duration
	nopreempt    bool
	preemptDelay time.Duration
	source       []netip.Addr // unicast_src_ip, mcast_src_ip
	peers        []netip.Addr
	addresses    []address
	noLinkCheck  bool // dont_track_primary
	tracks       []track
	notify       map[string]hook // by keyword
}

type address struct {
	pos    Pos
	prefix netip.Prefix
	dev    string // empty: the instance's interface
}

// A track is a line of track_script, track_interface or track_process.
type track struct {
	pos      Pos
	kind     string // "script", "interface", "process"
	name     string
	weight   int
	weighted bool // the line has a weight of its own
	reverse  bool
	synced   bool // of a member of a sync group: keepalived ignores it if it has a weight
}

type script struct {
	pos       Pos
	name      string
	command   []string // as keepalived splits it
	raw       string
	interval  time.Duration
	timeout   time.Duration // 0: the interval
	weight    int
	reverse   bool
	fall      int
	rise      int
	user      string
	complains bool // its notes are written
}

type process struct {
	pos    Pos
	name   string
	watch  string // the program
	weight int
}

type syncGroup struct {
	pos     Pos
	name    string
	members []string
	tracks  []track
	notify  map[string]hook
}

type hook struct {
	pos     Pos
	command []string
}

func (m *machine) note(pos Pos, format string, args ...any) {
	m.notes = append(m.notes, Note{pos, fmt.Sprintf(format, args...)})
}

// read makes a machine of a tree.
func read(t *tree) *machine {
	m := &machine{scripts: map[string]*script{}, processes: map[string]*process{}, notes: t.notes}
	for _, s := range t.top {
		switch s.keyword() {
		case "global_defs":
			m.global(s)
		case "vrrp_script":
			m.script(s)
		case "vrrp_track_process", "track_process":
			m.process(s)
		case "vrrp_instance":
			m.instance(s)
		case "vrrp_sync_group":
			m.syncGroup(s)
		default:
			m.told(s, topLost, "statement")
		}
	}
	return m
}

// told notes the loss of a statement: by table, else as unknown. What means nothing here is passed over.
func (m *machine) told(s *statement, lost map[string]string, kind string) {
	if needless[s.keyword()] {
		return
	}
	if why, ok := lost[s.keyword()]; ok {
		m.note(s.pos, "%s: %s", s.keyword(), why)
		return
	}
	m.note(s.pos, "%s: this %s is not known here: left away", s.keyword(), kind)
}

func (m *machine) global(s *statement) {
	mail := false
	for _, c := range s.block {
		switch c.keyword() {
		case "router_id":
			m.routerID = c.arg(0)
		case "notification_email", "notification_email_from", "smtp_server", "smtp_connect_timeout", "smtp_helo_name", "smtp_alert", "smtp_alert_vrrp",
			"smtp_alert_checker", "no_email_faults":
			if !mail {
				m.note(c.pos, "%s: %s", c.keyword(), noMail)
			}
			mail = true
		default:
			m.told(c, globalLost, "key of global_defs")
		}
	}
}

func (m *machine) script(s *statement) {
	sc := &script{pos: s.pos, name: s.arg(0), interval: time.Second, fall: 1, rise: 1}
	for _, c := range s.block {
		switch c.keyword() {
		case "script":
			sc.raw, sc.command = commandOf(c.words[1:])
		case "interval":
			sc.interval = m.seconds(c, sc.interval)
		case "timeout":
			sc.timeout = m.seconds(c, 0)
		case "fall":
			sc.fall = m.number(c, sc.fall, 1, math.MaxInt32)
		case "rise":
			sc.rise = m.number(c, sc.rise, 1, math.MaxInt32)
		case "weight":
			sc.weight = m.number(c, 0, -254, 254)
			sc.reverse = c.arg(1) == "reverse"
		case "user":
			sc.user = c.arg(0)
		case "init_fail": // the first result decides here, too
		default:
			m.told(c, nil, "key of vrrp_script")
		}
	}
	if sc.name == "" || m.scripts[sc.name] != nil {
		m.note(s.pos, "vrrp_script %q: no name, or one that stands there already: left away", sc.name)
		return
	}
	m.scripts[sc.name] = sc
}

func (m *machine) process(s *statement) {
	p := &process{pos: s.pos, name: s.arg(0)}
	for _, c := range s.block {
		switch c.keyword() {
		case "process":
			p.watch = c.arg(0)
		case "weight":
			p.weight = m.number(c, 0, -254, 254)
		case "quorum", "quorum_max":
			if c.arg(0) != "1" {
				m.note(c.pos, "%s: processes are not counted: the unit runs, or it does not", c.keyword())
			}
		case "delay", "terminate_delay", "fork_delay", "full_command", "param_match", "initial_scan_delay":
		default:
			m.told(c, nil, "key of track_process")
		}
	}
	if p.name != "" {
		m.processes[p.name] = p
	}
}

func (m *machine) syncGroup(s *statement) {
	g := &syncGroup{pos: s.pos, name: s.arg(0), notify: map[string]hook{}}
	for _, c := range s.block {
		switch c.keyword() {
		case "group":
			for _, member := range c.block {
				g.members = append(g.members, member.words...)
			}
		default:
			if !m.shared(c, &g.tracks, g.notify) {
				m.told(c, instanceLost, "key of vrrp_sync_group")
			}
		}
	}
	m.groups = append(m.groups, g)
}

// number is a whole number; what is none keeps def, and a note says so.
func (m *machine) number(s *statement, def, low, high int) int {
	n, err := strconv.Atoi(s.arg(0))
	if err != nil || n < low || n > high {
		m.note(s.pos, "%s %s: not a number from %d to %d: taken as %d", s.keyword(), s.arg(0), low, high, def)
		return def
	}
	return n
}

// seconds reads "3" and "0.5".
func (m *machine) seconds(s *statement, def time.Duration) time.Duration {
	f, err := strconv.ParseFloat(s.arg(0), 64)
	if err != nil || !(f >= 0 && f < 1e6) {
		m.note(s.pos, "%s %s: not a number of seconds: taken as %s", s.keyword(), s.arg(0), def)
		return def
	}
	return time.Duration(math.Round(f*1e6)) * time.Microsecond
}
