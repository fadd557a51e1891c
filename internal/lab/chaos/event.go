package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// keepEvents bounds what is remembered of what was done: far more than a batch between two recoveries.
const keepEvents = 2000

// An Event is a fault, or something else that was done to a site.
type Event struct {
	Fault Fault
	Node  string
	Began time.Time
	Ended time.Time // zero: not over yet
	Note  string    // instead of a fault
	id    int
}

func (e Event) String() string {
	if e.Note != "" {
		return e.Note
	}
	return fmt.Sprintf("%s at %s", strings.TrimSpace(e.Fault.String()), e.Node)
}

// begin records that a fault begins, and returns its id.
func (s *Site) begin(f Fault, node string) int {
	return s.add(Event{Fault: f, Node: node, Began: time.Now()})
}

// note records something else.
func (s *Site) note(text string) {
	now := time.Now()
	s.add(Event{Note: text, Began: now, Ended: now})
}

func (s *Site) add(e Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) > keepEvents {
		s.events = append(s.events[:0:0], s.events[keepEvents/2:]...)
	}
	e.id = 1
	if len(s.events) > 0 {
		e.id = s.events[len(s.events)-1].id + 1
	}
	s.events = append(s.events, e)
	return e.id
}

// end records that a fault is over.
func (s *Site) end(id int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.events {
		if s.events[i].id == id {
			s.events[i].Ended = time.Now()
			if err != nil {
				s.events[i].Note = fmt.Sprintf("%v at %s: %v", s.events[i].Fault, s.events[i].Node, err)
			}
		}
	}
}

// Events returns what was done and touches [from, to], in the order of the beginnings.
func (s *Site) Events(from, to time.Time) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.events), func(e Event) bool {
		return e.Began.After(to) || !e.Ended.IsZero() && e.Ended.Before(from)
	})
}

// blame is the kind of fault that began or ended last before t: what comes then is laid at its door. "" where there
// was none.
func (s *Site) blame(t time.Time) Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kind Kind
	var last time.Time
	for _, e := range s.events {
		if e.Fault.Kind == "" {
			continue
		}
		for _, at := range []time.Time{e.Began, e.Ended} {
			if !at.IsZero() && !at.After(t) && at.After(last) {
				last, kind = at, e.Fault.Kind
			}
		}
	}
	return kind
}
