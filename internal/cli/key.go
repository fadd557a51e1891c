package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
)

func (a *app) key() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key COMMAND",
		Short: "The key between the nodes: who has which, and a new one for all",
		Long: `The nodes encrypt what they tell each other with a key (hbagent keygen makes the
first one). Keys are named by fingerprints, never shown.

  hbagent key status    which keys each node has, and whether they agree
  hbagent key rotate    a new key on every node; moves nothing, loses nothing
  hbagent key write     put what a rotation has brought into the key file`,
	}
	cmd.AddCommand(a.keyStatus(), a.keyRotate(), a.keyWrite())
	return needsVerb(cmd)
}

func (a *app) keyStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Which keys each node has, and whether they agree",
		Long: `Shows by fingerprints with which key each node encrypts, which others it
understands, and with which key this node hears it.

Exit codes: 0 every node has the same one key, 1 they differ, one has told
nothing, or a rotation is half done; 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := control.NewClient(a.runDir).KeyStatus(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(a.stdout, s, true)
			} else {
				err = a.writeKeyStatus(s)
			}
			if err == nil && !s.Agree {
				return exitCode(exitFailed)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON (docs/cli-json.md)")
	return cmd
}

func (a *app) writeKeyStatus(s control.KeyStatus) error {
	p := &page{w: a.stdout, screen: a.screen}
	switch {
	case !s.Encrypted:
		p.wrapped("", bad, "not encrypted: [cluster] insecure is set, there are no keys")
		return p.err
	case s.Agree:
		p.wrapped("", good, "all well: every node has the same key, and no other")
	default:
		p.wrapped("", uneasy, "the nodes do not have the same one key")
	}
	for _, w := range s.Warnings {
		p.wrapped("warning: ", uneasy, w)
	}
	p.line("")
	t := &table{head: []string{"NODE", "ENCRYPTS", "UNDERSTANDS, TOO", "HEARD WITH", "ROTATION", "KEPT IN"}}
	for _, n := range s.Nodes {
		t.add(keyCells(s, n)...)
	}
	if p.err == nil {
		p.err = t.write(p.w, p.screen, 0)
	}
	return p.err
}

func keyCells(s control.KeyStatus, n control.KeyNode) []cell {
	name := n.Node
	if !n.Alive {
		name += " (down)"
	}
	heard := text(orDash(n.HeardWith))
	switch {
	case n.Node == s.Node:
		heard = text("-")
	case n.Unreadable > 0 && (n.HeardWith == "" || !n.Alive):
		heard = styled(bad, fmt.Sprintf("none of ours (%d)", n.Unreadable))
	}
	if n.Keys == nil {
		return []cell{text(name), text("not told"), text("-"), heard, text("-"), text("-")}
	}
	rotation, kept := text("-"), "key file"
	if n.Keys.Rotating != "" {
		rotation = styled(uneasy, fmt.Sprintf("to %s, stage %d of 3", n.Keys.Rotating, n.Keys.Stage))
	}
	if n.Keys.Learnt {
		kept = "state directory"
	}
	return []cell{text(name), text(n.Keys.First), text(orDash(strings.Join(n.Keys.Others, ", "))), heard, rotation, text(kept)}
}

func (a *app) keyRotate() *cobra.Command {
	var req control.KeyRotateRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Give every node a new key",
		Long: `Makes a new key and brings it to every node over the encrypted channel between
them, in three stages: every node understands it; every node encrypts with it; no
node understands another one. Nothing moves, and no message is lost.

Every node must be up. What is interrupted, by Ctrl-C, a crash or a reboot,
leaves nodes that understand each other: the same command, on any node, goes on.
One that stays down can be left out with --without, and needs the key by hand
when it comes back.

Each node keeps the new key in its state directory, since the agent may not write
the key file: "hbagent key write", as root on each machine, puts it there.

Exit codes: 0 every node has the new key and no other, 1 not (the reason says
why and what to do), 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.Abort && len(req.Without) > 0 {
				return usagef("--abort asks every node: it does not go with --without")
			}
			return a.runKeyRotate(cmd.Context(), req, asJSON)
		},
	}
	cmd.Flags().StringArrayVar(&req.Without, "without", nil, "leave out `NODE`, which is down; may be repeated")
	cmd.Flags().BoolVar(&req.Abort, "abort", false, "give up a rotation that has not gone beyond stage 1")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON (docs/cli-json.md)")
	a.completeFlag(cmd, "without", nodeNames)
	return cmd
}

