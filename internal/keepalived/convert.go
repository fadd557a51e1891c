package keepalived

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/draft"
)

// An Input is a keepalived.conf, and the machine it is from.
type Input struct {
	Name string // of the node; empty: found
	Path string
}

// Options say what the files do not.
type Options struct {
	Inputs  []Input
	Nodes   []draft.Node // name and address; also of machines without keepalived, which vote
	Cluster string
	KeyFile string
	Witness netip.Addr
	Host    string // this machine's name: what @conditions mean in a single file
}

// Import makes a draft of what several machines' keepalived do, and notes what is lost, in the order of the files.
// An error is a file that cannot be read, or a site whose addresses are not known.
func Import(files Files, o Options) (*draft.Draft, []Note, error) {
	machines, err := load(files, o)
	if err != nil {
		return nil, nil, err
	}
	groups := merge(machines)
	if len(groups) == 0 {
		return nil, notesOf(machines), errors.New("no vrrp_instance with a virtual_ipaddress: there is nothing to carry over")
	}
	nodes, err := nodesOf(machines, groups, o.Nodes)
	if err != nil {
		return nil, notesOf(machines), err
	}
	d := &draft.Draft{Cluster: o.Cluster, KeyFile: o.KeyFile, Witness: o.Witness, Nodes: nodes}
	d.TTL, d.TTLWhy = ttlFor(shortestAdvert(groups))
	c := &converter{draft: d, checks: map[string]*madeCheck{}}
	for _, g := range groups {
		c.group(g)
	}
	c.finish()
	notes := notesOf(machines)
	d.Intro, d.Outro = intro(o), outro(notes)
	return d, notes, nil
}

// load reads every input. A file with @conditions is read once for each machine that it is for.
func load(files Files, o Options) ([]*machine, error) {
	var machines []*machine
	taken := map[string]bool{}
	for n, in := range o.Inputs {
		id := cmp.Or(in.Name, o.Host)
		t, err := parse(files, in.Path, id)
		if err != nil {
			return nil, err
		}
		ids := []string{""}
		if len(t.ids) > 0 && len(o.Inputs) == 1 && in.Name == "" {
			ids = t.ids
			for _, node := range o.Nodes { // @^main is for everybody else
				if !slices.Contains(ids, node.Name) && len(t.ids) == 1 {
					ids = append(slices.Clone(ids), node.Name)
				}
			}
		}
		for _, id := range ids {
			if id != "" {
				if t, err = parse(files, in.Path, id); err != nil {
					return nil, err
				}
			}
			m := read(t)
			m.file = in.Path
			m.name = unique(nameOf(m, cmp.Or(in.Name, id), o, n), taken)
			machines = append(machines, m)
		}
	}
	return machines, nil
}

// nameOf finds a node's name: as told, by its address, by the name of its file or directory, by the order of the flags if
// it has no address of its own, by its router_id.
func nameOf(m *machine, told string, o Options, n int) string {
	if told != "" {
		return groupName(told)
	}
	for _, node := range o.Nodes {
		for _, i := range m.instances {
			if slices.ContainsFunc(i.source, func(a netip.Addr) bool { return a.String() == node.Address }) {
				return node.Name
			}
		}
	}
	file := strings.TrimSuffix(path.Base(m.file), path.Ext(m.file))
	dir := path.Base(path.Dir(m.file))
	for _, node := range o.Nodes {
		if node.Name == file || node.Name == dir {
			return node.Name
		}
	}
	if len(o.Nodes) >= len(o.Inputs) && !m.source(true).IsValid() && !m.source(false).IsValid() {
		return o.Nodes[n].Name
	}
	for _, guess := range []string{m.routerID, file, dir} {
		if g := groupName(guess); guess == g && guess != "" && guess != "keepalived" && guess != "." && guess != "/" && !strings.HasPrefix(guess, "LVS_") {
			return g
		}
	}
	return "node" + itoa(n+1)
}

func itoa(n int) string { return strconv.Itoa(n) }

