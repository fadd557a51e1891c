package web

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/words"
)

// Chosen by us.
const (
	maxEvents    = 40 // shown; a quiet site writes a few a week
	foldChecksAt = 9  // so many passing checks are one line, until they are asked for
	clockLayout  = "15:04:05"
	stampLayout  = "2006-01-02 15:04:05 MST"
	dayLayout    = "Mon 2 Jan"
)

// view is what the templates show: every word is chosen here, and they only
// place it. Text of others (messages, reasons) has been cleaned, and is escaped
// by html/template.
type view struct {
	Cluster, Node string
	At            time.Time // by the wall clock of the node, in its zone
	Version       string
	Gate, Config  string

	Tone     tone
	Headline string
	Summary  string
	Problems []problemView
	Notes    []string

	Groups []groupView
	Nodes  []nodeView
	Checks []checkView // what needs a look first
	Folded []checkView // that pass, where they are many
	Days   []dayView
}

// tone is how something is, for people: a word, a sign and a colour go together.
type tone string

// The tones, the names of which are classes of the style sheet and signs of the page.
const (
	toneGood  tone = "good"
	toneWary  tone = "wary"
	toneBad   tone = "bad"
	toneQuiet tone = "quiet" // neither: ready, passive, not known
)

type problemView struct {
	Tone         tone
	Text, Detail string
	Hint         template.HTML
	Since        time.Time
}

type groupView struct {
	Name, Owner, State string
	Tone               tone
	Since              time.Time
	Addresses          []string
	Interface          string
	Reason             string
	Next               string
	Moves              int64
	Nodes              []memberView
	Lease              leaseView
}

// memberView is what a group is on a node that may own it.
type memberView struct {
	Node, State, Reason string
	Tone                tone
}

type nodeView struct {
	Name, Address, State  string
	Tone                  tone
	Self, Voter           bool
	Since                 time.Time
	Maintenance           string
	Version, RTT, Config  string
	ConfigDiffers, Silent bool
}

type checkView struct {
	Name, Node, Status, Message string
	Tone                        tone
	Required                    bool
	Since                       time.Time
}

type dayView struct {
	Name   string
	Events []eventView // newest first
}

type eventView struct {
	At       time.Time
	Move     bool // a group has another owner
	Subject  string
	From, To string
	Arrow    bool
	Why      string
}

// viewOf is pure. zone is that of the node.
func viewOf(s control.Status, events []control.Event, leases []LeaseHealth, zone *time.Location) view {
	v := view{
		Cluster: words.Clean(s.Cluster), Node: words.Clean(s.Node), At: s.At.In(zone), Gate: words.Clean(s.Gate), Config: words.Clean(s.ConfigHash),
		Tone: severityTone(s.Severity()),
	}
	v.verdict(s)
	for _, w := range s.Warnings {
		v.Notes = append(v.Notes, words.Clean(w))
	}
	for _, g := range s.Groups {
		i := slices.IndexFunc(leases, func(l LeaseHealth) bool { return l.Group == g.Name })
		var health LeaseHealth
		if i >= 0 {
			health = leases[i]
		}
		v.Groups = append(v.Groups, groupOf(s, g, health))
	}
	for _, n := range s.Nodes {
		v.Nodes = append(v.Nodes, nodeOf(s, n))
		if n.Self {
			v.Version = words.Clean(n.Version)
		}
	}
	v.checks(s)
	v.Days = daysOf(events, zone)
	return v
}

func severityTone(s control.Severity) tone {
	switch s {
	case control.SeverityOK:
		return toneGood
	case control.SeverityDegraded:
		return toneWary
	}
	return toneBad
}

// verdict is the first sentence, and what is wrong.
func (v *view) verdict(s control.Status) {
	problems := s.Problems()
	v.Summary = fmt.Sprintf("%s, %s, %d of %d voters heard", words.Count(len(s.Groups), "group"), words.Count(len(s.Nodes), "node"), s.Quorum.Seen, s.Quorum.Voters)
	if len(problems) == 0 {
		v.Headline = "All well"
		return
	}
	v.Headline = words.Clean(problems[0].Text)
	if problems[0].Severity == control.SeverityDegraded {
		v.Headline = "Degraded: " + v.Headline
	}
	for _, p := range problems {
		v.Problems = append(v.Problems, problemView{
			Tone: severityTone(p.Severity), Text: words.Clean(p.Text), Detail: words.Clean(p.Detail), Hint: withCode(words.Clean(p.Hint)), Since: p.Since,
		})
	}
}

// withCode marks what stands in backquotes as something to type.
func withCode(hint string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(hint, "`") {
		part = template.HTMLEscapeString(part)
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		b.WriteString(part)
	}
	return template.HTML(b.String())
}

func stateTone(s control.State) tone {
	switch s {
	case control.StateActive:
		return toneGood
	case control.StateFault, control.StateUnowned:
		return toneBad
	case control.StateAcquiring, control.StateDraining, control.StateMaintenance:
		return toneWary
	}
	return toneQuiet
}

