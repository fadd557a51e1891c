package bench

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// The files of the plots of a scale test.
const (
	scaleNodesFile  = "scale-nodes.svg"
	scaleGroupsFile = "scale-groups.svg"
)

// scalePanels are what grows, each on its own axis.
var scalePanels = []struct {
	title string
	pick  func(ScalePoint) (float64, bool)
}{
	{"CPU of the owner, % of a core", func(p ScalePoint) (float64, bool) { return p.Owner.CPUPercent, p.Owner.CPUPercent > 0 }},
	{"Traffic of the owner, in and out, kB/s", func(p ScalePoint) (float64, bool) { return p.Owner.BytesPerS / 1000, p.Owner.BytesPerS > 0 }},
	{"hbagent status, ms", func(p ScalePoint) (float64, bool) { return p.Status, p.Status > 0 }},
	{"Takeover until its last address, ms", func(p ScalePoint) (float64, bool) {
		var last []float64
		for _, t := range p.Takeovers {
			last = append(last, t.Last)
		}
		s, err := Summarize(last)
		return s.Median, err == nil && s.Median > 0
	}},
}

// A course is one line of a plot of growth: a size and the points that have it, from the smallest on.
type course struct {
	name   string
	points []ScalePoint
}

// plots are the drawings of a scale test by the names of their files; without those that would show no growth.
func (s Scale) plots() map[string][]byte {
	out := make(map[string][]byte)
	if c := s.byNodes(); len(c) > 0 {
		out[scaleNodesFile] = growth("More nodes, one group", "number of nodes", c, func(p ScalePoint) float64 { return float64(p.Nodes) })
	}
	if c := s.byGroups(); len(c) > 0 {
		out[scaleGroupsFile] = growth("More groups", "number of groups", c, func(p ScalePoint) float64 { return float64(p.Groups) })
	}
	return out
}

// images show the plots in docs/scaling.md.
func (s Scale) images() (md string) {
	plots := s.plots()
	for _, image := range []struct{ file, alt string }{
		{scaleNodesFile, "CPU, traffic, status and takeover over the number of nodes; the numbers are in the tables below"},
		{scaleGroupsFile, "CPU, traffic, status and takeover over the number of groups; the numbers are in the tables below"},
	} {
		if plots[image.file] != nil {
			md += fmt.Sprintf("![%s](benchmarks/%s)\n\n", image.alt, image.file)
		}
	}
	return md
}

// byNodes are the clusters with one group: those in which every node votes, and those in which as few as five do.
func (s Scale) byNodes() []course {
	all := course{name: "all vote"}
	some := make(map[int]*course)
	for _, p := range s.Points {
		switch {
		case p.Groups != 1:
		case p.Voters == p.Nodes:
			all.points = append(all.points, p)
		default:
			if some[p.Voters] == nil {
				some[p.Voters] = &course{name: fmt.Sprintf("%d vote", p.Voters)}
			}
			some[p.Voters].points = append(some[p.Voters].points, p)
		}
	}
	for voters, c := range some { // such a line begins where every node votes
		if i := slices.IndexFunc(all.points, func(p ScalePoint) bool { return p.Nodes == voters }); i >= 0 {
			c.points = append(c.points, all.points[i])
		}
	}
	return courses(&all, some, func(a, b ScalePoint) int { return cmp.Compare(a.Nodes, b.Nodes) })
}

const usualTTL = 1000 // ms, of most clusters that are measured

// byGroups are the clusters of each size, and of each ttl, that there are with several numbers of groups; those in which fewer
// vote, where there are several.
func (s Scale) byGroups() []course {
	some := make(map[int]*course)
	for _, p := range s.Points {
		key := p.Nodes<<20 | int(p.TTL) // in the order of both; a ttl is at most 30,000 ms
		c := some[key]
		if c == nil {
			c = &course{name: fmt.Sprintf("%d nodes", p.Nodes)}
			if p.TTL != usualTTL {
				c.name += ", " + p.ttl()
			}
			some[key] = c
		}
		i := slices.IndexFunc(c.points, func(q ScalePoint) bool { return q.Groups == p.Groups })
		if i < 0 {
			c.points = append(c.points, p)
		} else if p.Voters < c.points[i].Voters {
			c.points[i] = p
		}
	}
	return courses(nil, some, func(a, b ScalePoint) int { return cmp.Compare(a.Groups, b.Groups) })
}

// courses are those with at least two points, in order.
func courses(first *course, more map[int]*course, order func(a, b ScalePoint) int) (out []course) {
	var list []*course
	if first != nil {
		list = append(list, first)
	}
	for _, key := range slices.Sorted(maps.Keys(more)) {
		list = append(list, more[key])
	}
	for _, c := range list {
		slices.SortStableFunc(c.points, order)
		if len(c.points) > 1 {
			out = append(out, *c)
		}
	}
	return out
}
