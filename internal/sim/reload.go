package sim

import (
	"fmt"
	"slices"

	"github.com/hbagent/hbagent/pkg/lease"
)

// voterList is what the config file says of the voters, in one of its versions.
type voterList struct {
	generation uint64
	voters     []string
}

// minVoters: fewer than three cannot fail over, so no list gets there.
const minVoters = 3

func (h *host) list() *voterList { return &h.w.lists[h.gen] }

// votes reports whether this node has a vote, by its own config.
func (h *host) votes() bool { return slices.Contains(h.list().voters, h.name) }

// changeVoters is a person at work: one more step of a voter list on its way
// from machine to machine, or a new list once the last one is everywhere.
func (w *world) changeVoters() {
	var behind []*host
	for _, h := range w.hosts {
		if h.gen < len(w.lists)-1 {
			behind = append(behind, h)
		}
	}
	if hasty := w.rng.IntN(4) == 0 && len(behind) < len(w.hosts); !w.ended && (len(behind) == 0 || hasty) && w.writeList() {
		behind = w.hosts
	}
	behind = slices.DeleteFunc(slices.Clone(behind), func(h *host) bool { return h.gen == len(w.lists)-1 })
	if len(behind) == 0 {
		return
	}
	h := behind[w.rng.IntN(len(behind))]
	if by := w.rng.IntN(4); by == 0 || w.o.Break == TwoVotersAtOnce {
		w.restartWith(h)
		return
	}
	h.offer(input{what: "reloads", do: func(*lease.Machine, lease.Time) any { return h.reload() }})
}

// writeList adds or removes one voter.
func (w *world) writeList() bool {
	if w.o.Nodes <= minVoters {
		return false
	}
	old := w.lists[len(w.lists)-1]
	next := voterList{old.generation + 1, slices.Clone(old.voters)}
	steps := 1
	if w.o.Break == TwoVotersAtOnce {
		steps = 2
	}
	for range steps {
		next.voters = w.changeOne(next.voters, old.voters)
	}
	w.lists = append(w.lists, next)
	w.note(-1, "has a new list of voters", fmt.Sprintf("%d: %v", next.generation, next.voters), -1)
	return true
}

func (w *world) changeOne(voters, old []string) []string {
	name := w.names[w.rng.IntN(len(w.names))]
	for i := range w.names {
		at := (slices.Index(w.names, name) + i) % len(w.names)
		name := w.names[at]
		switch has := slices.Contains(voters, name); {
		case has != slices.Contains(old, name): // changed already
		case !has:
			return append(slices.Clone(voters), name)
		case len(voters) > minVoters:
			return slices.DeleteFunc(slices.Clone(voters), func(v string) bool { return v == name })
		}
	}
	return voters
}

// mayChange is the rule of internal/agent: every node has reported the
// generation in force before the next one is loaded. The voters alone are not
// enough: one that was removed a step ago, and does not know it yet, still counts
// by the list before that.
func (h *host) mayChange() bool {
	if h.w.o.Break == VisibleQuorum {
		return false
	}
	if h.w.o.Break == UngatedChange || h.w.o.Break == TwoVotersAtOnce {
		return true
	}
	now, asked := h.list(), h.w.names
	if h.w.o.Break == UngatedRemoved {
		asked = slices.Concat(now.voters, h.w.lists[h.gen+1].voters)
	}
	for _, name := range asked {
		if o := h.w.host(name); o != h && (h.peers[o.i].news == nil || h.peers[o.i].news.generation < now.generation) {
			return false
		}
	}
	return true
}

// reload loads the next list into a running agent. A file that is refused stays
// where it is, for the next start to find.
func (h *host) reload() any {
	if h.gen == len(h.w.lists)-1 {
		return "nothing new"
	}
	h.file = h.gen + 1
	if !h.mayChange() {
		return "not yet"
	}
	return h.load()
}

func (h *host) load() any {
	next := h.w.lists[h.gen+1]
	if err := h.m.Reconfigure(h.now(), h.w.names, next.voters, next.generation); err != nil {
		h.w.fail(fmt.Errorf("a list of voters was refused: %w", err))
		return err
	}
	h.changed()
	return next.voters
}

// restartWith gives an agent the next list and restarts it. One that is down
// finds the list when it comes back.
func (w *world) restartWith(h *host) {
	if h.frozen || h.gen == len(w.lists)-1 {
		return
	}
	h.file = h.gen + 1
	w.stop(h, false, true)
}

// readFile is what a start makes of the config file: an agent goes on with the
// list of its last run, and loads that of the file as a reload would.
func (h *host) readFile() {
	h.read = h.file
	if h.read > h.gen && (h.w.o.Break == UngatedRestart || h.w.o.Break == TwoVotersAtOnce) {
		h.changed()
	}
}

// loadWaiting loads the list that the agent was started with when its time has
// come.
func (h *host) loadWaiting() {
	if h.read > h.gen && h.mayChange() {
		h.w.note(h.i, "loads", h.load(), -1)
	}
}

func (h *host) changed() {
	h.gen++
	h.changedAt, h.dirty = h.w.now, true
	h.w.report.Reloads++
}
