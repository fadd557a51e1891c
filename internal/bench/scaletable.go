package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// markdown is the tables of docs/scaling.md: what an agent costs, and what it does; from the smallest cluster to the
// largest, in whatever order they were measured.
func (s Scale) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores, Linux %s, load %s before the run; %s, %.0f s, commit %s.\n\n", text(s.Machine.CPU), s.Machine.Cores,
		text(s.Machine.Kernel), num(s.Machine.LoadBefore), s.Began.UTC().Format("2006-01-02"), s.Seconds, code(s.Commit))
	costs := table{head: []string{"nodes", "voters", "groups", "ttl", "node", "CPU % of a core", "memory MB", "packets/s", "bytes/s"}}
	does := table{head: []string{"nodes", "voters", "groups", "ttl", "all well after", "`status --json`", "its size", "taken over", "first group, ms", "last group, ms",
		"announced by two"}}
	var failed []string
	for _, p := range slices.SortedFunc(slices.Values(s.Points), func(a, b ScalePoint) int {
		return cmp.Or(cmp.Compare(a.Nodes, b.Nodes), cmp.Compare(a.Voters, b.Voters), cmp.Compare(a.Groups, b.Groups))
	}) {
		size := []string{fmt.Sprint(p.Nodes), fmt.Sprint(p.Voters), fmt.Sprint(p.Groups), p.ttl()}
		cost := func(who string, c *ScaleCost) {
			if c != nil {
				costs.row(append(slices.Clip(size), who, fmt.Sprintf("%.2f", c.CPUPercent), fmt.Sprintf("%.1f", c.MemoryMB),
					fmt.Sprintf("%.0f", c.PacketsPerS), fmt.Sprintf("%.0f", c.BytesPerS))...)
			}
		}
		if p.Seconds > 0 {
			cost(fmt.Sprintf("owner of %d", p.Owned), &p.Owner)
			cost("voter", p.Voter)
			cost("no vote", p.Other)
		}
		if p.Status > 0 {
			groups, first, last, two := p.takeovers()
			does.row(append(slices.Clip(size), fmt.Sprintf("%.1f s", p.Ready), fmt.Sprintf("%.1f ms", p.Status), fmt.Sprintf("%.0f kB", p.StatusKB), groups, first, last, two)...)
		}
		if p.Failed != "" {
			failed = append(failed, fmt.Sprintf("- %d nodes, %d voters, %d groups: %s\n", p.Nodes, p.Voters, p.Groups, text(p.Failed)))
		}
	}
	b.WriteString(costs.String() + "\n" + does.String())
	if len(failed) > 0 {
		b.WriteString("\nWhat is missing, or was not well:\n\n" + strings.Join(failed, ""))
	}
	return b.String()
}

func (p ScalePoint) ttl() string { return fmt.Sprintf("%g s", p.TTL/1000) }

// takeovers says of how many groups there were how many, from when to when each time they lasted, and how many addresses
// two nodes announced in all of them.
func (p ScalePoint) takeovers() (groups, first, last, two string) {
	if len(p.Takeovers) == 0 {
		return dash, dash, dash, dash
	}
	span := func(of func(Takeover) float64) string {
		least, most := math.Inf(1), 0.0
		for _, t := range p.Takeovers {
			least, most = min(least, of(t)), max(most, of(t))
		}
		if math.Round(least) == math.Round(most) {
			return fmt.Sprintf("%.0f", most)
		}
		return fmt.Sprintf("%.0f to %.0f", least, most)
	}
	twice := 0
	for _, t := range p.Takeovers {
		twice += t.Two
	}
	owned := span(func(t Takeover) float64 { return float64(t.Groups) })
	return fmt.Sprintf("%s, %d times", owned, len(p.Takeovers)), span(func(t Takeover) float64 { return t.First }), span(func(t Takeover) float64 { return t.Last }), fmt.Sprint(twice)
}
