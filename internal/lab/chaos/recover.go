package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Chosen by us.
const (
	// recoverPatience is how long a recovery is waited for in order to tell how late it is.
	recoverPatience = 20 * time.Second
	recoverPause    = 10 * time.Millisecond
)

// A Recovery is how a site came back when every fault was over.
type Recovery struct {
	Healed time.Time
	Owner  string
	Took   time.Duration // until all that [Site.Recover] looks at was right
	Missed string        // what was wrong last
}

// ErrAgentEnded is returned where an agent ended that nobody had ended.
var ErrAgentEnded = errors.New("an agent has ended by itself")

// Recover ends all that is left of the faults and waits until one machine answers for every address, the client's
// neighbour table points at it, and its web server answers over both protocols; then it watches for
// Site.Calm that nothing changes. Nothing else may happen to the site meanwhile.
func (s *Site) Recover(ctx context.Context) (Recovery, error) {
	if err := s.Heal(ctx); err != nil {
		return Recovery{}, err
	}
	var ended error
	for _, n := range s.Nodes() {
		if _, runs := n.AgentPID(); runs {
			continue
		}
		ended = errors.Join(ended, fmt.Errorf("%w: %s", ErrAgentEnded, n.Name))
		if err := bounded(ctx, repairWait, func(ctx context.Context) error { return start(ctx, n) }); err != nil {
			return Recovery{}, errors.Join(ended, err)
		}
	}
	r := Recovery{Healed: time.Now()}
	err := bounded(ctx, recoverPatience, func(ctx context.Context) (err error) {
		r.Owner, r.Missed, err = s.whole(ctx, r.Healed)
		return err
	})
	r.Took = time.Since(r.Healed)
	if err != nil {
		return r, errors.Join(ended, err)
	}
	return r, errors.Join(ended, s.stays(ctx, r.Owner))
}

// whole waits until everything is as it must be, and returns who is the owner, and what was wrong until then.
func (s *Site) whole(ctx context.Context, since time.Time) (owner, missed string, err error) {
	for {
		if owner, err = s.lookWhole(since); err == nil {
			return owner, missed, nil
		}
		missed = err.Error()
		if lab.Pause(ctx, recoverPause) != nil {
			return "", missed, fmt.Errorf("not whole %v after the last fault was over: %w", time.Since(since).Round(time.Millisecond), err)
		}
	}
}

func (s *Site) lookWhole(since time.Time) (owner string, err error) {
	now := time.Now()
	for _, a := range s.asked {
		by := ""
		for _, q := range a.Questions(later(since, now.Add(-reign)), now) {
			if len(q.Nodes) == 1 {
				by = q.Nodes[0]
			}
		}
		switch {
		case by == "":
			return "", fmt.Errorf("nobody answers for %s", a.Target())
		case owner != "" && by != owner:
			return "", fmt.Errorf("%s answers for %s, and %s does not", by, a.Target(), owner)
		}
		owner = by
		at, err := s.Client.CachedAt(a.Target())
		if err != nil {
			return "", err
		}
		if at != "" && at != by {
			return "", fmt.Errorf("the client believes %s to be at %s, and it is at %s", a.Target(), at, by)
		}
	}
	for i, p := range s.http {
		if !answeredBy(p.Answers(later(since, now.Add(-2*clientWait)), now), owner) {
			return "", fmt.Errorf("the web server of %s has not answered at %s", owner, s.asked[i].Target())
		}
	}
	return owner, nil
}

func answeredBy(answers []lab.HTTPAnswer, node string) bool {
	for _, a := range answers {
		if a.Err == nil && a.Body == node {
			return true
		}
	}
	return false
}

// stays watches that the owner remains the only one to answer.
func (s *Site) stays(ctx context.Context, owner string) error {
	from := time.Now()
	if err := lab.Pause(ctx, s.Calm); err != nil {
		return err
	}
	for _, a := range s.asked {
		for _, q := range a.Questions(from, time.Now()) {
			for _, node := range q.Nodes {
				if node != owner {
					return fmt.Errorf("%s was back at %s, and at %s it was %s that answered for it", a.Target(), owner, clock(q.Sent), node)
				}
			}
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
