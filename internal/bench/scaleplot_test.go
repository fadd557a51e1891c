package bench

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// exampleScale is a scale test that never was, by a formula.
func exampleScale() Scale {
	s := Scale{Format: Format, Began: example().Began, Seconds: 900, Commit: "example", Machine: example().Machine}
	for _, p := range [][3]int{{3, 3, 1}, {3, 3, 10}, {3, 3, 500}, {5, 5, 1}, {25, 5, 1}, {25, 25, 1}, {100, 5, 1}, {100, 5, 50}, {100, 5, 500}, {100, 100, 1}} {
		nodes, voters, groups := float64(p[0]), float64(p[1]), float64(p[2])
		f := nodes*.05 + voters*.3 + groups*.02
		ttl := 1000.0
		if nodes == 100 && groups > 1 { // another line
			ttl = 3000
		}
		s.Points = append(s.Points, ScalePoint{Nodes: p[0], Voters: p[1], Groups: p[2], TTL: ttl, Ready: 1, Seconds: 20, Owner: ScaleCost{CPUPercent: f / 3, BytesPerS: 3000 * f, MemoryMB: 20},
			Status: 6 + math.Sqrt(f), Takeovers: []Takeover{{Groups: 1, First: 900, Last: 900 + 10*f}}})
	}
	return s
}

func TestScalePlots(t *testing.T) {
	s := exampleScale()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	plots := s.plots()
	if len(plots) != 2 {
		t.Errorf("%d plots", len(plots))
	}
	for name, plot := range plots {
		wellDrawn(t, name, plot)
	}
	golden(t, "scale-nodes.svg", plots[scaleNodesFile])
	for file, lines := range map[string][]string{scaleNodesFile: {"all vote", "5 vote"}, scaleGroupsFile: {"3 nodes", "100 nodes, 3 s"}} {
		for _, name := range lines {
			if n := strings.Count(string(plots[file]), ">"+name+"</text>"); n != len(scalePanels) {
				t.Errorf("%s names %q %d times, once in each of its %d panels is wanted", file, name, n, len(scalePanels))
			}
		}
	}
	if images := s.images(); strings.Count(images, "](benchmarks/scale-") != 2 {
		t.Errorf("images: %s", images)
	}
	s.Points = s.Points[:1]
	if plots := s.plots(); len(plots) != 0 || s.images() != "" {
		t.Errorf("one cluster grows: %d plots", len(plots))
	}
}

// Whatever clusters there are: what is drawn is well drawn.
func TestAnyScale(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		number := func() float64 { return [...]float64{0, 5e-324, .001, 1, 50, 1e6, math.MaxFloat64}[r.IntN(7)] }
		var s Scale
		for range r.IntN(12) {
			s.Points = append(s.Points, ScalePoint{Nodes: 1 + r.IntN(3), Voters: 1 + r.IntN(3), Groups: 1 + r.IntN(3), Owner: ScaleCost{CPUPercent: number(), BytesPerS: number()},
				Status: number(), Takeovers: []Takeover{{Last: number()}, {Last: number()}}[:r.IntN(3)]})
		}
		for name, plot := range s.plots() {
			wellDrawn(t, name, plot)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, s)
		}
	}
}
