package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// Chosen by us.
const (
	lastName    = "services.json" // in the state directory
	lastEvery   = time.Second     // between two writes of what changes all the time
	serviceNews = 2 * time.Second // an observation that says nothing new is told again after this
	maxServices = 1000            // groups in a peer's state; more are ignored
)

// observed takes what a role has seen. The owner's position is what others are held
// against later.
func (l *loop) observed(name string, g *groupRun, o role.Observation) {
	if l.groups[name] != g {
		return
	}
	g.role.seen, l.dirty = o, true
	if g.open && o.Position != "" && o.Down == "" {
		l.noteLast(name, g, role.Last{Node: l.node, Epoch: g.epoch, Position: o.Position, At: o.At})
	}
}

// noteLast keeps what is known of an owner, if it is newer than what was.
func (l *loop) noteLast(name string, g *groupRun, last role.Last) {
	if !last.Newer(g.last) {
		return
	}
	moved := last.Epoch != g.last.Epoch
	g.last, l.dirty = last, true
	all := make(map[string]role.Last)
	for n, h := range l.groups {
		if h.last.Node != "" {
			all[n] = h.last
		}
	}
	l.lasts.keep(all, moved)
}

// roleStates is what this node tells of its services.
func (l *loop) roleStates() (out []cluster.RoleState) {
	for _, name := range l.order {
		g := l.groups[name]
		if g.cfg.Role == "" {
			continue
		}
		s := cluster.RoleState{Group: name}
		if g.role != nil {
			s.Seen = encoded(g.role.seen)
		}
		if g.last.Node != "" {
			s.Last = encoded(g.last)
		}
		out = append(out, s)
	}
	return out
}

// encoded cannot fail for the types of internal/role: they are texts, numbers and times.
func encoded(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("agent: %T: %v", v, err))
	}
	return b
}

// sameServices reports whether nothing is new about the services, but for the moment
// at which they were looked at.
func sameServices(a, b []cluster.RoleState) bool {
	return slices.EqualFunc(a, b, func(x, y cluster.RoleState) bool {
		p, q := seen(x), seen(y)
		if x.Group != y.Group || p.At.Sub(q.At).Abs() >= serviceNews {
			return false
		}
		p.At, p.CurrentTo, p.LagMs = q.At, q.CurrentTo, q.LagMs
		return p == q && lastOf(x).Position == lastOf(y).Position && lastOf(x).Epoch == lastOf(y).Epoch
	})
}

// seen is the observation of a state; what cannot be read counts as none.
func seen(s cluster.RoleState) (o role.Observation) {
	if json.Unmarshal(s.Seen, &o) != nil || len(o.Position) > role.MaxPosition || len(o.Received) > role.MaxPosition {
		return role.Observation{}
	}
	return o
}

func lastOf(s cluster.RoleState) (last role.Last) {
	if json.Unmarshal(s.Last, &last) != nil || len(last.Position) > role.MaxPosition {
		return role.Last{}
	}
	return last
}

// peerServices takes over what a peer tells of its services, and of the owners that it
// knows of.
func (l *loop) peerServices(p *peerRun, states []cluster.RoleState) {
	p.services = make(map[string]role.Observation)
	for _, s := range states[:min(len(states), maxServices)] {
		g := l.groups[s.Group]
		if g == nil || g.cfg.Role == "" {
			continue
		}
		p.services[s.Group] = seen(s)
		if last := lastOf(s); last.Node != "" && slices.Contains(g.cfg.Nodes, last.Node) {
			l.noteLast(s.Group, g, last)
		}
	}
}

// lastFile keeps the newest that is known of each group's owner over a power cut. Its
// writes happen in Run: a disk must not hold the loop up.
type lastFile struct {
	path  string
	log   *slog.Logger
	inbox chan lastWrite // holds the newest only
	stale bool           // a write has failed: said once
}

type lastWrite struct {
	all  map[string]role.Last
	sync bool // it must outlive a power cut
}

func newLastFile(path string, log *slog.Logger) *lastFile {
	return &lastFile{path: path, log: log, inbox: make(chan lastWrite, 1)}
}

// read returns what the last run knew. A file that cannot be read counts as none, and
// is said to: the roles are the more careful.
func (f *lastFile) read() map[string]role.Last {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all map[string]role.Last
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		f.log.Error("what the last owners had is not known any more", "error", err)
		return nil
	}
	maps.DeleteFunc(all, func(_ string, l role.Last) bool { return len(l.Position) > role.MaxPosition })
	return all
}

// keep replaces what is to be written. It does not wait. Only the loop calls it.
func (f *lastFile) keep(all map[string]role.Last, sync bool) {
	select {
	case w := <-f.inbox:
		sync = sync || w.sync
	default:
	}
	f.inbox <- lastWrite{all, sync}
}

// Run writes until ctx ends, and the newest then.
func (f *lastFile) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			f.flush()
			return nil
		case w := <-f.inbox:
			f.write(w)
		}
		pause.Reset(lastEvery)
		select {
		case <-ctx.Done():
			f.flush()
			return nil
		case <-pause.C:
		}
	}
}

// flush writes what waits, to last.
func (f *lastFile) flush() {
	select {
	case w := <-f.inbox:
		w.sync = true
		f.write(w)
	default:
	}
}

func (f *lastFile) write(w lastWrite) {
	var sync func(*os.File) error
	if w.sync {
		sync = (*os.File).Sync
	}
	err := writeJSON(f.path, w.all, sync)
	if err != nil && !f.stale {
		f.log.Error("cannot keep what the owners have: a replica may be promoted too early after a power cut of the whole site", "error", err)
	}
	f.stale = err != nil
}
