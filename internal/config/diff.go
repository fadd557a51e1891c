package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Change is one difference between two configurations.
type Change struct {
	Section string // "cluster", "lease", "node", "check", "group"
	Name    string // of the node, check or group; "" for cluster and lease
	Key     string // "" if the whole table was added or removed
	Old     string // canonical form; "" if added
	New     string // canonical form; "" if removed
	Added   bool   // the table is new
	Removed bool   // the table is gone
	Role    bool   // the table is a group with a role, before or after
}

// String is the change as a line for people, for example
// `check apache: interval 500ms -> 1s`.
func (c Change) String() string {
	what := c.Section
	if c.Name != "" {
		what += " " + c.Name
	}
	switch {
	case c.Added:
		return what + ": added"
	case c.Removed:
		return what + ": removed"
	}
	return fmt.Sprintf("%s: %s %s -> %s", what, c.Key, orNone(c.Old), orNone(c.New))
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// NeedsRestart tells whether an agent on node self takes the change over only when it
// is restarted: what its socket, its encryption and its running promises are made of.
func (c Change) NeedsRestart(self string) bool {
	switch c.Section {
	case "cluster":
		return true
	case "lease":
		// The rule by which a majority is counted, and how long a promise is, cannot
		// change below a lease that is being held; nor can what ends it in the kernel.
		return c.Key == "ttl" || c.Key == "witness" || c.Key == "gate"
	case "node":
		// The sockets and the list of peers are made at the start.
		return c.Added || c.Removed || c.Key == "address"
	case "group":
		// A role is begun and ended with the agent: what it did to the service would have to be undone otherwise.
		// So would be what it says of a group that comes, goes, or gets other nodes.
		return c.Key == "role" || strings.HasPrefix(c.Key, "mysql.") || c.Role && (c.Added || c.Removed || c.Key == "nodes")
	}
	return false
}

// VoterChange is the difference between two lists of voters.
type VoterChange struct {
	Added, Removed []string // names, sorted
	Generation     int64    // new minus old
}

// Errors of VoterChange.Check.
var (
	// ErrVotersTooMany: more than one voter was added or removed in one step.
	ErrVotersTooMany = errors.New("more than one voter changed in one step")
	// ErrGeneration: generation does not fit the change of the list.
	ErrGeneration = errors.New("generation does not fit the list of voters")
)

// Check applies the rule of the voter list: one voter at a time, and generation grows
// by exactly one with it. Two majorities of lists that differ by one voter always
// share a voter, so no two nodes can be granted the same lease. Whether every voter
// has reported the generation before it, is asked by the agent.
func (v VoterChange) Check() error {
	changed := len(v.Added) + len(v.Removed)
	switch {
	case changed > 1:
		return fmt.Errorf("%w (%s): change one, raise generation by one, reload every node, then change the next", ErrVotersTooMany, v)
	case changed == 1 && v.Generation != 1:
		return fmt.Errorf("%w: the list changed (%s), so generation must grow by 1, not by %d", ErrGeneration, v, v.Generation)
	case changed == 0 && v.Generation != 0 && v.Generation != 1:
		return fmt.Errorf("%w: generation changed by %d; it grows by 1", ErrGeneration, v.Generation)
	}
	return nil
}

// String is for example "+db1 -web3".
func (v VoterChange) String() string {
	var parts []string
	for _, n := range v.Added {
		parts = append(parts, "+"+n)
	}
	for _, n := range v.Removed {
		parts = append(parts, "-"+n)
	}
	return strings.Join(parts, " ")
}

// Changes is what lies between two configurations.
type Changes struct {
	All    []Change // sorted by section, name, key
	Voters VoterChange
}

// Restart returns the changes that an agent on node self takes over by a restart only.
func (c Changes) Restart(self string) []Change { return c.filter(self, true) }

// Live returns the changes that an agent on node self takes over at once. Those of the
// voters are among them; Voters.Check says whether they may be.
func (c Changes) Live(self string) []Change { return c.filter(self, false) }

func (c Changes) filter(self string, restart bool) []Change {
	var out []Change
	for _, ch := range c.All {
		if ch.NeedsRestart(self) == restart {
			out = append(out, ch)
		}
	}
	return out
}

// Empty tells that the two are the same (comments and order aside).
func (c Changes) Empty() bool { return len(c.All) == 0 }

// Lines is the changes for people, one a line, as an agent on node self treats them.
func (c Changes) Lines(self string) []string {
	lines := make([]string, 0, len(c.All))
	for _, ch := range c.All {
		line := ch.String()
		if ch.NeedsRestart(self) {
			line += " (needs a restart)"
		}
		lines = append(lines, line)
	}
	return lines
}

// Diff compares two configurations. It is pure.
func Diff(old, new *Config) Changes {
	type table struct{ section, name string }
	type fact struct {
		table
		key string
	}
	read := func(c *Config) (map[table]bool, map[fact]string) {
		tables, facts := map[table]bool{}, map[fact]string{}
		for _, e := range canonical(c) {
			t := table{e.section, e.name}
			tables[t], facts[fact{t, e.key}] = true, e.value
		}
		return tables, facts
	}
	oldTables, oldFacts := read(old)
	newTables, newFacts := read(new)

	var ch Changes
	for t := range oldTables {
		if !newTables[t] {
			ch.All = append(ch.All, Change{Section: t.section, Name: t.name, Removed: true})
		}
	}
	for t := range newTables {
		if !oldTables[t] {
			ch.All = append(ch.All, Change{Section: t.section, Name: t.name, Added: true})
		}
	}
	for f, was := range oldFacts {
		if is, both := newFacts[f]; both && is != was { // the schema is the same, so a table in both has the same keys
			ch.All = append(ch.All, Change{Section: f.section, Name: f.name, Key: f.key, Old: was, New: is})
		}
	}
	for i, c := range ch.All {
		key := fact{table{c.Section, c.Name}, "role"}
		ch.All[i].Role = oldFacts[key] != "" || newFacts[key] != ""
	}
	slices.SortFunc(ch.All, func(a, b Change) int {
		return compareEntries(entry{section: a.Section, name: a.Name, key: a.Key}, entry{section: b.Section, name: b.Name, key: b.Key})
	})
	// Both generations are at most 2^53.
	ch.Voters = ChangeOfVoters(old.Voters(), new.Voters(), int64(new.Lease.Generation)-int64(old.Lease.Generation))
	return ch
}

// ChangeOfVoters compares two lists of voters whose generations differ by generation.
func ChangeOfVoters(old, new []string, generation int64) VoterChange {
	return VoterChange{Added: without(new, old), Removed: without(old, new), Generation: generation}
}

// without returns the names of a that are not in b, sorted.
func without(a, b []string) []string {
	var out []string
	for _, n := range a {
		if !slices.Contains(b, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}
