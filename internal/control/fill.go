package control

import "slices"

// JSON knows null and the empty array, and programs that read `.groups[]` stumble over null. So that an
// [Agent] need not think of it, the server fills in what is nil. It copies what it changes: the values
// may be shared.

func filled[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Filled returns the status with empty lists in place of nil ones.
func (s Status) Filled() Status {
	s.Warnings = filled(s.Warnings)
	s.Groups = filled(slices.Clone(s.Groups))
	for i := range s.Groups {
		g := &s.Groups[i]
		g.Addresses, g.Holding = filled(g.Addresses), filled(g.Holding)
	}
	s.Nodes = filled(slices.Clone(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Checks, n.Templates = filled(n.Checks), filled(n.Templates)
		n.Keys = n.Keys.filled()
		if n.Groups == nil {
			n.Groups = map[string]NodeGroup{}
		}
	}
	return s
}

func (r SwitchoverResult) filled() SwitchoverResult {
	r.Steps = filled(r.Steps)
	return r
}

func (r MaintenanceResult) filled() MaintenanceResult {
	r.Groups = filled(slices.Clone(r.Groups))
	for i := range r.Groups {
		r.Groups[i] = r.Groups[i].filled()
	}
	return r
}

func (p Plan) filled() Plan {
	p.Cases = filled(slices.Clone(p.Cases))
	for i := range p.Cases {
		c := &p.Cases[i]
		c.Down, c.Fail, c.Notes, c.Groups = filled(c.Down), filled(c.Fail), filled(c.Notes), filled(c.Groups)
	}
	return p
}

func (r ReloadResult) filled() ReloadResult {
	r.Changed, r.NeedsRestart, r.Warnings = filled(r.Changed), filled(r.NeedsRestart), filled(r.Warnings)
	return r
}

func (k *NodeKeys) filled() *NodeKeys {
	if k == nil {
		return nil
	}
	c := *k
	c.Others = filled(c.Others)
	return &c
}

func (s KeyStatus) filled() KeyStatus {
	s.Warnings = filled(s.Warnings)
	s.Nodes = filled(slices.Clone(s.Nodes))
	for i := range s.Nodes {
		s.Nodes[i].Keys = s.Nodes[i].Keys.filled()
	}
	return s
}

func (r KeyRotation) filled() KeyRotation {
	r.Without, r.Steps = filled(r.Without), filled(r.Steps)
	return r
}
