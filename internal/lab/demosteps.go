package lab

import (
	"context"
	"fmt"
	"time"
)

// settle is how long the client goes on being watched after a step: what comes late belongs to it too.
const settle = 300 * time.Millisecond

// A stage is one step of the demo: a deed, and where the address must be afterwards.
type stage struct {
	name    string
	text    string        // what is done
	then    string        // what comes of it
	owner   string        // who must have the address afterwards
	moves   bool          // whether that is another one than before
	promise time.Duration // bound of the gap; 0: no question is lost
	deed    func(context.Context) error
}

// play builds the site and goes through the stages. Its error names the stage.
func (d *demo) play(ctx context.Context) error {
	if err := d.build(ctx); err != nil {
		return fmt.Errorf("building the site: %w", err)
	}
	if err := d.watch(ctx); err != nil {
		return fmt.Errorf("starting the client: %w", err)
	}
	first, err := d.start(ctx)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	second := "web2"
	if first == second {
		second = "web1"
	}
	for _, s := range d.stages(first, second) {
		if err := d.run(ctx, s); err != nil {
			return fmt.Errorf("step %s (%s): %w", s.name, s.text, err)
		}
	}
	if two := d.arp.OwnersOverlap(d.began, time.Now()); len(two) > 0 {
		return fmt.Errorf("%d ARP questions were answered by two machines, the first by %v", len(two), two[0].Nodes)
	}
	return nil
}

// start starts the agents, waits for the first owner, and says who it is: nearly always web1, which comes first in
// the config, but on a busy machine web2's agent may be up before. The client is not measured: there was
// no site yet.
func (d *demo) start(ctx context.Context) (owner string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	at := time.Now()
	const text = "three agents start"
	d.print.did(at.Sub(d.began), text)
	if err := d.w.StartAgents(ctx); err != nil {
		return "", err
	}
	if owner, err = d.w.WaitAnyOwner(ctx, "web", "web1", "web2"); err != nil {
		return "", err
	}
	if err := d.client.WaitAnswer(ctx, at, owner); err != nil {
		return "", err
	}
	up := time.Since(d.began)
	d.report.Steps = append(d.report.Steps, DemoStep{Name: "start", Text: text, AtMs: ms(up), Owner: owner, Kept: true})
	d.print.owns(up, owner+" takes "+d.report.Address, owner)
	return owner, d.w.WaitEligible(ctx, "web", "web1", "web2") // a move needs somebody to move to
}

// stages are what happens to the site when a is the first owner and b could be the next.
func (d *demo) stages(a, b string) []stage {
	return []stage{
		{
			name: "web-killed", text: "the web server on " + a + " is killed", then: b + " takes over",
			owner: b, moves: true, promise: promiseService,
			deed: func(context.Context) error { return d.web[a].Kill() },
		}, {
			name: "web-back", text: "the web server on " + a + " starts again", then: b + " keeps it: no second interruption",
			owner: b,
			deed: func(ctx context.Context) error {
				if err := d.web[a].Start(ctx); err != nil {
					return err
				}
				return d.w.WaitEligible(ctx, "web", a)
			},
		}, {
			name: "power-off", text: b + " loses its power", then: a + " takes over",
			owner: a, moves: true, promise: promiseOwner,
			deed: func(context.Context) error { return d.w.Node(b).PowerOff() },
		}, {
			name: "power-on", text: b + " boots again", then: a + " keeps it (failback = false)",
			owner: a,
			deed:  func(ctx context.Context) error { return d.boot(ctx, d.w.Node(b)) },
		}, {
			name: "switchover", text: "hbagent switchover web --to " + b, then: b + " has it, as planned",
			owner: b, moves: true, promise: promisePlanned,
			deed: func(ctx context.Context) error {
				_, err := d.w.Node(a).Hbagent(ctx, "switchover", "web", "--to", b)
				return err
			},
		}, {
			name: "agent-killed", text: "the agent on " + b + " is killed, and restarted", then: b + " keeps it",
			owner: b,
			deed: func(ctx context.Context) error {
				if err := d.w.Node(b).KillAgent(); err != nil {
					return err
				}
				if err := d.w.Node(b).StartAgent(ctx); err != nil {
					return err
				}
				return Pause(ctx, demoTTL+demoTTL/2) // a lease that was lost would show by now
			},
		},
	}
}

// boot brings a machine back that had lost its power.
func (d *demo) boot(ctx context.Context, n *Node) error {
	if err := n.PowerOn(ctx); err != nil {
		return err
	}
	if err := d.startServices(ctx, n); err != nil {
		return err
	}
	if err := n.StartAgent(ctx); err != nil {
		return err
	}
	return d.w.WaitEligible(ctx, "web", n.Name)
}

// run does one stage, asserts where the address is, and prints what the client noticed beside the promise.
func (d *demo) run(ctx context.Context, s stage) error {
	ctx, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()
	began := time.Now()
	d.print.did(began.Sub(d.began), s.text)
	if err := s.deed(ctx); err != nil {
		return err
	}
	if err := d.w.WaitOwner(ctx, "web", s.owner); err != nil {
		return err
	}
	has := time.Now()
	if err := d.client.WaitAnswer(ctx, has, s.owner); err != nil {
		return err
	}
	if err := Pause(ctx, settle); err != nil {
		return err
	}
	if err := d.w.CheckOnlyAt(Floating4.Addr(), s.owner); err != nil {
		return err
	}
	if moved := d.movedSince(began); !s.moves && len(moved) > 0 {
		return fmt.Errorf("the address had to stay at %s, and was at %v", s.owner, moved[0].Nodes)
	}
	step := d.measure(s, began, time.Now())
	step.AtMs = ms(has.Sub(d.began))
	d.report.Steps = append(d.report.Steps, step)
	d.print.result(has.Sub(d.began), s.then, step)
	return nil
}

// movedSince returns the changes of who has the address on its card.
func (d *demo) movedSince(t time.Time) []Ownership {
	var moved []Ownership
	for _, c := range d.cards.Changes() {
		if c.At.After(t) {
			moved = append(moved, c)
		}
	}
	return moved
}

// measure compares what the client noticed with the promise.
func (d *demo) measure(s stage, from, to time.Time) DemoStep {
	gap, tally := d.client.LongestGap(from, to), d.client.Tally(from, to)
	step := DemoStep{Name: s.name, Text: s.text, Owner: s.owner, GapMs: ms(gap.Length()), Asked: tally.Asked, Lost: tally.Failed}
	if s.promise > 0 {
		step.PromiseMs = ms(s.promise)
		step.Kept = gap.Length() <= s.promise
	} else {
		step.Kept = tally.Failed == 0
	}
	return step
}