// nodesOf gives each machine an address: of the flags, else the one that keepalived sends from. Peers without a file, and
// flags without a machine, are nodes too.
func nodesOf(machines []*machine, groups []*group, flags []draft.Node) ([]draft.Node, error) {
	var nodes []draft.Node
	var lacking []string
	known := func(address string) bool {
		return slices.ContainsFunc(nodes, func(n draft.Node) bool { return n.Address == address })
	}
	v4 := true
	for _, m := range machines {
		node := draft.Node{Name: m.name, Comment: m.file}
		for _, f := range flags {
			if f.Name == m.name {
				node.Address = f.Address
			}
		}
		if node.Address == "" {
			a := m.source(v4)
			if !a.IsValid() && len(nodes) == 0 {
				v4 = false
				a = m.source(v4)
			}
			if !a.IsValid() {
				lacking = append(lacking, m.name)
				continue
			}
			node.Address = a.String()
		}
		nodes = append(nodes, node)
	}
	if len(lacking) > 0 {
		return nil, fmt.Errorf("the files do not say which address %s has (they speak multicast): give --node %s=ADDRESS", strings.Join(lacking, ", "), strings.Join(lacking, "=ADDRESS --node "))
	}
	for _, f := range flags {
		if !slices.ContainsFunc(nodes, func(n draft.Node) bool { return n.Name == f.Name }) && !known(f.Address) {
			nodes = append(nodes, f)
		}
	}
	for _, g := range groups {
		for _, mem := range g.members {
			for _, p := range mem.b.first.peers {
				if p.Is4() != v4 || known(p.String()) {
					continue
				}
				name := "node" + itoa(len(nodes)+1)
				nodes = append(nodes, draft.Node{Name: name, Address: p.String(), Comment: "a unicast_peer: give it its host name"})
			}
		}
	}
	return nodes, nil
}

// source is the first address of a family that the machine sends from.
func (m *machine) source(v4 bool) netip.Addr {
	for _, i := range m.instances {
		for _, a := range i.source {
			if a.Is4() == v4 && !a.IsLinkLocalUnicast() {
				return a
			}
		}
	}
	return netip.Addr{}
}

// ttlFor takes over what a dead owner costs: keepalived waits for three adverts and a bit. Slower than the default it need
// not be.
func ttlFor(advert time.Duration) (time.Duration, string) {
	const usual, fastest = time.Second, 100 * time.Millisecond
	ttl := min(max(3*advert, fastest), usual).Round(time.Millisecond)
	return ttl, fmt.Sprintf("a dead owner costs about this much; with advert_int %s it cost some %s", advert, (3*advert + advert/2).Round(10*time.Millisecond))
}

func intro(o Options) []string {
	var from []string
	for _, in := range o.Inputs {
		from = append(from, in.Path)
	}
	return []string{
		"hbagent.toml: the same file on every node. Made by `hbagent config import` from",
		strings.Join(from, ", ") + ".",
		"What was not carried over stands at the end. Check the file with `hbagent config check`;",
		"docs/coming-from-keepalived.md says how to change over without an outage.",
	}
}

func outro(notes []Note) []string {
	if len(notes) == 0 {
		return nil
	}
	lines := []string{"Not carried over, or not as it was:"}
	for i, n := range notes {
		var places []string
		for j, other := range notes {
			if other.Text == n.Text {
				if j < i {
					places = nil // told already
					break
				}
				places = append(places, other.Pos.String())
			}
		}
		if len(places) > 0 {
			lines = append(lines, "")
			lines = append(lines, wrap(strings.Join(places, ", "), "", 88)...)
			lines = append(lines, wrap(n.Text, "  ", 88)...)
		}
	}
	return lines
}

func wrap(text, indent string, width int) (lines []string) {
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > width && line != indent {
			lines, line = append(lines, line), indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// notesOf are all notes, each once, by file in the order of the machines, and line.
func notesOf(machines []*machine) []Note {
	var all []Note
	seen := map[Note]bool{}
	for _, m := range machines {
		slices.SortStableFunc(m.notes, func(a, b Note) int { return cmp.Or(cmp.Compare(a.File, b.File), a.Line-b.Line) })
		for _, n := range m.notes {
			if !seen[n] {
				seen[n] = true
				all = append(all, n)
			}
		}
	}
	return all
}
