package lease

import (
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lone is one Machine in the hands of a test, node v of a, b, c and v; its
// quarantine after the start is over.
type lone struct {
	*Machine
	now Instant
	seq uint64
}

func newLone(t *testing.T, change func(*Config)) *lone {
	t.Helper()
	cfg := Config{
		Cluster: "shop", Node: "v", RunID: 99, Nodes: []string{"a", "b", "c", "v"}, Voters: []string{"a", "b", "v"},
		Generation: 5, TTL: time.Second, Groups: []string{"db", "web"}, Incarnation: 1, Rand: rand.New(rand.NewPCG(1, 2)),
		Record: &Record{Generation: 5, TTL: time.Second},
	}
	if change != nil {
		change(&cfg)
	}
	l := &lone{now: Instant(time.Hour)}
	m, err := New(l.time(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Machine = m
	return l
}

func (l *lone) time() Time { return Time{Boot: l.now, Unix: 1000} }

// say lets a node speak to the Machine, and returns what it is answered.
func (l *lone) say(from string, e Entry, change func(*Message)) []Entry {
	l.seq++
	m := Message{Cluster: "shop", From: from, RunID: RunID(from[0]), Generation: 5, Voters: ListHash([]string{"a", "b", "v"}), TTL: time.Second, Seq: Seq{1, l.seq}, Entries: []Entry{e}}
	if change != nil {
		change(&m)
	}
	l.Effects()
	l.Step(l.time(), m)
	var out []Entry
	for _, e := range l.Effects() {
		if s, ok := e.(Send); ok && s.To == from {
			out = append(out, s.Message.Entries...)
		}
	}
	return out
}

func request(group string, epoch Epoch) Entry {
	return Entry{Group: group, Kind: KindRequest, Epoch: epoch}
}

// TestRefusals: every reason for which a voter says no, and what it tells.
func TestRefusals(t *testing.T) {
	valid := request("web", 2000)
	valid.Valid = true
	for _, tt := range []struct {
		name   string
		config func(*Config)
		before func(*lone)
		change func(*Message)
		ask    Entry
		want   Entry
	}{
		{
			name:   "held",
			before: func(l *lone) { l.say("b", valid, nil); l.now = l.now.Add(300 * time.Millisecond) },
			ask:    request("web", 3000),
			want:   Entry{Reason: ReasonHeld, Holder: "b", Left: 700 * time.Millisecond, Highest: 2000},
		},
		{
			name:   "held by another run of the same node",
			before: func(l *lone) { l.say("a", valid, func(m *Message) { m.RunID = 1 }) },
			ask:    request("web", 3000),
			want:   Entry{Reason: ReasonHeld, Holder: "a", Left: time.Second, Highest: 2000},
		},
		{
			name:   "contested",
			before: func(l *lone) { l.say("b", request("web", 2000), nil) },
			ask:    request("web", 3000),
			want:   Entry{Reason: ReasonContested, Holder: "b", Left: time.Second, Highest: 2000},
		},
		{
			name: "epoch, after a release",
			before: func(l *lone) {
				l.say("b", valid, nil)
				l.say("b", Entry{Group: "web", Kind: KindRelease, Epoch: 2000}, nil)
			},
			ask:  request("web", 2000),
			want: Entry{Reason: ReasonEpoch, Highest: 2000},
		},
		{
			name: "epoch, after a promise that ran out",
			before: func(l *lone) {
				l.say("b", valid, nil)
				l.now = l.now.Add(time.Second)
			},
			ask:  request("web", 1999),
			want: Entry{Reason: ReasonEpoch, Highest: 2000},
		},
		{
			name: "epoch, a lease that was valid once comes back",
			before: func(l *lone) {
				l.say("b", valid, nil)
				l.now = l.now.Add(time.Second)
				late := request("web", 1500)
				late.Valid = true
				l.say("a", late, nil)
			},
			ask:  request("web", 1500),
			want: Entry{Reason: ReasonEpoch, Holder: "a", Highest: 2000},
		},
		{
			name:   "quarantine after a start",
			config: func(c *Config) { c.Record = nil },
			before: func(l *lone) { l.now = l.now.Add(400 * time.Millisecond) },
			ask:    request("web", 2000),
			want:   Entry{Reason: ReasonQuarantine, Left: 600 * time.Millisecond},
		},
		{
			name:   "quarantine with the ttl of the last run",
			config: func(c *Config) { c.Record, c.LastTTL = nil, 3*time.Second },
			ask:    valid,
			want:   Entry{Reason: ReasonQuarantine, Left: 3 * time.Second},
		},
		{
			name:   "quarantine that the last run was in",
			config: func(c *Config) { c.Record.Quarantine = Instant(time.Hour + time.Millisecond) },
			ask:    request("web", 2000),
			want:   Entry{Reason: ReasonQuarantine, Left: time.Millisecond},
		},
		{
			name:   "quarantine after a snapshot was restored",
			before: func(l *lone) { l.Paused(l.time(), true) },
			ask:    request("web", 2000),
			want:   Entry{Reason: ReasonQuarantine, Left: time.Second},
		},
		{
			name: "voter change",
			before: func(l *lone) {
				if err := l.Reconfigure(l.time(), []string{"a", "b", "c", "v"}, []string{"a", "b", "c", "v"}, 6); err != nil {
					panic(err)
				}
			},
			ask:  request("web", 2000),
			want: Entry{Reason: ReasonVoterChange, Left: time.Second},
		},
		{
			name:   "generation",
			change: func(m *Message) { m.Generation = 7 },
			ask:    request("web", 2000),
			want:   Entry{Reason: ReasonGeneration},
		},
		{
			name:   "another list under the same generation",
			change: func(m *Message) { m.Voters = ListHash([]string{"b", "c", "d"}) },
			ask:    request("web", 2000),
			want:   Entry{Reason: ReasonGeneration},
		},
		{
			name:   "ttl",
			change: func(m *Message) { m.TTL = 2 * time.Second },
			ask:    request("web", 2000),
			want:   Entry{Reason: ReasonTTL},
		},
		{name: "unknown group", ask: request("mail", 2000), want: Entry{Reason: ReasonUnknownGroup}},
		{
			name:   "not a voter",
			config: func(c *Config) { c.Voters = []string{"a", "b", "c"} },
			ask:    request("web", 2000),
			want:   Entry{Reason: ReasonNotVoter},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLone(t, tt.config)
			if tt.before != nil {
				tt.before(l)
			}
			want := tt.want
			want.Kind, want.Group, want.Epoch = KindRefuse, tt.ask.Group, tt.ask.Epoch
			want.Ref = Seq{1, l.seq + 1}
			if diff := cmp.Diff([]Entry{want}, l.say("a", tt.ask, tt.change)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			l.Check()
		})
	}
}

// TestReasonTexts: each reason has a text of its own, because status shows it, and a name of one word, because
// programs count by it.
func TestReasonTexts(t *testing.T) {
	seen, names := map[string]Reason{}, map[string]Reason{}
	word := regexp.MustCompile("^[a-z]+(-[a-z]+)*$")
	for r := ReasonNone; r < reasonEnd; r++ {
		if other, ok := seen[r.String()]; ok {
			t.Errorf("reasons %d and %d are both %q", other, r, r)
		}
		seen[r.String()] = r
		if other, ok := names[r.Name()]; ok || !word.MatchString(r.Name()) {
			t.Errorf("reason %d is called %q, and so is %d", r, r.Name(), other)
		}
		names[r.Name()] = r
	}
	if got := Reason(200).Name(); got != "other" {
		t.Errorf("a reason of a later version is called %q", got)
	}
	if got := Reason(200).String(); got != "reason 200" {
		t.Errorf("a reason of a later version reads %q", got)
	}
}
