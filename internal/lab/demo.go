package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// DemoOptions are those of `hbagent demo`.
type DemoOptions struct {
	JSON bool      // a DemoReport on Out instead of the timeline
	Keep bool      // afterwards a shell in the client's namespace, until it ends
	Out  io.Writer // the result
	Err  io.Writer // what went wrong, and hints
	Self string    // the hbagent program to show; default this one
	// Stage is which site is shown: 1 (or 0), a web server with a standby; 3, the whole site of
	// deploy/examples/stage3, which needs its servers installed.
	Stage int
}

// ErrDemoFailed is returned when a step did not end as promised to; which one was said on Err.
var ErrDemoFailed = errors.New("the demo failed")

// A DemoReport is what the demo found, as `hbagent demo --json` prints it. Keys are added, never changed.
type DemoReport struct {
	OK       bool            `json:"ok"`
	Error    string          `json:"error,omitempty"` // which step failed, and how
	Address  string          `json:"address"`         // the floating address
	Machines []DemoMachine   `json:"machines"`
	Steps    []DemoStep      `json:"steps"`  // in order; the last one failed if OK is false
	Client   DemoClient      `json:"client"` // over the whole demo
	ARP      DemoARP         `json:"arp"`    // over the whole demo
	TookMs   float64         `json:"took_ms"`
	Status   *control.Status `json:"status,omitempty"` // of the cluster at the end
}

// A DemoMachine is one machine of the site.
type DemoMachine struct {
	Name     string        `json:"name"`
	Address  string        `json:"address"`
	MayOwn   bool          `json:"may_own"` // false: it only votes
	Services []DemoService `json:"services"`
}

// A DemoService is one server on a machine.
type DemoService struct {
	Name string `json:"name"`
	Real bool   `json:"real"` // false: a stand-in, because the server is not installed here
}

// A DemoStep is one thing that was done to the site, and what the client noticed.
type DemoStep struct {
	Name      string  `json:"name"`  // start, web-killed, web-back, power-off, power-on, switchover, agent-killed
	Text      string  `json:"text"`  // the same for people
	AtMs      float64 `json:"at_ms"` // since the demo began
	Owner     string  `json:"owner"` // who has the floating address afterwards
	GapMs     float64 `json:"gap_ms"`
	Asked     int     `json:"asked"`                // questions of the client
	Lost      int     `json:"lost"`                 // of these without an answer in time
	PromiseMs float64 `json:"promise_ms,omitempty"` // bound of gap_ms; absent: the promise is that none is lost
	Kept      bool    `json:"kept"`                 // the promise
}

// DemoClient sums up what the client saw.
type DemoClient struct {
	Asked      int     `json:"asked"`
	Lost       int     `json:"lost"`
	IntervalMs float64 `json:"interval_ms"`
}

// DemoARP sums up who answered "who has the floating address?".
type DemoARP struct {
	Asked     int `json:"asked"`
	TwoOwners int `json:"two_owners"` // questions that two machines answered: must be 0
}

// failedLines are shown of each agent's log when a step fails. Chosen by us: three fit on a screen.
const failedLines = 12

// demoLimit bounds the whole demo without the shell. Chosen by us: three times what it takes.
const demoLimit = 2 * time.Minute

// demoArgs travel from the process that was called to the one in the sandbox.
type demoArgs struct {
	JSON, Keep bool
	Self       string
	Stage      int
}

// RunDemo shows hbagent at work on three machines in throw-away namespaces, and checks what it
// shows: the error is [ErrDemoFailed] if the floating address was not where it had to be, an
// [*UnavailableError] where the machine gives us no namespaces, and context.Canceled after Ctrl-C. The
// program's main must call [Reexec] first. Nothing is left behind, however it ends.
func RunDemo(ctx context.Context, o DemoOptions) error {
	if Inside() {
		return runDemo(ctx, o)
	}
	args, err := json.Marshal(demoArgs{JSON: o.JSON, Keep: o.Keep, Self: o.Self, Stage: o.Stage})
	if err != nil {
		return err
	}
	box := Sandbox{Args: []string{rolePrefix + "demo", string(args)}, Stdout: o.Out, Stderr: o.Err}
	if o.Keep {
		box.Stdin = os.Stdin
	}
	code, err := box.Run(ctx)
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case code == interrupted:
		return context.Canceled
	case code != 0:
		return ErrDemoFailed
	}
	return nil
}

// interrupted is the exit code after SIGINT, by the convention of shells.
const interrupted = 128 + int(syscall.SIGINT)

// demoMain is the worker of the demo's sandbox.
func demoMain(args []string) int {
	var a demoArgs
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &a) != nil {
		fmt.Fprintln(os.Stderr, "hbagent: the demo's worker is started by hbagent demo only")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := runDemo(ctx, DemoOptions{JSON: a.JSON, Keep: a.Keep, Out: os.Stdout, Err: os.Stderr, Self: a.Self, Stage: a.Stage})
	switch {
	case ctx.Err() != nil:
		return interrupted
	case err != nil:
		return 1
	}
	return 0
}

// runDemo is the demo, inside the sandbox. What fails is said on o.Err here; the error is for the exit code.
func runDemo(ctx context.Context, o DemoOptions) (err error) {
	d := &demo{o: o, asks: "db1", began: time.Now(), print: printer{out: o.Out}, report: DemoReport{Machines: []DemoMachine{}, Steps: []DemoStep{}}}
	if o.JSON {
		d.print.out = io.Discard
	}
	limit, play := demoLimit, d.play
	if o.Stage == 3 {
		limit, play, d.asks = demo3Limit, (&demo3{demo: d}).play, "web1"
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = play(limited)
	if d.w != nil {
		defer func() {
			if cerr := d.w.Close(); cerr != nil && err == nil {
				err = cerr
			}
		}()
	}
	if ctx.Err() != nil {
		return ctx.Err() // somebody pressed Ctrl-C: no report of a half-played demo
	}
	d.finish(limited, err)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDemoFailed, err)
	}
	if o.Keep {
		return d.shell(ctx)
	}
	return nil
}

// finish reports how it ended, in words or as data.
func (d *demo) finish(ctx context.Context, failed error) {
	d.total()
	d.report.OK = failed == nil
	if failed != nil {
		d.report.Error = failed.Error()
		fmt.Fprintf(d.o.Err, "\nhbagent demo: %v\n", failed)
		if d.w != nil {
			fmt.Fprintf(d.o.Err, "\n%s", d.w.Logs(AgentLog, failedLines))
		}
	} else {
		status, err := d.w.Node(d.asks).Status(ctx)
		if err == nil {
			d.report.Status = &status
		}
		d.print.summary(&d.report)
		if !d.o.JSON {
			// Its exit code says what the status is worth, its output says it too.
			text, _ := d.w.Node(d.asks).Hbagent(ctx, "status")
			fmt.Fprintf(d.o.Out, "\n$ hbagent status\n%s", text)
		}
	}
	if d.o.JSON {
		enc := json.NewEncoder(d.o.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(&d.report); err != nil {
			fmt.Fprintf(d.o.Err, "hbagent demo: %v\n", err)
		}
	}
}