func (a *app) runKeyRotate(ctx context.Context, req control.KeyRotateRequest, asJSON bool) error {
	progress := a.printStep
	if asJSON {
		progress = nil
	}
	r, err := control.NewClient(a.runDir).KeyRotate(ctx, req, progress)
	if errors.Is(err, context.Canceled) {
		return errors.New("no longer watching; the agent goes on with the rotation: `hbagent key status` tells how it ends")
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(a.stdout, r, true)
	} else {
		_, err = fmt.Fprintln(a.stdout, a.screen.paint(keyOutcomeStyle(r.Outcome), clean(keyOutcomeText(r))))
	}
	if err == nil && r.Outcome != control.KeyRotated && r.Outcome != control.KeyAborted {
		return exitCode(exitFailed)
	}
	return err
}

func keyOutcomeStyle(o control.KeyOutcome) style {
	switch o {
	case control.KeyRotated, control.KeyAborted:
		return good
	case control.KeyWaiting:
		return uneasy
	}
	return bad
}

func keyOutcomeText(r control.KeyRotation) string {
	switch r.Outcome {
	case control.KeyRotated:
		s := fmt.Sprintf("rotated: key %s is the only one; each node keeps it in its state directory, `hbagent key write` on each machine puts it into the key file", r.Key)
		if len(r.Without) > 0 {
			s += fmt.Sprintf("; %s was left out and needs it by hand: docs/keys.md", strings.Join(r.Without, ", "))
		}
		return s
	case control.KeyAborted:
		return "given up: key " + r.Key + " is forgotten, everything is as before"
	case control.KeyWaiting:
		return fmt.Sprintf("half done, and every node still understands the others (stage %d of 3 is complete): %s; `hbagent key rotate` goes on, on any node", r.Stage, r.Reason)
	case control.KeyRefused:
		return "refused, nothing has changed: " + r.Reason
	}
	return fmt.Sprintf("ended as %q, which this version does not know: %s", r.Outcome, r.Reason)
}

func (a *app) keyWrite() *cobra.Command {
	var file, stateDir string
	cmd := &cobra.Command{
		Use:   "write",
		Short: "Put what a rotation has brought into the key file",
		Long: `Writes the keys that a rotation has brought to this machine into the key file
that the config names, with the owner and mode that it has, and lets the agent
read it. Needed before the file is copied to another machine. It needs root; the
agent may run or not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.writeKeyFile(cmd.Context(), file, stateDir) },
	}
	cmd.Flags().StringVarP(&file, "config", "c", defaultConfig, "config file")
	cmd.Flags().StringVar(&stateDir, "state-dir", defaultStateDir, "directory of what outlives a boot")
	return cmd
}

func (a *app) writeKeyFile(ctx context.Context, file, stateDir string) error {
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	if cfg.Cluster.KeyFile == "" {
		return errors.New("[cluster] insecure is set: there is no key file")
	}
	lines, print, err := agent.LearntKeys(stateDir, cfg.Cluster.KeyFile)
	switch {
	case err != nil:
		return err
	case lines == "":
		_, err := fmt.Fprintf(a.stdout, "%s is what counts already: nothing to write\n", cfg.Cluster.KeyFile)
		return err
	}
	head := fmt.Sprintf("# written by `hbagent key write` on %s; key %s encrypts\n", a.now().UTC().Format(time.DateOnly), print)
	if err := config.ReplaceKeyFile(cfg.Cluster.KeyFile, head+lines); err != nil {
		return fmt.Errorf("write %s: %w", cfg.Cluster.KeyFile, err)
	}
	if _, err := fmt.Fprintf(a.stdout, "%s has key %s now\n", cfg.Cluster.KeyFile, print); err != nil {
		return err
	}
	r, err := control.NewClient(a.runDir).Reload(ctx, false)
	switch {
	case errors.Is(err, control.ErrNoAgent):
		return nil
	case err != nil:
		return fmt.Errorf("the agent was not told: %w; `hbagent reload` does that", err)
	case len(r.NeedsRestart) > 0: // it keeps the key that it has: the same one
		return fmt.Errorf("the agent has not read it: %s was edited, and needs a restart (%s)", file, strings.Join(r.NeedsRestart, ", "))
	}
	return nil
}