func groupOf(s control.Status, g control.Group, health LeaseHealth) groupView {
	v := groupView{
		Name: words.Clean(g.Name), Owner: words.Clean(g.Owner), State: words.Clean(string(g.State)), Tone: stateTone(g.State), Since: g.Since,
		Interface: words.Clean(g.Interface), Reason: sentence(g.Reason), Next: words.Clean(g.NextOwner), Moves: g.Moves, Lease: leaseOf(g, health),
	}
	for _, a := range g.Addresses {
		v.Addresses = append(v.Addresses, words.Clean(a))
	}
	if g.Owner == "" {
		v.Tone = toneBad // whatever is being done about it
	}
	for _, n := range s.Nodes {
		ng, may := n.Groups[g.Name]
		m := memberView{Node: words.Clean(n.Name), State: words.Clean(string(ng.State)), Reason: words.Clean(ng.Reason), Tone: stateTone(ng.State)}
		switch {
		case !may:
			continue
		case !n.Alive:
			m.State, m.Reason, m.Tone = "down", "", toneBad
		case ng.State == control.StateActive:
			m.Reason = "" // the group's own, which stands above
		}
		v.Nodes = append(v.Nodes, m)
	}
	return v
}

// sentence begins with a capital and has no full stop, as the reasons of the agent have none.
func sentence(s string) string {
	s = words.Clean(s)
	if word, _, _ := strings.Cut(s, " "); strings.ContainsAny(word, "0123456789-_.:") {
		return s // a name: of a node, of a check
	}
	if s != "" {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	return s
}

func nodeOf(s control.Status, n control.Node) nodeView {
	v := nodeView{
		Name: words.Clean(n.Name), Address: words.Clean(n.Address), State: "up", Tone: toneGood, Self: n.Self, Voter: n.Voter, Since: n.Since,
		Maintenance: words.Clean(n.Maintenance), Version: words.Clean(n.Version), Config: "same",
	}
	switch {
	case !n.Alive && n.Since.IsZero():
		v.State, v.Tone, v.Silent = "not heard", toneBad, true
	case !n.Alive:
		v.State, v.Tone, v.Silent = "down", toneBad, true
	case n.Maintenance != "":
		v.State, v.Tone = "maintenance", toneWary
	}
	switch {
	case !n.Alive || n.ConfigHash == "":
		v.Config = ""
	case s.Differs(n):
		v.Config, v.ConfigDiffers = "differs", true
	}
	if n.Alive && n.RTTMs > 0 {
		v.RTT = words.Millis(n.RTTMs)
	}
	return v
}

// checks sorts them: what needs a look first, and of a node that is down nothing, for what it said last is no news.
func (v *view) checks(s control.Status) {
	var passing []checkView
	for _, n := range s.Nodes {
		if !n.Alive {
			continue
		}
		for _, c := range n.Checks {
			cv := checkView{
				Name: words.Clean(c.Name), Node: words.Clean(n.Name), Status: words.Clean(string(c.Status)), Tone: toneWary, Message: words.Clean(c.Message),
				Required: c.Required, Since: c.Since,
			}
			switch {
			case c.Status == control.CheckPassing:
				cv.Tone = toneGood
				passing = append(passing, cv)
				continue
			case c.Status == control.CheckFailing && n.Judged():
				cv.Tone = toneBad
			}
			v.Checks = append(v.Checks, cv)
		}
	}
	slices.SortStableFunc(v.Checks, func(a, b checkView) int { return cmp.Compare(a.Tone, b.Tone) }) // bad before wary
	if len(passing) >= foldChecksAt {
		v.Folded = passing
	} else {
		v.Checks = append(v.Checks, passing...)
	}
}

// daysOf is the newest events, newest first. What a group did on this node repeats what its owner's event says.
func daysOf(events []control.Event, zone *time.Location) []dayView {
	var days []dayView
	shown := 0
	for _, e := range slices.Backward(events) {
		if e.Kind == "state" {
			continue
		}
		if shown++; shown > maxEvents {
			break
		}
		ev := eventOf(e, zone)
		if name := ev.At.Format(dayLayout); len(days) == 0 || days[len(days)-1].Name != name {
			days = append(days, dayView{Name: name})
		}
		day := &days[len(days)-1]
		day.Events = append(day.Events, ev)
	}
	return days
}

func eventOf(e control.Event, zone *time.Location) eventView {
	v := eventView{
		At: e.At.In(zone), Move: e.Kind == "owner", Subject: words.Clean(cmp.Or(e.Group, e.Subject, e.Kind)),
		From: words.Clean(e.From), To: words.Clean(e.To), Why: words.Clean(e.Reason),
	}
	v.Arrow = e.From != ""
	detail := words.Clean(e.Detail)
	switch {
	case strings.HasPrefix(v.Why, detail):
	case v.Move: // of which it is the cause in one word
		v.Why = strings.TrimPrefix(detail+": "+v.Why, ": ")
	case detail != "":
		v.Why = strings.TrimPrefix(v.Why+"; "+detail, "; ")
	}
	switch {
	case v.Move:
		v.Arrow = true
		v.From, v.To = cmp.Or(v.From, "nobody"), cmp.Or(v.To, "nobody")
	case e.Group != "" && e.Subject != "":
		v.Subject += " " + words.Clean(e.Subject)
	case e.Kind == "drain": // of what it had handed over: no move
		v.Subject, v.From, v.To, v.Arrow = v.Subject+" on "+v.From, "", "", false
	case e.Kind == "check":
		v.Subject = "check " + v.Subject
	case e.Kind == "maintenance":
		v.Subject += " maintenance"
	}
	return v
}

// since writes for how long something is so. The page counts on by the datetime.
func since(at, t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	return template.HTML(fmt.Sprintf(`<time class="for" datetime="%s" title="since %s">%s</time>`,
		t.UTC().Format(time.RFC3339), t.In(at.Location()).Format(stampLayout), words.Ago(at, t)))
}
