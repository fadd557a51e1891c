package bench

import (
	"strings"
	"testing"
)

func TestScaleTables(t *testing.T) {
	s := Scale{Format: Format, Began: small().Began, Seconds: 60, Commit: "abc", Machine: Machine{CPU: "a|b", Cores: 2}, Points: []ScalePoint{{
		Nodes: 100, Voters: 5, Groups: 10, TTL: 3000, Ready: 4.2, Seconds: 20, Owned: 3, Owner: ScaleCost{CPUPercent: 1.5, MemoryMB: 30, PacketsPerS: 90, BytesPerS: 9000},
		Other: &ScaleCost{CPUPercent: 0.25, MemoryMB: 25}, Status: 12.5, StatusKB: 80,
		Takeovers: []Takeover{{Groups: 3, First: 850, Last: 901}, {Groups: 3, First: 860, Last: 960}},
	}, {
		Nodes: 9, Voters: 9, Groups: 1, TTL: 500, Ready: 1, Seconds: 20, Owned: 1, Owner: ScaleCost{MemoryMB: 30}, Status: 5,
		Takeovers: []Takeover{{Groups: 1, First: 850, Last: 850}, {Groups: 1, First: 850, Last: 850, Two: 1}}, Failed: "two nodes announced it",
	}, {Nodes: 3, Voters: 3, Groups: 1, Failed: "it did not start"}}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	got := s.markdown()
	for _, want := range []string{
		"| 100 | 5 | 10 | 3 s | owner of 3 | 1.50 | 30.0 | 90 | 9000 |", "| 100 | 5 | 10 | 3 s | no vote | 0.25 | 25.0 | 0 | 0 |",
		"| 100 | 5 | 10 | 3 s | 4.2 s | 12.5 ms | 80 kB | 3, 2 times | 850 to 860 | 901 to 960 | 0 |", "3 nodes, 3 voters, 1 groups: it did not start", `a\|b`,
		"| 1, 2 times | 850 | 850 | 1 |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Index(got, "| 100 | 5 | 10 | 3 s | owner") < strings.Index(got, "| 9 | 9 | 1 | 0.5 s | owner") {
		t.Errorf("not from the smallest to the largest:\n%s", got)
	}
	if strings.Contains(got, "| voter |") {
		t.Error("a row of voters, of which there are none")
	}
}

// An address that two nodes announced is no matter for a column alone.
func TestScaleOfTwo(t *testing.T) {
	for _, c := range []struct {
		two    int
		failed string
		bad    bool
	}{{0, "", false}, {1, "", true}, {1, "two nodes", false}, {11, "two nodes", true}, {-1, "", true}} {
		s := exampleScale()
		s.Points[0].Takeovers, s.Points[0].Failed = []Takeover{{Groups: 10, First: 1, Last: 2, Two: c.two}}, c.failed
		if err := s.Validate(); (err != nil) != c.bad {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
