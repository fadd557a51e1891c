// Lablatency measures how long the command `hbagent status` takes, the start of its process included: in a
// cluster of three where all is well, where a peer's agent stands still, and where a peer is dead.
//
//	lablatency -hbagent bin/hbagent -runs 100
//
// The frozen and the dead one are looked at from the moment on, before anybody has noticed, too. It needs no root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Chosen by us.
const (
	promise = 50 * time.Millisecond
	// noticed is longer than the others take to see that a peer is gone: 5 s.
	noticed = 8 * time.Second
	ready   = time.Minute // for agents to start and a group to have its owner
)

func main() {
	lab.Reexec()
	hbagent := flag.String("hbagent", "bin/hbagent", "the program to measure")
	runs := flag.Int("runs", 100, "how often in each situation, on each node that lives")
	flag.Parse()
	lab.RunTool("lablatency", func(ctx context.Context) error { return run(ctx, *hbagent, *runs) })
}

func run(ctx context.Context, hbagent string, runs int) (err error) {
	w, err := lab.New(ctx, lab.Options{Hbagent: hbagent})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := site(ctx, w); err != nil {
		return err
	}
	m := &measurement{w: w, hbagent: hbagent, runs: runs, out: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	fmt.Fprintf(m.out, "situation\tnode\truns\tmedian ms\tp99 ms\tmax ms\t(the promise is %v)\n", promise)
	web2 := w.Node("web2")
	steps := []func() error{
		func() error { return m.look(ctx, "all well", "web1", "web2", "db1") },
		func() error { return web2.SignalAgent(syscall.SIGSTOP) },
		func() error { return m.look(ctx, "web2 has just been frozen", "web1", "db1") },
		func() error { return lab.Pause(ctx, noticed) },
		func() error { return m.look(ctx, "web2 is frozen", "web1", "db1") },
		func() error { return web2.SignalAgent(syscall.SIGCONT) },
		func() error { return lab.Pause(ctx, noticed) },
		web2.PowerOff,
		func() error { return m.look(ctx, "web2 has just died", "web1", "db1") },
		func() error { return lab.Pause(ctx, noticed) },
		func() error { return m.look(ctx, "web2 is dead", "web1", "db1") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if err := m.out.Flush(); err != nil {
		return err
	}
	if m.worst > promise {
		fmt.Printf("the slowest took %.1f ms, which is more than was promised\n", ms(m.worst))
	}
	return nil
}

func site(ctx context.Context, w *lab.World) error {
	ctx, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	c := w.Config()
	c.Groups = []lab.GroupConfig{w.WebGroup("web1", "web2")}
	if err := w.WriteConfig(c); err != nil {
		return err
	}
	if err := w.StartAgents(ctx); err != nil {
		return err
	}
	_, err := w.WaitAnyOwner(ctx, "web", "web1", "web2")
	return err
}

type measurement struct {
	w       *lab.World
	hbagent string
	runs    int
	out     *tabwriter.Writer
	worst   time.Duration
}

// look runs the command on these nodes in turn.
func (m *measurement) look(ctx context.Context, situation string, nodes ...string) error {
	took := make(map[string][]time.Duration)
	for range m.runs {
		for _, name := range nodes {
			d, err := m.once(ctx, m.w.Node(name))
			if err != nil {
				return fmt.Errorf("%s, %s: %w", situation, name, err)
			}
			took[name] = append(took[name], d)
		}
	}
	for _, name := range nodes {
		all := took[name]
		slices.Sort(all)
		last := len(all) - 1
		fmt.Fprintf(m.out, "%s\t%s\t%d\t%.1f\t%.1f\t%.1f\t\n", situation, name, len(all), ms(all[last/2]), ms(all[last*99/100]), ms(all[last]))
		m.worst = max(m.worst, all[last])
	}
	return nil
}

// once is one run from before the process is started until it has ended. Its exit code says how the cluster is: all but 3, which
// says that the agent did not answer, are answers.
func (m *measurement) once(ctx context.Context, n *lab.Node) (time.Duration, error) {
	cmd := exec.Command(m.hbagent, "status")
	began := time.Now()
	_, err := n.Output(ctx, cmd)
	took := time.Since(began)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() < 3 {
		err = nil
	}
	return took, err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
