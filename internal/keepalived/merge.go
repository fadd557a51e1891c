package keepalived

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A bundle is what one machine moves together on one interface.
type bundle struct {
	pos       Pos
	name      string
	dev       string
	addresses []netip.Prefix
	first     *instance // whose priority counts
	tracks    []track
	notify    map[string]hook
	linkCheck bool
}

// A member is a machine that has a group's addresses.
type member struct {
	m *machine
	b *bundle
}

// A group is what becomes a [[group]].
type group struct {
	name      string
	addresses []netip.Prefix
	members   []member // the best first
}

// bundles splits what a machine has by interface, after putting together what a sync group binds.
func (m *machine) bundles() []*bundle {
	var all []*bundle
	for _, i := range m.instances {
		if len(i.addresses) == 0 {
			m.note(i.pos, "vrrp_instance %s has no virtual_ipaddress: a group is its addresses: left away", i.name)
			continue
		}
		name, tracks, notify, sync := i.name, i.tracks, i.notify, m.syncOf(i.name)
		if sync != nil {
			name = sync.name
			tracks = slices.Clone(sync.tracks)
			for _, t := range i.tracks {
				t.synced = true
				tracks = append(tracks, t)
			}
			if len(sync.notify) > 0 {
				if len(i.notify) > 0 {
					m.note(i.pos, "vrrp_instance %s: the notify scripts of the sync group %s are taken, its own are not", i.name, sync.name)
				}
				notify = sync.notify
			}
		}
		for _, a := range i.addresses {
			dev := a.dev
			if dev == "" {
				dev = i.iface
			}
			n := slices.IndexFunc(all, func(b *bundle) bool { return b.dev == dev && b.name == name })
			if n < 0 {
				all = append(all, &bundle{pos: i.pos, name: name, dev: dev, first: i, tracks: slices.Clone(tracks), notify: notify, linkCheck: !i.noLinkCheck})
				n = len(all) - 1
			}
			b := all[n]
			if !slices.ContainsFunc(b.addresses, func(p netip.Prefix) bool { return p.Addr() == a.prefix.Addr() }) {
				b.addresses = append(b.addresses, a.prefix)
			}
			for _, t := range tracks {
				if !slices.ContainsFunc(b.tracks, func(u track) bool { return u.kind == t.kind && u.name == t.name }) {
					b.tracks = append(b.tracks, t)
				}
			}
		}
	}
	m.apart(all)
	return all
}

// apart notes what moved together, and will be groups of their own, and names them.
func (m *machine) apart(all []*bundle) {
	for i, b := range all {
		var devs []string
		for _, o := range all {
			if o.name == b.name {
				devs = append(devs, o.dev)
			}
		}
		if len(devs) < 2 || slices.IndexFunc(all, func(o *bundle) bool { return o.name == b.name }) != i {
			continue
		}
		m.note(b.pos, "%s has addresses on %s: a group has one interface, so it becomes %d groups, with the same checks: they leave a machine together, but are not bound to each other",
			b.name, strings.Join(devs, " and "), len(devs))
	}
	counts := map[string]int{}
	for _, b := range all {
		counts[b.name]++
	}
	for _, b := range all {
		if counts[b.name] > 1 {
			b.name += "-" + b.dev
		}
	}
}

func (m *machine) syncOf(instance string) *syncGroup {
	for _, g := range m.groups {
		if slices.Contains(g.members, instance) {
			return g
		}
	}
	return nil
}

// merge puts the bundles of all machines together: those that share an address are the same.
func merge(machines []*machine) []*group {
	var groups []*group
	byAddress := map[netip.Addr]*group{}
	names := map[string]bool{}
	for _, m := range machines {
		for _, b := range m.bundles() {
			var g *group
			for _, p := range b.addresses {
				if of := byAddress[p.Addr()]; of != nil && g == nil {
					g = of
				}
			}
			if g == nil {
				g = &group{name: unique(groupName(b.name), names)}
				groups = append(groups, g)
			}
			if slices.ContainsFunc(g.members, func(o member) bool { return o.m == m }) {
				m.note(b.pos, "%s shares an address with another instance of this machine: put into the same group, %s", b.name, g.name)
			} else {
				g.members = append(g.members, member{m, b})
			}
			for _, p := range b.addresses {
				switch of := byAddress[p.Addr()]; {
				case of == nil:
					if len(g.members) > 1 {
						m.note(b.pos, "%s: the address %s is not in the files of the others: the whole group gets it", b.name, p.Addr())
					}
					byAddress[p.Addr()] = g
					g.addresses = append(g.addresses, p)
				case of != g:
					m.note(b.pos, "%s: the address %s is in the group %s already", b.name, p.Addr(), of.name)
				}
			}
		}
	}
	for _, g := range groups {
		slices.SortStableFunc(g.members, func(a, b member) int {
			if d := b.b.first.priority - a.b.first.priority; d != 0 {
				return d
			}
			return masterFirst(a) - masterFirst(b)
		})
	}
	return groups
}

func masterFirst(m member) int {
	if m.b.first.master {
		return 0
	}
	return 1
}

var notInName = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)

// groupName makes a name as internal/config wants it.
func groupName(s string) string {
	s = strings.TrimLeft(notInName.ReplaceAllString(s, "-"), "._-")
	if s == "" {
		s = "group"
	}
	return s[:min(len(s), 50)]
}

func unique(name string, taken map[string]bool) string {
	try := name
	for n := 2; taken[try]; n++ {
		try = name + "-" + itoa(n)
	}
	taken[try] = true
	return try
}

// priorities are those of the best and the second best machine; next is 0 if there is none that is known.
func (g *group) priorities() (best, next int) {
	best = g.members[0].b.first.priority
	if len(g.members) > 1 {
		next = g.members[1].b.first.priority
	}
	return best, next
}

// shortestAdvert is the fastest advert_int of all.
func shortestAdvert(groups []*group) time.Duration {
	shortest := time.Duration(0)
	for _, g := range groups {
		for _, m := range g.members {
			if a := m.b.first.advert; shortest == 0 || a < shortest {
				shortest = a
			}
		}
	}
	return shortest
}
