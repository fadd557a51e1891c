package bench

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// small is a run with one of everything.
func small() Run {
	return Run{
		Format: Format, Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 60, Commit: "v1 (abc)",
		Tools: []Tool{
			{Name: HBAgent, Version: "1", Settings: []Setting{{Name: "ttl 1s", Pace: "equal default", Heartbeat: 250, Configs: map[string]string{"hbagent.toml": "x"}}}},
			{Name: UCARP, Missing: "not installed"},
		},
		Results: []Result{{Tool: HBAgent, Setting: "ttl 1s", Scenario: PowerOff, Samples: []Sample{{Outage: 950, None: 940, Moves: 1}}}},
		Quiet:   []Quiet{{Tool: HBAgent, Setting: "ttl 1s", Load: Rest, Seconds: 600}},
		Costs:   []Cost{{Tool: HBAgent, Setting: "ttl 1s", Groups: 1, Node: "web1", Owner: true, MemoryMB: 18, Seconds: 60}},
		Batches: []Batch{{Tool: HBAgent, Setting: "ttl 1s", Addresses: 10, Spread: []float64{3}, Outage: []float64{900}}},
	}
}

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "run.json")
	if err := Write(path, small()); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, small()) {
		t.Errorf("read %+v\nwrote %+v", got, small())
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the file: %v, %v", left, err)
	}
}

func TestValidateSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		want  string
		spoil func(*Run)
	}{
		{"format: is 2; this program reads 1", func(r *Run) { r.Format = 2 }},
		{"began: is missing", func(r *Run) { r.Began = time.Time{} }},
		{"commit: is missing", func(r *Run) { r.Commit = "" }},
		{"seconds: is NaN", func(r *Run) { r.Seconds = math.NaN() }},
		{"tool ucarp: is there twice", func(r *Run) { r.Tools = append(r.Tools, r.Tools[1]) }},
		{"has no settings, and is not called missing", func(r *Run) { r.Tools[1].Missing = "" }},
		{`pace: "quick" is none of equal, default, fastest`, func(r *Run) { r.Tools[0].Settings[0].Pace = "quick" }},
		{`is a second one with pace "equal"`, func(r *Run) { r.Tools[0].Settings[0].Pace = "equal equal" }},
		{`"../x" is no name of a file`, func(r *Run) { r.Tools[0].Settings[0].Configs = map[string]string{"../x": ""} }},
		{`no tool "hbagent" with a setting "ttl 2s"`, func(r *Run) { r.Results[0].Setting = "ttl 2s" }},
		{`scenario: "flood" is none of power-off`, func(r *Run) { r.Results[0].Scenario = "flood" }},
		{"has no samples, and does not say why", func(r *Run) { r.Results[0].Samples = nil }},
		{"sample 1: outage_ms: is -1", func(r *Run) { r.Results[0].Samples[0].Outage = -1 }},
		{"2 of 1 moves were unwanted", func(r *Run) { r.Results[0].Samples[0].Unwanted = 2 }},
		{"is there twice", func(r *Run) { r.Results = append(r.Results, r.Results[0]) }},
		{`load: "some" is none of rest, busy`, func(r *Run) { r.Quiet[0].Load = "some" }},
		{"web1: cpu_percent: is +Inf", func(r *Run) { r.Costs[0].CPUPercent = math.Inf(1) }},
		{"10 addresses: spread_ms: is NaN", func(r *Run) { r.Batches[0].Spread[0] = math.NaN() }},
	} {
		r := small()
		tt.spoil(&r)
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	if err := small().Validate(); err != nil {
		t.Errorf("a good run: %v", err)
	}
}

// An hour of measuring is not thrown away for one number.
func TestWriteKeepsWhatIsInvalidBeside(t *testing.T) {
	for name, spoil := range map[string]func(*Run){
		"a name":   func(r *Run) { r.Results[0].Scenario = "flood" },
		"a number": func(r *Run) { r.Seconds = math.NaN() },
	} {
		path := filepath.Join(t.TempDir(), "run.json")
		r := small()
		spoil(&r)
		if err := Write(path, r); err == nil || !strings.Contains(err.Error(), path+".invalid") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: the file itself: %v", name, err)
		}
		if data, err := os.ReadFile(path + ".invalid"); err != nil || !strings.Contains(string(data), "web1") {
			t.Errorf("%s: beside: %q, %v", name, data, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"not a result file":    "{",
		"unknown field":        `{"format": 1, "moves": 3}`,
		"follows its end":      `{"format": 1} {}`,
		"commit: is missing":   `{"format": 1}`,
		"this program reads 1": `{"format": 7}`,
	} {
		path := filepath.Join(t.TempDir(), "run.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestScaleFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scale.json")
	s := Scale{Format: Format, Began: small().Began, Commit: "abc", Points: []ScalePoint{{
		Nodes: 3, Voters: 3, Groups: 1, Seconds: 10, Owner: ScaleCost{MemoryMB: 20, CPUPercent: 1}, Voter: &ScaleCost{MemoryMB: 19},
		Status: 5, Takeovers: []Takeover{{Groups: 1, First: 900, Last: 900}},
	}}}
	if err := WriteScale(path, s); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadScale(path); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("read %+v, %v", got, err)
	}
	s.Points = append(s.Points, s.Points[0], ScalePoint{Nodes: 0, Owner: ScaleCost{CPUPercent: -1}})
	err := WriteScale(path, s)
	for _, want := range []string{"3 nodes, 3 voters, 1 groups: is there twice", "is no cluster", "cpu_percent: is -1", "something was not measured"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
