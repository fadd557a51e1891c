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
	max    int
}

func (a *app) events() *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What happened, and why",
		Long: `Shows the history that this node has recorded, oldest first, with the reason for
each move.

  hbagent events --since 12h     the last night
  hbagent events --follow        the last hour, and what happens from now on

Times are local, in JSON with their zone.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.since < 0 {
				return usagef("--since is how long ago: %s is in the future", -o.since)
			}
			if o.follow && o.max != 0 {
				return usagef("--lines counts the past: it does not go with --follow (use --since)")
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
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, one event a line (docs/cli-json.md)")
	return cmd
}

func (a *app) showEvents(ctx context.Context, o eventsOptions) error {
	var since time.Time
	if o.since > 0 {
		since = a.now().Add(-o.since)
	}
	if !o.json {
		head := strings.TrimRight(fmt.Sprintf(eventLine, "TIME", "GROUP", "NODE", "EVENT", "WHAT AND WHY"), "\n")
		if _, err := fmt.Fprintln(a.stdout, a.screen.paint(faint, head)); err != nil {
			return err
		}
	}
	client := control.NewClient(a.runDir)
	if o.follow {
		err := client.Follow(ctx, since, func(e control.Event) error { return a.printEvent(e, o.json) })
		if errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how following ends
		}
		return err
	}
	events, err := client.Events(ctx, since, o.max)
	if err != nil {
		return err
	}
	for _, e := range events {
		if err := a.printEvent(e, o.json); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printEvent(e control.Event, asJSON bool) error {
	if asJSON {
		return a.printJSON(a.stdout, e, false)
	}
	_, err := fmt.Fprintf(a.stdout, eventLine, e.At.In(a.zone).Format(eventTime),
		orDash(clean(e.Group)), orDash(clean(e.Node)), clean(e.Kind), clean(eventText(e)))
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
