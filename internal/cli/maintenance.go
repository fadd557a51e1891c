package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

func (a *app) maintenance() *cobra.Command {
	var req control.MaintenanceRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "maintenance on|off [--node NAME] [--reason TEXT]",
		Short: "Hand over, and stay off until told",
		Long: `"on" moves every group away from the node, and keeps it off until "off", over
restarts and reboots. Where a group has nowhere to go, nothing is done unless
--force is given. "off" moves nothing by itself; a group with failback = true
returns at once. Open connections are finished as in "switchover".

Ctrl-C does not stop what has begun: the agent goes on with it.

Exit codes: 0 done, 1 not done (the reason says why), 2 wrong usage.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"on", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			req.On = args[0] == "on"
			if !req.On && (req.Reason != "" || req.Force || req.Strict) {
				return usagef("--reason, --force and --strict belong to `maintenance on`")
			}
			return a.runMaintenance(cmd.Context(), req, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Node, "node", "", "the node (default: this one)")
	f.StringVar(&req.Reason, "reason", "", "shown in `hbagent status` on every node")
	f.BoolVar(&req.Force, "force", false, "even if a group is left without an owner")
	f.BoolVar(&req.Strict, "strict", false, "reset open connections instead of finishing them")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON (docs/cli-json.md)")
	a.completeFlag(cmd, "node", nodeNames)
	return cmd
}

func (a *app) runMaintenance(ctx context.Context, req control.MaintenanceRequest, asJSON bool) error {
	r, err := control.NewClient(a.runDir).Maintenance(ctx, req)
	if errors.Is(err, context.Canceled) {
		return errors.New("no longer watching; the agent goes on: `hbagent status` and `hbagent events` tell how it ends")
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(a.stdout, r, true)
	} else {
		_, err = fmt.Fprint(a.stdout, a.maintenanceText(r))
	}
	if err == nil && !r.Done {
		return exitCode(exitFailed)
	}
	return err
}

func (a *app) maintenanceText(r control.MaintenanceResult) string {
	var b strings.Builder
	for _, g := range r.Groups {
		b.WriteString(a.screen.paint(outcomeStyle(g.Outcome), clean(outcomeText(g))) + "\n")
	}
	line, st := "", uneasy
	switch {
	case !r.Done:
		state := "not in maintenance"
		if r.On {
			state = "still in maintenance as before"
		}
		line, st = fmt.Sprintf("%s is %s: %s", r.Node, state, r.Reason), bad
	case r.On:
		line = fmt.Sprintf("%s is in maintenance: %s; `hbagent maintenance off` ends it", r.Node, r.Reason)
	default:
		line, st = r.Node+" is not in maintenance", good
	}
	return b.String() + a.screen.paint(st, clean(line)) + "\n"
}
