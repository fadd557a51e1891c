package main

import (
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
)

// sample sums up what the observers saw within [from, to]; wanted is how many moves were asked for.
func (s *site) sample(owner string, from, to time.Time, wanted int) bench.Sample {
	asked := s.arp.Questions(from, to)
	moves := s.moves(owner, from, to)
	return bench.Sample{
		Outage:   ms(s.echo.LongestGap(from, to).Length()),
		Two:      ms(twoTime(asked)),
		None:     ms(noneTime(asked)),
		Moves:    moves,
		Unwanted: max(0, moves-wanted),
	}
}

// moves counts the changes of the owner. Each observer misses some: one that asks every few milliseconds a short one,
// one that listens a silent one. So the one that saw most is believed.
func (s *site) moves(owner string, from, to time.Time) int {
	return max(changes(owner, answerers(s.arp.Questions(from, to))), changes(owner, holders(s.cards.Between(from, to))),
		changes(owner, claimers(s.claims.Announcements(from, to), s)))
}

// changes counts how often the next in a list is another than the one before, from `first` on.
func changes(first string, nodes []string) (n int) {
	for _, node := range nodes {
		if first != "" && node != first {
			n++
		}
		first = node
	}
	return n
}

// answerers are the machines that alone answered a question, in order.
func answerers(questions []lab.Question) (nodes []string) {
	for _, q := range questions {
		if len(q.Nodes) == 1 {
			nodes = append(nodes, q.Nodes[0])
		}
	}
	return nodes
}

// holders are the machines that alone had the address on their card, in order.
func holders(changes []lab.Ownership) (nodes []string) {
	for _, o := range changes {
		if len(o.Nodes) == 1 {
			nodes = append(nodes, o.Nodes[0])
		}
	}
	return nodes
}

// claimers are the machines that announced the address unasked, in order.
func claimers(announcements []lab.Announcement, s *site) (nodes []string) {
	for _, a := range announcements {
		if a.Addr == s.addr && (a.Claim == lab.GratuitousRequest || a.Claim == lab.GratuitousReply) {
			nodes = append(nodes, a.Node)
		}
	}
	return nodes
}

// twoTime is the time, all in all, in which two machines answered: from each such question to the next question.
func twoTime(questions []lab.Question) (d time.Duration) {
	for i, q := range questions {
		if len(q.Nodes) > 1 && i+1 < len(questions) {
			d += questions[i+1].Sent.Sub(q.Sent)
		}
	}
	return d
}

// noneTime is the longest time in which nobody answered: from the first question without an answer to the next one
// with one.
func noneTime(questions []lab.Question) (longest time.Duration) {
	var since time.Time // of the first of these
	for _, q := range questions {
		if since.IsZero() && len(q.Nodes) == 0 {
			since = q.Sent
		}
		if !since.IsZero() {
			longest = max(longest, q.Sent.Sub(since))
		}
		if len(q.Nodes) > 0 {
			since = time.Time{}
		}
	}
	return longest
}
