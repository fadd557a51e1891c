package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

// eventTime has milliseconds: what moved in a round trip is told apart by them.
const eventTime = "2006-01-02 15:04:05.000"

// eventLine has fixed columns, because with --follow the widths of what comes are not known.
const eventLine = "%-23s  %-8s  %-8s  %-12s  %s\n"

type eventsOptions struct {
	since  time.Duration
	follow bool
	json   bool
	all    bool
	max    int
	node   string
	local  bool
}

func (a *app) events() *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What happened, and why: the whole cluster, from any node",
		Long: `Shows what all nodes have recorded, oldest first, with the reason for each move.
A move is told once, by its new owner where that can be asked; --all adds what
the other nodes say of it. A node that does not answer is named on stderr.

  hbagent events --since 12h     the last night
  hbagent events --follow        the last hour, and what happens from now on
  hbagent events --node web2     only what web2 has recorded

Times are local, in JSON with their zone, and by the clock of the node that
recorded the event. Where clocks differ, lines are put in order all the same,
and stderr says how far they are apart.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.since < 0:
				return usagef("--since is how long ago: %s is in the future", -o.since)
			case o.max < 0:
				return usagef("--lines %d: it is how many, 1 or more", o.max)
			case o.follow && o.max != 0:
				return usagef("--lines counts the past: it does not go with --follow (use --since)")
			case o.local && o.node != "":
				return usagef("--local is this node's history, --node another one's: choose one")
			case o.json && o.all:
				return usagef("--json has what --all adds already")
			}
			if o.follow && o.since == 0 {
				o.since = time.Hour
			}
			return a.showEvents(cmd.Context(), o)
		},
	}
	cmd.Flags().DurationVar(&o.since, "since", 0, "only the last so much: 30m, 12h (default: everything)")
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what happens, until Ctrl-C")
	cmd.Flags().IntVarP(&o.max, "lines", "n", 0, "the newest so many (default 1000)")
	cmd.Flags().StringVar(&o.node, "node", "", "only what `NODE` has recorded")
	cmd.Flags().BoolVar(&o.local, "local", false, "only what this node has recorded; asks no other one")
	cmd.Flags().BoolVarP(&o.all, "all", "a", false, "show what other nodes say of the same move, too")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, one event a line (docs/cli-json.md)")
	a.completeFlag(cmd, "node", nodeNames)
	return cmd
}

func (a *app) showEvents(ctx context.Context, o eventsOptions) error {
	q := control.EventQuery{Max: o.max, Node: o.node, Cluster: o.node == "" && !o.local}
	if o.since > 0 {
		q.Since = a.now().Add(-o.since)
	}
	if !o.json {
		head := strings.TrimRight(fmt.Sprintf(eventLine, "TIME", "GROUP", "NODE", "EVENT", "WHAT AND WHY"), "\n")
		if _, err := fmt.Fprintln(a.stdout, a.screen.paint(faint, head)); err != nil {
			return err
		}
	}
	client := control.NewClient(a.runDir)
	if o.follow {
		err := client.Follow(ctx, q, a.tellSource, func(e control.Event) error { return a.printEvent(e, o) })
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how following ends
		}
		return err
	}
	h, err := client.History(ctx, q)
	if err != nil {
		return err
	}
	if (q.Cluster || q.Node != "") && len(h.Sources) == 0 {
		fmt.Fprintln(a.stderr, "hbagent: this node's agent is older than this program: this is its own history only")
	}
	for _, s := range h.Sources {
		if err := a.tellSource(s); err != nil {
			return err
		}
	}
	for _, e := range h.Events {
		if err := a.printEvent(e, o); err != nil {
			return err
		}
	}
	if o.node != "" && len(h.Sources) == 1 && h.Sources[0].Error != "" {
		return exitCode(exitFailed) // the one that was asked for is the one that is missing
	}
	return nil
}

// clockOff is how far a clock may be off before it is said (chosen by us: what a reader of lines with milliseconds
// stumbles over, and more than a machine with NTP ever shows).
const clockOff = 500 * time.Millisecond

// tellSource says what is missing, or hard to read, of a node's history.
func (a *app) tellSource(s control.EventSource) error {
	if s.Error != "" {
		fmt.Fprintf(a.stderr, "hbagent: nothing from %s, or not all: %s\n", clean(s.Node), clean(s.Error))
	}
	skew := time.Duration(s.SkewMs) * time.Millisecond
	if skew.Abs() >= clockOff {
		where := "ahead of"
		if skew < 0 {
			where = "behind"
		}
		fmt.Fprintf(a.stderr, "hbagent: the clock of %s is %s %s this node's; its lines have its own times\n",
			clean(s.Node), millis(float64(skew.Abs().Milliseconds())), where)
	}
	return nil
}

func (a *app) printEvent(e control.Event, o eventsOptions) error {
	if o.json {
		return a.printJSON(a.stdout, e, false)
	}
	_, err := fmt.Fprintf(a.stdout, eventLine, e.At.In(a.zone).Format(eventTime),
		orDash(clean(e.Group)), orDash(clean(e.Node)), clean(e.Kind), clean(eventText(e)))
	if !o.all {
		return err
	}
	for _, c := range e.Accounts {
		if err == nil {
			told := control.Event{From: c.From, To: e.To, Reason: c.Reason, Detail: c.Detail}
			_, err = fmt.Fprintf(a.stdout, eventLine, c.At.In(a.zone).Format(eventTime), "", clean(c.Node), "  as told", clean(eventText(told)))
		}
	}
	return err
}

// eventText is "web1 -> web2: web1 was not heard for 1s; detail", or, about
// something that is not a group, "web1 up: joined".
func eventText(e control.Event) string {
	var parts []string
	switch {
	case e.Subject != "" && e.From == "":
		parts = append(parts, strings.TrimSpace(e.Subject+" "+e.To))
	case e.Subject != "":
		parts = append(parts, fmt.Sprintf("%s %s -> %s", e.Subject, e.From, e.To))
	case e.From != "" || e.To != "":
		parts = append(parts, fmt.Sprintf("%s -> %s", orNobody(e.From), orNobody(e.To)))
	}
	if e.Reason != "" {
		parts = append(parts, e.Reason)
	}
	line := strings.Join(parts, ": ")
	switch {
	case e.Detail == "":
		return line
	case line == "":
		return e.Detail
	}
	return line + "; " + e.Detail
}

func orNobody(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}
