package template

import (
	"fmt"
	"time"
)

// Chosen by us: what fails is tried again soon, for it may be a moment's trouble,
// and then ever more seldom. It is never given up: the service that could not be
// reloaded may be started tomorrow.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute

	// Burst changes may follow one another at once: two servers that fail within a
	// second are both out of the list before a visitor has noticed.
	Burst = 3
)

// An Action is what to do next.
type Action int

// The actions.
const (
	Idle   Action = iota // nothing, until there is news or the time has come
	Place                // put Content into the file, if the check accepts it
	Reload               // tell the service to read the file
)

// A State is how a template stands.
type State int

// The states. Their names are those of the status.
const (
	Pending State = iota // nothing is known yet, or a change is on its way
	Current              // the file says what the cluster is, and the service knows
	Held                 // the file stays as it is for a reason
	Faulty               // something does not work
)

// String returns the word of the status.
func (s State) String() string {
	switch s {
	case Pending:
		return "pending"
	case Current:
		return "current"
	case Held:
		return "held"
	case Faulty:
		return "failing"
	}
	panic(fmt.Sprintf("template: state %d does not exist", int(s)))
}

// A Machine decides about one file. It is told what is wanted and how the actions
// went, and says what to do next; times are those of one monotonic clock. Changes
// are made at once, up to Burst of them in Burst times Interval; those that come
// faster are one.
type Machine struct {
	Interval time.Duration

	wanted  Outcome
	told    bool
	present string // what the file says
	exists  bool
	placed  []time.Time // the last attempts to place something, at most Burst
	owes    bool        // the file has changed, and the service does not know

	place, reload trouble
	refused       string // the content that place is about
}

// trouble is what an action failed with, and when it is tried again.
type trouble struct {
	err   error
	tries int
	again time.Time
}

func (t *trouble) add(err error, now time.Time) {
	t.err = err
	t.again = now.Add(min(firstRetry<<min(t.tries, 6), maxRetry))
	t.tries++
}

// Owe tells that an earlier run of the agent has changed the file and not told the
// service.
func (m *Machine) Owe() { m.owes = true }

// Want tells what the file should be, and what it is now.
func (m *Machine) Want(o Outcome, present string, exists bool) {
	m.wanted, m.told, m.present, m.exists = o, true, present, exists
	if m.refused != o.Content {
		m.place = trouble{} // another content, another chance
	}
}

// differs reports whether there is something to place.
func (m *Machine) differs() bool {
	o := m.wanted
	return m.told && o.Err == nil && o.Held == "" && o.Wait == "" && (!m.exists || m.present != o.Content)
}

// Next says what to do at now, and if that is nothing, when to ask again (zero: not
// before there is news).
func (m *Machine) Next(now time.Time) (Action, time.Time) {
	var again time.Time
	if m.differs() {
		at := m.place.again
		if len(m.placed) == Burst {
			if free := m.placed[0].Add(Burst * m.Interval); free.After(at) {
				at = free
			}
		}
		if !at.After(now) {
			return Place, time.Time{}
		}
		again = at
	}
	if m.owes {
		if !m.reload.again.After(now) {
			return Reload, time.Time{}
		}
		if again.IsZero() || m.reload.again.Before(again) {
			again = m.reload.again
		}
	}
	return Idle, again
}

// Content is what Place is about.
func (m *Machine) Content() string { return m.wanted.Content }

// Placed tells how a Place that began at now went; reloads tells whether the service
// has to be told of it.
func (m *Machine) Placed(now time.Time, reloads bool, err error) {
	if m.placed = append(m.placed, now); len(m.placed) > Burst {
		m.placed = m.placed[1:]
	}
	if err != nil {
		m.refused = m.wanted.Content
		m.place.add(err, now)
		return
	}
	m.present, m.exists, m.owes = m.wanted.Content, true, m.owes || reloads
	m.place, m.refused, m.reload = trouble{}, "", trouble{}
}

// Reloaded tells how a Reload that ended at now went.
func (m *Machine) Reloaded(now time.Time, err error) {
	if err != nil {
		m.reload.add(err, now)
		return
	}
	m.owes, m.reload = false, trouble{}
}

// State says how things stand, and why.
func (m *Machine) State() (State, string) {
	o := m.wanted
	switch {
	case m.owes && m.reload.err != nil:
		return Faulty, "the file is written, but the reload fails: " + m.reload.err.Error()
	case m.told && o.Err != nil:
		return Faulty, o.Err.Error()
	case m.differs() && m.place.err != nil:
		return Faulty, m.place.err.Error()
	case m.told && o.Held != "":
		return Held, o.Held
	case m.told && o.Wait != "":
		return Pending, o.Wait
	case !m.told:
		return Pending, ""
	case m.differs():
		return Pending, "a change is on its way"
	case m.owes:
		return Pending, "the service is about to be told"
	}
	return Current, ""
}
