package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// drainPoll lies between two looks at a drain (chosen by us: the agents count twice a second).
const (
	drainPoll = 500 * time.Millisecond
	// drainUnseen is how often the old owner may be found not draining before it is believed that the drain
	// is over already: news of it takes a moment.
	drainUnseen = 4
)

// watchDrain waits until the old owner has finished its connections, and shows the count going down. An
// agent that cannot be asked for a moment is asked again: the drain does not depend on who watches.
func (a *app) watchDrain(ctx context.Context, r control.SwitchoverResult, quiet bool) error {
	client := control.NewClient(a.runDir)
	last := ""
	show := func(mark string, st style, line string) {
		if !quiet && line != last {
			fmt.Fprintf(a.stdout, "%s  %s\n", a.screen.paint(st, mark), clean(line))
			last = line
		}
	}
	tick := a.tick(drainPoll)
	for seen, unseen := false, 0; ; {
		s, err := client.Status(ctx)
		if ctx.Err() != nil {
			return a.stillDraining(r)
		}
		if err == nil {
			g, ok := drainOf(s, r.Group, r.From)
			switch {
			case ok && g.Draining != nil:
				seen = true
				show("..", faint, drainText(r.From, *g.Draining))
			case seen && ok:
				show("ok", good, fmt.Sprintf("%s: %s", r.From, orDash(g.Reason)))
				return nil
			case seen:
				show("no", bad, r.From+" is down; what was open there is lost")
				return nil
			default:
				if unseen++; unseen >= drainUnseen {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return a.stillDraining(r)
		case <-tick:
		}
	}
}

func (a *app) stillDraining(r control.SwitchoverResult) error {
	return fmt.Errorf("no longer watching; %s has %s, and %s goes on finishing its open connections: `hbagent status %s` shows how many are left",
		r.To, r.Group, r.From, r.Group)
}

func drainOf(s control.Status, group, node string) (control.NodeGroup, bool) {
	for _, n := range s.Nodes {
		if n.Name == node && n.Alive {
			g, ok := n.Groups[group]
			return g, ok
		}
	}
	return control.NodeGroup{}, false
}

func drainText(node string, d control.Draining) string {
	left := (time.Duration(d.LeftMs) * time.Millisecond).Round(time.Second)
	if d.Connections < 0 {
		return fmt.Sprintf("%s finishes its open connections, for %v at most", node, left)
	}
	if d.Connections == 0 {
		return node + " has no connection left, and waits a moment for clients that still come"
	}
	return fmt.Sprintf("%s finishes %s, for %v at most", node, count(d.Connections, "connection"), left)
}
