// Labrecord runs a command that measures something, and keeps what it printed, with where that comes from, so that the
// docs can have it word for word:
//
//	labrecord -name latency -- make latency
//
// It writes docs/benchmarks/data/NAME.txt, when the command has succeeded, and then brings every page up to date that is
// made of such files. Without a command it does the latter alone. It is run at the root of the repository.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
)

// leave is how long a command may take to end after it was told to. Chosen by us: a lab takes its machines down.
const leave = 30 * time.Second

func main() {
	name := flag.String("name", "", "of the file to write, without .txt")
	tests := flag.Bool("go-test", false, "the command is `go test -v`: keep what the tests say, and not that they pass")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name, *tests, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "labrecord: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, tests bool, command []string) error {
	if (name == "") != (len(command) == 0) {
		return errors.New("-name and a command go together; see go doc ./internal/lab/labrecord")
	}
	if len(command) > 0 {
		r, err := record(ctx, name, command)
		if err != nil {
			return err
		}
		if tests {
			r.Output = testOutput(r.Output)
		}
		if err := bench.WriteRecord(bench.DataDir, r); err != nil {
			return err
		}
	}
	return bench.Report(".")
}

// record runs a command, whose output it also shows.
func record(ctx context.Context, name string, command []string) (bench.Record, error) {
	commit, err := commit(ctx)
	if err != nil {
		return bench.Record{}, err
	}
	machine := bench.ThisMachine()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, &output), os.Stderr
	// The whole family of the command is told to end, and given time for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = leave
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return bench.Record{}, fmt.Errorf("%s: %w; nothing is recorded", strings.Join(command, " "), err)
	}
	return bench.Record{
		Name: name, Command: typed(command), Began: began.UTC().Truncate(time.Second),
		Seconds: time.Since(began).Round(100 * time.Millisecond).Seconds(), Commit: commit,
		Machine: machine.Told(), LoadBefore: machine.LoadBefore, LoadAfter: bench.Load(), Output: output.String(),
	}, nil
}

// typed is a command as one types it in a shell.
func typed(command []string) string {
	words := slices.Clone(command)
	for i, w := range words {
		if strings.ContainsAny(w, "|&;<>()$`\\\"* ?[]#~") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// commit names the source that is measured. What was recorded a moment ago makes no other source of it.
func commit(ctx context.Context) (string, error) {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", args...).Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	head, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	changed, err := git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!*.md")
	if err != nil {
		return "", err
	}
	if changed != "" {
		head += "-dirty"
	}
	return head, nil
}
