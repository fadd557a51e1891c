// Package cli is the command line: one file a verb, each of them thin. What a command prints on stdout
// is its result; everything else goes to stderr. Text is for people, `--json` is for programs and
// documented in docs/cli-json.md.
//
// Exit codes are 0 (done), 1 (failed) and 2 (wrong usage), except for `status` and `doctor`, whose 0 to 3 are
// those of the Monitoring Plugins, so that they can be used as one.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hbagent/hbagent/internal/control"
)

// Given by a specification: the exit codes of `status` are control.Severity; 2 for wrong usage is the
// custom of shells.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78 // EX_CONFIG of sysexits.h: "agent" only; hbagent.service does not start it again
)

// Where things are, unless told otherwise.
const (
	defaultConfig   = "/etc/hbagent/hbagent.toml"
	defaultRunDir   = "/run/hbagent"
	defaultStateDir = "/var/lib/hbagent"
	envRunDir       = "HBAGENT_RUN_DIR"
)

// Main runs one command and returns the exit code of the process. SIGINT and SIGTERM end the command's
// context, and the command ends by itself.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{
		stdin: stdin, stdout: stdout, stderr: stderr,
		getenv: os.Getenv, now: time.Now, zone: time.Local, screen: screenOf(stdout, os.Getenv),
		tick:      time.Tick,
		neighbors: realNeighbors(),
	}
	return a.run(ctx, args)
}

// app is what the verbs share: the outside world, replaceable in tests, and the global flags.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	zone           *time.Location
	screen         screen
	tick           func(time.Duration) <-chan time.Time // of --watch
	neighbors      neighbors

	runDir  string // global flag
	running bool   // the arguments were understood; errors from here on are not wrong usage
}

// run is Main without the process around it.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(append([]string{}, args...)) // never nil: cobra would take those of the process
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var silent exitCode
	if errors.As(err, &silent) {
		return int(silent)
	}
	fmt.Fprintf(a.stderr, "hbagent: %v\n", err)
	var wrong *usageError
	if a.running && !errors.As(err, &wrong) {
		return exitFailed
	}
	fmt.Fprintf(a.stderr, "usage: %s\n       %s --help says more\n", cmd.UseLine(), cmd.CommandPath())
	if cmd.Annotations[annotationPlugin] != "" {
		return int(control.SeverityUnknown)
	}
	return exitUsage
}

// annotationPlugin marks a verb whose wrong usage is 3, as monitors expect (2 would be an alarm).
const annotationPlugin = "plugin"

// exitCode ends a command that has said everything already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is wrong usage that shows only after the arguments were parsed.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

const (
	groupLook  = "look"
	groupAct   = "act"
	groupSetUp = "setup"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "hbagent COMMAND",
		Short: "Floating IP addresses, agreed by majority",
		Long: `hbagent keeps floating IP addresses on one healthy machine of a few, agreed by majority.

  hbagent status            who owns what, and why
  hbagent events            what happened, and why
  hbagent plan              what would happen, without doing it
  hbagent switchover GROUP  move a group now
  hbagent doctor            what is wrong here, and what to do
  hbagent demo              see it work, on this machine, harming nothing

Every command finds the agent by --run-dir or $` + envRunDir + `.

Exit codes: 0 done, 1 failed, 2 wrong usage; "status" and "doctor" have their own.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRun:  func(*cobra.Command, []string) { a.running = true },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	runDir := a.getenv(envRunDir)
	if runDir == "" {
		runDir = defaultRunDir
	}
	root.PersistentFlags().StringVar(&a.runDir, "run-dir", runDir, "`DIR` of the agent's socket")
	root.SetFlagErrorFunc(suggestFlag)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages", fmt.Sprintf("Flags.FlagUsagesWrapped %d", defaultWidth)))
	root.AddGroup(
		&cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupAct, Title: "Act:"},
		&cobra.Group{ID: groupSetUp, Title: "Set up:"})
	addAll(root, groupLook, a.status(), a.plan(), a.events(), a.check(), a.template(), a.doctor())
	addAll(root, groupAct, a.switchover(), a.maintenance(), a.key(), a.reload(), a.cleanup())
	addAll(root, groupSetUp, a.init(), a.agent(), a.config(), a.keygen(), a.demo())
	addAll(root, "", a.version(), a.completion(), a.man(), a.templateCommands())
	return needsVerb(root)
}

func addAll(root *cobra.Command, group string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// needsVerb makes a command that only groups others refuse what it does not know. By itself cobra
// prints the help and succeeds, which a script would not notice.
func needsVerb(c *cobra.Command) *cobra.Command {
	c.DisableFlagsInUseLine = true
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.SetOut(cmd.ErrOrStderr())
			if err := cmd.Help(); err != nil {
				return err
			}
			return exitCode(exitUsage)
		}
		cmd.SuggestionsMinimumDistance = 2
		return usagef("unknown command %q%s", args[0], didYouMean(cmd.SuggestionsFor(args[0])))
	}
	return c
}

func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(names, " or ") + "?"
}

// suggestFlag adds the flag that was meant. cobra measures distances between commands only, so the
// flags are dressed as commands for it.
func suggestFlag(cmd *cobra.Command, err error) error {
	typed, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return &usageError{err.Error()}
	}
	dressed := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, name := range flagNames(cmd) {
		dressed.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	names := dressed.SuggestionsFor(typed)
	for i := range names {
		names[i] = "--" + names[i]
	}
	return usagef("unknown flag --%s%s", typed, didYouMean(names))
}

// flagNames lists the flags a command knows, its own and the global ones.
func flagNames(cmd *cobra.Command) []string {
	var names []string
	add := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return names
}
