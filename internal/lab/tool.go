package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// ErrReported is wrapped by an error that a tool has told in its own words already: it only makes the exit code 1.
var ErrReported = errors.New("reported")

// RunTool is main for a program that measures something in the lab, once it has called Reexec and read its flags: it
// starts the program again inside a sandbox, runs run there until it is done or interrupted, and exits.
func RunTool(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if !Inside() {
		code, err := Sandbox{Args: os.Args, Stdout: os.Stdout, Stderr: os.Stderr}.Run(ctx)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		}
		os.Exit(code)
	}
	err := run(ctx)
	if err != nil && !errors.Is(err, ErrReported) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	if err != nil {
		os.Exit(1)
	}
}
