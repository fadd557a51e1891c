package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Chosen by us.
const (
	// JudgeLag is how far behind the present the judge reads: answers to a question may take half a second.
	JudgeLag = 700 * time.Millisecond
	// episode separates one time of two owners from the next.
	episode = time.Second
	// reign is how near to a claim another machine's answers must be, on both sides, for the claim to lie in
	// its reign. Much longer than the interval of the questions.
	reign = 100 * time.Millisecond
	// gapFloor is below what a question and an answer lost to a busy machine make.
	gapFloor = 50 * time.Millisecond
	// keepViolations bounds what is remembered in full. All are counted.
	keepViolations = 20
	keepGaps       = 10_000
)

// A Violation is a promise that was seen to be broken.
type Violation struct {
	At      time.Time
	What    string
	Excerpt string // what happened around it
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s\n%s", clock(v.At), v.What, v.Excerpt)
}

// A Tally is what one kind of fault has to answer for: what happened after it began or ended and before another did.
type Tally struct {
	Faults   int
	Skipped  int             // no machine was free
	Gaps     []time.Duration // times without an answer, longer than gapFloor
	Moves    int
	Overlaps int
}

// A Judge reads the observers of a site while it lives, and finds what hbagent promises never to happen. Its
// methods may be called from any goroutine.
type Judge struct {
	s *Site

	mu      sync.Mutex
	read    time.Time // up to here everything is judged
	streams []stream  // one for each address
	kinds   map[Kind]*Tally
	found   []Violation // the first keepViolations
	broken  int         // all of them
	asked   int
	http    lab.Tally
	longest time.Duration // gap since TakeLongest
	gate    bool          // an open gate was seen
}

// A stream is the answers for one address.
type stream struct {
	owner    string    // the last one to answer alone
	answered time.Time // the last answer; zero before the first
	two      time.Time // the last question with two answers
}

// NewJudge judges what the site's observers see from now on.
func NewJudge(s *Site) *Judge {
	return &Judge{s: s, read: time.Now(), streams: make([]stream, len(s.asked)), kinds: make(map[Kind]*Tally)}
}

// Follow judges until done is closed.
func (j *Judge) Follow(done <-chan struct{}) {
	tick := time.NewTicker(JudgeLag / 2)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			j.Advance(now.Add(-JudgeLag))
		}
	}
}

// Catch waits until everything that was seen up to now can be judged, and judges it.
func (j *Judge) Catch(ctx context.Context) {
	to := time.Now()
	_ = lab.Pause(ctx, JudgeLag) // cut short only at the end of everything
	j.Advance(to)
}

// Advance judges what was seen up to a moment that is at least JudgeLag ago.
func (j *Judge) Advance(to time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	from := j.read.Add(1)
	if to.Before(from) {
		return
	}
	for i, a := range j.s.asked {
		for _, q := range a.Questions(from, to) {
			j.question(i, q)
		}
	}
	for _, a := range j.s.said.Announcements(from, to) {
		j.announcement(a)
	}
	for _, o := range j.s.gates.Between(from, to) {
		j.gate = j.gate || len(o.Nodes) > 0
		if len(o.Nodes) > 1 {
			j.violation(o.At, fmt.Sprintf("open gates on %v at one moment", o.Nodes))
		}
	}
	for _, p := range j.s.http {
		t := p.Tally(from, to)
		j.http.Asked, j.http.Failed, j.http.Slowest = j.http.Asked+t.Asked, j.http.Failed+t.Failed, max(j.http.Slowest, t.Slowest)
	}
	j.read = to
}

// question judges one question and its answers.
func (j *Judge) question(i int, q lab.Question) {
	st := &j.streams[i]
	j.asked++
	if len(q.Nodes) > 1 {
		if q.Sent.Sub(st.two) > episode {
			j.violation(q.Sent, fmt.Sprintf("who has %s: answered by %v", j.s.asked[i].Target(), q.Nodes))
		}
		st.two = q.Sent
	}
	if len(q.Nodes) == 0 {
		return
	}
	if gap := q.Sent.Sub(st.answered); gap > gapFloor && !st.answered.IsZero() {
		t := j.tally(j.s.blame(st.answered.Add(reign / 2)))
		if len(t.Gaps) < keepGaps {
			t.Gaps = append(t.Gaps, gap)
		}
		j.longest = max(j.longest, gap)
	}
	if len(q.Nodes) == 1 {
		if i == 0 && st.owner != "" && q.Nodes[0] != st.owner {
			j.tally(j.s.blame(st.answered.Add(reign/2))).Moves++
		}
		st.owner = q.Nodes[0]
	}
	st.answered = q.Sent
}

// announcement judges a claim: it must not lie between answers of another machine to questions before and after it.
func (j *Judge) announcement(a lab.Announcement) {
	i := slices.IndexFunc(j.s.asked, func(s *lab.Asking) bool { return s.Target() == a.Addr })
	var before, after string
	for _, q := range j.s.asked[i].Questions(a.At.Add(-reign), a.At.Add(reign)) {
		switch {
		case slices.Contains(q.Nodes, a.Node):
			return
		case len(q.Nodes) == 0:
		case q.Sent.Before(a.At):
			before = q.Nodes[0]
		case after == "":
			after = q.Nodes[0]
		}
	}
	if before != "" && before == after && a.Node != j.s.Client.Name {
		j.violation(a.At, fmt.Sprintf("%s of %s for %s in the middle of the reign of %s", a.Claim, a.Node, a.Addr, before))
	}
}

// Fault counts a fault.
func (j *Judge) Fault(k Kind, skipped bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if skipped {
		j.tally(k).Skipped++
	} else {
		j.tally(k).Faults++
	}
}

// Made is how many faults were made, without those that found no machine free.
func (j *Judge) Made() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, t := range j.kinds {
		n += t.Faults
	}
	return n
}

// Blame records a violation that somebody else has found.
func (j *Judge) Blame(at time.Time, what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.violation(at, what)
}

// tally is what a kind has to answer for. The judge is locked.
func (j *Judge) tally(k Kind) *Tally {
	if j.kinds[k] == nil {
		j.kinds[k] = &Tally{}
	}
	return j.kinds[k]
}

func (j *Judge) violation(at time.Time, what string) {
	j.broken++
	j.tally(j.s.blame(at)).Overlaps++
	if len(j.found) < keepViolations {
		j.found = append(j.found, Violation{at, what, j.s.Excerpt(at.Add(-excerptBefore), at.Add(excerptAfter))})
	}
}

// Violations returns the first that were found, in full, and how many there were.
func (j *Judge) Violations() (found []Violation, all int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.found), j.broken
}

// Moves is how often the address went from one machine to another.
func (j *Judge) Moves() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, t := range j.kinds {
		n += t.Moves
	}
	return n
}

// SawGate reports whether the gate of any machine was seen open.
func (j *Judge) SawGate() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.gate
}

// TakeLongest returns the longest time without an answer that ended since the last call.
func (j *Judge) TakeLongest() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := j.longest
	j.longest = 0
	return d
}

func clock(at time.Time) string { return at.UTC().Format("15:04:05.000") }

func names(nodes []string) string {
	if len(nodes) == 0 {
		return "nobody"
	}
	return strings.Join(nodes, " and ")
}
