package lease

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected output of testdata/*.play")

// TestPlays runs the scenarios of testdata: blocks of commands, a line of four
// dashes, and what must have happened. The language is at run, below.
func TestPlays(t *testing.T) {
	files, err := filepath.Glob("testdata/*.play")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plays: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".play"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := perform(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s\ngo test ./pkg/lease -run TestPlays -update rewrites it", file, diff)
			}
		})
	}
}

// perform runs a script and returns it with the output that it produced.
func perform(t *testing.T, script string) string {
	var out strings.Builder
	var st *stage
	var pending []string
	in := bufio.NewScanner(strings.NewReader(script))
	skipping := false
	for in.Scan() {
		line := in.Text()
		if skipping {
			if line != "" {
				continue
			}
			skipping = false
		}
		out.WriteString(line + "\n")
		switch {
		case line == "----":
			for _, cmd := range pending {
				st = run(t, st, cmd)
			}
			pending = nil
			out.WriteString(st.takeLog())
			skipping = true
		case line == "" || strings.HasPrefix(line, "#"):
		default:
			pending = append(pending, line)
		}
	}
	if len(pending) > 0 {
		t.Fatalf("the script ends without ---- after %q", pending)
	}
	return out.String()
}

// stage is a cluster of Machines under one clock. Messages take a millisecond.
type stage struct {
	t        *testing.T
	now      Instant
	ttl      time.Duration
	nodes    []string
	voters   []string
	groups   []string
	witness  bool
	machines map[string]*Machine
	records  map[string]*Record
	runs     map[string]RunID
	starts   uint64
	open     map[string]Instant // "node group" -> until
	cut      map[string]bool    // "a>b"
	flying   []flight
	chatty   bool
	log      strings.Builder
}

type flight struct {
	at  Instant
	to  string
	msg Message
}

const unixStart = 1_000_000

func (s *stage) time() Time { return Time{Boot: s.now, Unix: unixStart + int64(s.now)/1e9} }

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(&s.log, "%6d ms  %s\n", time.Duration(s.now).Milliseconds()-1000, fmt.Sprintf(format, args...))
}

func (s *stage) takeLog() string {
	defer s.log.Reset()
	return s.log.String()
}

// run is the language of the plays:
//
//	cluster ttl=1s nodes=a,b,c [voters=a,b,c] groups=web [witness]
//	start NODE... [ttl=2s] [generation=2] [cluster=x]   boots a machine: no memory
//	restart NODE                        the agent again, same boot: memory and run id kept
//	kill NODE                           the agent is gone, its addresses stay until they run out
//	eligible NODE GROUP RANK | ineligible NODE GROUP
//	release NODE GROUP | transfer NODE GROUP TO
//	paused NODE [reverted]
//	cut A>B ... | heal                  one direction each
//	witness NODE GROUP...               the witness answers now; nobody answers for the groups
//	messages on|off                     show every message
//	voters NODE a,b,c GENERATION        reload the voter list
//	run DURATION
//	who GROUP                           who has it, and who votes for whom
func run(t *testing.T, s *stage, line string) *stage {
	t.Helper()
	f := strings.Fields(line)
	opts := map[string]string{}
	var args []string
	for _, a := range f[1:] {
		if k, v, ok := strings.Cut(a, "="); ok {
			opts[k] = v
		} else {
			args = append(args, a)
		}
	}
	if f[0] == "cluster" {
		return newStage(t, opts, args)
	}
	switch f[0] {
	case "start":
		for _, n := range args {
			s.start(n, opts, false)
		}
	case "restart":
		s.start(args[0], opts, true)
	case "kill":
		delete(s.machines, args[0])
		for k := range s.open {
			if strings.HasPrefix(k, args[0]+" ") {
				delete(s.open, k) // the kernel's timer is the gate's business, not this package's
			}
		}
	case "eligible":
		rank, _ := strconv.Atoi(args[2])
		s.machines[args[0]].SetEligible(s.time(), args[1], true, rank)
	case "ineligible":
		s.machines[args[0]].SetEligible(s.time(), args[1], false, 0)
	case "release":
		if !s.machines[args[0]].Release(s.time(), args[1], ReasonReleased) {
			s.say("%s: nothing to release", args[0])
		}
	case "transfer":
		if why := s.machines[args[0]].Transfer(s.time(), args[1], Target{Node: args[2], RunID: s.runs[args[2]], Note: "play"}); why != ReasonNone {
			s.say("%s: not transferred: %v", args[0], why)
		}
	case "paused":
		s.machines[args[0]].Paused(s.time(), len(args) > 1)
	case "cut":
		for _, c := range args {
			s.cut[c] = true
		}
	case "heal":
		clear(s.cut)
	case "witness":
		m := s.machines[args[0]]
		m.WitnessAnswered(s.time(), s.now)
		for _, g := range args[1:] {
			m.AddressSilent(s.time(), g, s.now)
		}
	case "messages":
		s.chatty = args[0] == "on"
	case "voters":
		gen, _ := strconv.ParseUint(args[2], 10, 64)
		v := strings.Split(args[1], ",")
		if err := s.machines[args[0]].Reconfigure(s.time(), s.nodes, v, gen); err != nil {
			s.say("%s: %v", args[0], err)
		}
	case "run":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			t.Fatal(err)
		}
		s.advance(s.now.Add(d))
	case "who":
		s.who(args[0])
	default:
		t.Fatalf("unknown command %q", line)
	}
	s.settle()
	return s
}

func newStage(t *testing.T, opts map[string]string, args []string) *stage {
	ttl, err := time.ParseDuration(opts["ttl"])
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{
		t: t, now: Instant(time.Second), ttl: ttl, nodes: strings.Split(opts["nodes"], ","), groups: strings.Split(opts["groups"], ","),
		witness: slices.Contains(args, "witness"), machines: map[string]*Machine{}, records: map[string]*Record{},
		runs: map[string]RunID{}, open: map[string]Instant{}, cut: map[string]bool{},
	}
	s.voters = s.nodes
	if v := opts["voters"]; v != "" {
		s.voters = strings.Split(v, ",")
	}
	return s
}

func (s *stage) start(node string, opts map[string]string, sameBoot bool) {
	s.starts++
	cfg := Config{
		Cluster: "shop", Node: node, Nodes: s.nodes, Voters: s.voters, Generation: 1, TTL: s.ttl, Groups: s.groups,
		Witness: s.witness, Incarnation: s.starts, Rand: rand.New(rand.NewPCG(1, s.starts)),
	}
	if opts["ttl"] != "" {
		cfg.TTL, _ = time.ParseDuration(opts["ttl"])
	}
	if opts["cluster"] != "" {
		cfg.Cluster = opts["cluster"]
	}
	if opts["generation"] != "" {
		cfg.Generation, _ = strconv.ParseUint(opts["generation"], 10, 64)
	}
	if sameBoot {
		cfg.Record = s.records[node]
	} else {
		s.runs[node] = RunID(100*s.starts + 1)
		delete(s.records, node)
	}
	cfg.RunID = s.runs[node]
	m, err := New(s.time(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.machines[node] = m
}

// settle carries out the effects of every machine.
func (s *stage) settle() {
	for _, n := range s.nodes {
		if m := s.machines[n]; m != nil {
			m.Check()
			for _, e := range m.Effects() {
				s.carryOut(n, e)
			}
		}
	}
}

func (s *stage) carryOut(n string, e Effect) {
	switch e := e.(type) {
	case Shut:
		delete(s.open, n+" "+e.Group)
		s.say("%s shuts %s, epoch +%d: %v", n, e.Group, e.Epoch-unixStart, e.Reason)
	case Persist:
		s.records[n] = &e.Record
	case Open:
		s.open[n+" "+e.Group] = e.Until
		s.say("%s opens %s, epoch +%d, for %v: %v", n, e.Group, e.Epoch-unixStart, e.Until.Sub(s.now), e.Cause)
		s.overlap(e.Group)
	case Renew:
		s.open[n+" "+e.Group] = e.Until
	case Send:
		if s.chatty {
			for _, en := range e.Message.Entries {
				s.say("%s -> %s  %v", n, e.To, describe(en))
			}
		}
		if !s.cut[n+">"+e.To] {
			s.flying = append(s.flying, flight{at: s.now.Add(time.Millisecond), to: e.To, msg: e.Message})
		}
	}
}

func describe(e Entry) string {
	text := fmt.Sprintf("%v %s +%d", e.Kind, e.Group, e.Epoch-unixStart)
	switch {
	case e.Kind == KindRefuse:
		text += ": " + e.Reason.String()
	case e.Kind == KindTransfer || e.Kind == KindTicket:
		text += fmt.Sprintf(" to %s +%d", e.To, e.ToEpoch-unixStart)
	case e.Valid:
		text += " (valid)"
	case !e.Ticket.zero():
		text += " with ticket of " + e.Ticket.From
	}
	return text
}

func (s *stage) overlap(group string) {
	var owners []string
	for k, until := range s.open {
		if n, g, _ := strings.Cut(k, " "); g == group && until > s.now {
			owners = append(owners, n)
		}
	}
	if len(owners) > 1 {
		slices.Sort(owners)
		s.say("!!! TWO OWNERS of %s: %v", group, owners)
		s.t.Errorf("two owners of %s: %v", group, owners)
	}
}

// advance runs the clock to end, from event to event.
func (s *stage) advance(end Instant) {
	s.settle()
	for {
		next := earliest{}
		for _, f := range s.flying {
			next.add(f.at)
		}
		for _, n := range s.nodes {
			if m := s.machines[n]; m != nil {
				if at, ok := m.NextDeadline(); ok {
					next.add(at)
				}
			}
		}
		if !next.ok || next.at > end {
			s.now = end
			return
		}
		s.now = max(s.now, next.at)
		due := s.flying
		s.flying = nil
		for _, f := range due {
			if m := s.machines[f.to]; f.at > s.now {
				s.flying = append(s.flying, f)
			} else if m != nil {
				m.Step(s.time(), s.wire(f.msg))
				s.settle()
			}
		}
		for _, n := range s.nodes {
			if m := s.machines[n]; m != nil {
				m.Tick(s.time())
			}
		}
		s.settle()
	}
}

// wire passes a message through its encoded form.
func (s *stage) wire(m Message) Message {
	parts := Encode(m)
	if len(parts) != 1 {
		s.t.Fatalf("message of %d entries became %d datagrams", len(m.Entries), len(parts))
	}
	got, err := Decode(parts[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

func (s *stage) who(group string) {
	owner := "nobody"
	for _, n := range s.nodes {
		if until, ok := s.open[n+" "+group]; ok && until > s.now {
			owner = n
		}
	}
	s.say("%s is owned by %s", group, owner)
	for _, n := range s.nodes {
		m := s.machines[n]
		if m == nil {
			s.say("  %s is down", n)
			continue
		}
		v, _ := m.Group(s.now, group)
		text := fmt.Sprintf("%s, votes for %s", v.Phase, orNobody(v.Holder))
		if q := m.Quarantine(s.now); q > 0 {
			text += fmt.Sprintf(", in quarantine for %v", q)
		}
		if v.Refusal != ReasonNone {
			text += ", last met: " + v.Refusal.String()
		}
		s.say("  %s is %s", n, text)
	}
}

func orNobody(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}
