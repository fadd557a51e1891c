package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Chosen by us: what a reader needs to see what led to a violation, and what came of it.
const (
	excerptBefore = 3 * time.Second
	excerptAfter  = JudgeLag
	excerptLines  = 250
	logLines      = 40 // of each agent
	// claimsTogether is how long one round of announcements takes.
	claimsTogether = 50 * time.Millisecond
)

// A moment is a line of an excerpt.
type moment struct {
	at   time.Time
	text string
}

// Excerpt tells what happened within [from, to], by all who saw it, in the order of time.
func (s *Site) Excerpt(from, to time.Time) string {
	var all []moment
	add := func(at time.Time, format string, args ...any) {
		if !at.Before(from) && !at.After(to) {
			all = append(all, moment{at, fmt.Sprintf(format, args...)})
		}
	}
	for _, e := range s.Events(from, to) {
		switch {
		case e.Began.Before(from):
			add(from, "fault    %v is under way since %s", e, clock(e.Began))
		default:
			add(e.Began, "fault    %v begins", e)
		}
		if !e.Ended.IsZero() && e.Fault.Kind != "" {
			add(e.Ended, "fault    %v is over", e)
		}
	}
	for _, a := range s.asked {
		all = append(all, runs(a.Questions(from, to), a.Target().String())...)
	}
	all = append(all, claims(s.said.Announcements(from, to))...)
	for i, c := range s.cards {
		for _, o := range c.Between(from, to) {
			add(o.At, "card     %s is at %s", s.asked[i].Target(), names(o.Nodes))
		}
	}
	for _, o := range s.gates.Between(from, to) {
		add(o.At, "gate     open at %s", names(o.Nodes))
	}
	for _, n := range s.Nodes() {
		for _, line := range n.AgentLines(from, to, logLines) {
			stamp, text, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
			if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
				add(at, "agent    %s: %s", n.Name, text)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for i, m := range all {
		if i == excerptLines {
			fmt.Fprintf(&b, "  ... and %d more lines\n", len(all)-i)
			break
		}
		fmt.Fprintf(&b, "  %s  %s\n", clock(m.at), m.text)
	}
	return b.String()
}

// runs sums up questions that were answered by the same machines.
func runs(qs []lab.Question, target string) []moment {
	var all []moment
	for i := 0; i < len(qs); {
		k := i
		for k < len(qs) && slices.Equal(qs[k].Nodes, qs[i].Nodes) {
			k++
		}
		all = append(all, moment{qs[i].Sent, fmt.Sprintf("answer   %s: %d questions until %s answered by %s",
			target, k-i, clock(qs[k-1].Sent), names(qs[i].Nodes))})
		i = k
	}
	return all
}

// claims sums up those that follow each other closely and say the same: an announcement goes to every neighbour.
func claims(as []lab.Announcement) []moment {
	var all []moment
	for i := 0; i < len(as); {
		k := i
		for k < len(as) && as[k].Node == as[i].Node && as[k].Claim == as[i].Claim && as[k].Addr == as[i].Addr && as[k].At.Sub(as[i].At) < claimsTogether {
			k++
		}
		text := fmt.Sprintf("claim    %s: %s for %s", as[i].Node, as[i].Claim, as[i].Addr)
		if k-i > 1 {
			text += fmt.Sprintf(" (%d times)", k-i)
		}
		all = append(all, moment{as[i].At, text})
		i = k
	}
	return all
}
