package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// The kinds of a job.
const (
	kindPlay  = "play"
	kindBatch = "batch"
	kindQuiet = "quiet"
	kindCost  = "cost"
)

// jobLimit bounds a job beyond the time that it watches: none may hold up the run. A job of all scenarios takes
// minutes.
const jobLimit = 30 * time.Minute

// together is how long clusters that are watched side by side may take to start.
const together = 45 * time.Second

// A job is what one sandbox does: one tool in one setting.
type job struct {
	Hbagent   string
	Slack     time.Duration `json:",omitempty"` // of its timers, instead of its unit's
	Tool      string
	Setting   string
	Kind      string
	Scenarios []string      `json:",omitempty"` // of kindPlay
	Runs      int           `json:",omitempty"`
	Addresses int           `json:",omitempty"` // of kindBatch
	Load      string        `json:",omitempty"` // of kindQuiet
	Groups    int           `json:",omitempty"` // of kindCost
	Span      time.Duration `json:",omitempty"` // how long is watched
	Begin     time.Time     `json:",omitzero"`  // of the watching, where several jobs do it side by side
}

func (j job) String() string {
	s := fmt.Sprintf("%s, %s: %s", j.Tool, j.Setting, j.Kind)
	switch j.Kind {
	case kindBatch:
		return fmt.Sprintf("%s of %d", s, j.Addresses)
	case kindQuiet:
		return fmt.Sprintf("%s, %s, %v", s, j.Load, j.Span)
	case kindCost:
		return fmt.Sprintf("%s, %d groups, %v", s, j.Groups, j.Span)
	}
	return s
}

// found is what a job found: a part of a run.
type found struct {
	Results []bench.Result
	Quiet   []bench.Quiet
	Costs   []bench.Cost
	Batches []bench.Batch

	Failures []string
	Configs  map[string]string
}

// tool finds the job's tool and setting.
func (j job) tool() (rivals.Tool, rivals.Setting, error) {
	for _, t := range rivals.All() {
		for _, s := range t.Settings() {
			if t.Name() == j.Tool && s.Name == j.Setting {
				return t, s, nil
			}
		}
	}
	return nil, rivals.Setting{}, fmt.Errorf("no tool %q with a setting %q", j.Tool, j.Setting)
}

// do does the job. It runs inside the sandbox.
func (j job) do(ctx context.Context) (found, error) {
	t, s, err := j.tool()
	if err != nil {
		return found{}, err
	}
	switch j.Kind {
	case kindPlay:
		return j.play(ctx, t, s)
	case kindBatch:
		return j.batch(ctx, t, s)
	case kindQuiet:
		return j.quiet(ctx, t, s)
	case kindCost:
		return j.costAtRest(ctx, t, s)
	}
	return found{}, fmt.Errorf("no kind of job %q", j.Kind)
}

// failed is what stands in the run for a job that ended without a result.
func (j job) failed(err error) (f found) {
	switch j.Kind {
	case kindPlay:
		for _, name := range j.Scenarios {
			f.Results = append(f.Results, bench.Result{Tool: j.Tool, Setting: j.Setting, Scenario: name, Failed: err.Error()})
		}
	case kindBatch:
		f.Batches = []bench.Batch{{Tool: j.Tool, Setting: j.Setting, Addresses: j.Addresses, Failed: err.Error()}}
	default:
		f.Failures = []string{fmt.Sprintf("%s: %v", j, err)}
	}
	return f
}

// A merge puts the parts together.
type merge struct {
	mu  sync.Mutex
	run *bench.Run
}

// do does the jobs of a phase, each in a sandbox. Its error names those that failed; the others' results count.
func (m *merge) do(ctx context.Context, ph phase) error {
	if len(ph.jobs) == 0 {
		return nil
	}
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), ph.name)
	room := make(chan struct{}, ph.wide)
	begin := time.Now().Add(together)
	errs := make([]error, len(ph.jobs))
	var all sync.WaitGroup
	for i, j := range ph.jobs {
		room <- struct{}{}
		if ph.wide >= len(ph.jobs) && j.Span > 0 { // none looks while another one starts
			j.Begin = begin
		}
		all.Go(func() {
			defer func() { <-room }()
			f, err := j.sandboxed(ctx)
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", j, err)
				f = j.failed(err)
			}
			m.add(j, f)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (j job) sandboxed(ctx context.Context) (f found, err error) {
	if err := ctx.Err(); err != nil {
		return f, err
	}
	ctx, cancel := context.WithTimeout(ctx, jobLimit+j.Span)
	defer cancel()
	text, err := json.Marshal(j)
	if err != nil {
		return f, err
	}
	var out bytes.Buffer
	code, err := lab.Sandbox{Args: []string{"labbench", "-job", string(text)}, Stdout: &out, Stderr: os.Stderr}.Run(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("its sandbox ended with exit code %d: %w", code, errors.Join(errJob, ctx.Err()))
	}
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		return f, fmt.Errorf("what it found: %w", err)
	}
	return f, nil
}

// errJob: what went wrong was printed by the job.
var errJob = errors.New("see its last words")

func (m *merge) add(j job, f found) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run.Results = append(m.run.Results, f.Results...)
	m.run.Quiet = append(m.run.Quiet, f.Quiet...)
	m.run.Costs = append(m.run.Costs, f.Costs...)
	m.run.Batches = append(m.run.Batches, f.Batches...)
	m.run.Failures = append(m.run.Failures, f.Failures...)
	for i, t := range m.run.Tools {
		for k, s := range t.Settings {
			if t.Name != j.Tool || s.Name != j.Setting {
				continue
			}
			if s.Configs == nil {
				m.run.Tools[i].Settings[k].Configs = make(map[string]string)
			}
			maps.Copy(m.run.Tools[i].Settings[k].Configs, f.Configs)
		}
	}
}
