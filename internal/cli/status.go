package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

// redraw is how often --watch asks.
const redraw = time.Second

type statusOptions struct {
	group   string
	json    bool
	watch   bool
	verbose bool
}

func (a *app) status() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status [GROUP]",
		Short: "Who owns what, and why: the whole cluster, from any node",
		Long: `Shows the whole cluster as this node sees it, or one group in detail.

The first line is the verdict. The exit code is that of a monitoring plugin:
  0  all well
  1  degraded: a node is down or in maintenance, a check fails, a config
     differs, or this node does not hear every voter
  2  a group has no owner (with GROUP: that group)
  3  the agent cannot be asked, or wrong usage`,
		Args:              cobra.MaximumNArgs(1),
		Annotations:       map[string]string{annotationPlugin: "yes"},
		ValidArgsFunction: a.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.group = args[0]
			}
			if o.watch {
				return a.watchStatus(cmd.Context(), o)
			}
			code, err := a.showStatus(cmd.Context(), a.stdout, o)
			if err != nil {
				return err
			}
			if code != control.SeverityOK {
				return exitCode(code)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON (docs/cli-json.md)")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "show it again every second, until Ctrl-C")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "show checks that pass, too")
	return cmd
}

// watchStatus shows the status over and over. An agent that goes away is shown like anything else.
func (a *app) watchStatus(ctx context.Context, o statusOptions) error {
	tick := a.tick(redraw)
	for {
		var page strings.Builder // written at once, so that the screen does not flicker
		if a.screen.terminal && !o.json {
			page.WriteString(clearScreen)
		}
		if _, err := a.showStatus(ctx, &page, o); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if !a.screen.terminal && !o.json {
			page.WriteByte('\n')
		}
		if _, err := io.WriteString(a.stdout, page.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}

// showStatus asks and prints. That the agent cannot be asked is a result, not an error: for a person
// and a monitor it is the first line, for a program it goes to stderr and stdout stays empty.
func (a *app) showStatus(ctx context.Context, w io.Writer, o statusOptions) (control.Severity, error) {
	s, err := control.NewClient(a.runDir).Status(ctx)
	if err == nil && o.group != "" {
		s, err = onlyGroup(s, o.group)
	}
	switch {
	case err != nil && o.json:
		fmt.Fprintf(a.stderr, "hbagent: %v\n", err)
		return control.SeverityUnknown, nil
	case err != nil:
		_, werr := fmt.Fprintf(w, "%s: %v\n", a.screen.paint(bad, control.SeverityUnknown.String()), err)
		return control.SeverityUnknown, werr
	case o.json:
		return s.Severity(), a.printJSON(w, s, !o.watch)
	case o.group != "":
		return s.Severity(), a.writeGroupStatus(w, s)
	}
	return s.Severity(), a.writeStatus(w, s, o.verbose)
}

// onlyGroup leaves one group in the status, and so in its verdict.
func onlyGroup(s control.Status, name string) (control.Status, error) {
	i := slices.IndexFunc(s.Groups, func(g control.Group) bool { return g.Name == name })
	if i < 0 {
		return s, noSuchGroup(s, name)
	}
	s.Groups = s.Groups[i : i+1]
	return s, nil
}

func noSuchGroup(s control.Status, name string) error {
	names := groupNames(s)
	if len(names) == 0 {
		return control.Errorf(control.CodeNotFound, "no group %q: the config has none", name)
	}
	return control.Errorf(control.CodeNotFound, "no group %q: there is %s", name, strings.Join(names, ", "))
}

func groupNames(s control.Status) []string {
	names := make([]string, len(s.Groups))
	for i, g := range s.Groups {
		names[i] = g.Name
	}
	return names
}

// printJSON writes one value: indented for whoever looks, or on one line where more follow.
func (a *app) printJSON(w io.Writer, v any, indent bool) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if indent {
		enc.SetIndent("", "  ")
	}
	return enc.Encode(v)
}
