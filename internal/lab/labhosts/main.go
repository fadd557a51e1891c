// Labhosts boots machines with a real systemd in a throw-away network, and gives a shell beside them, from where ssh
// reaches them. Everything ends with the shell. scripts/hosts.sh starts it.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/booted"
)

// bootWait bounds the first boot. Chosen by us.
const bootWait = time.Minute

func main() {
	names := flag.String("machines", "web1,web2,db1", "their names")
	lab.Reexec()
	flag.Parse()
	os.Exit(booted.Main(func() int {
		if !lab.Inside() {
			code, err := lab.Sandbox{Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}.Run(context.Background())
			if err != nil {
				fmt.Fprintln(os.Stderr, "hosts:", err)
			}
			return code
		}
		if err := run(strings.Split(*names, ","), flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "hosts:", err)
			return 1
		}
		return 0
	}))
}

// run boots the machines and stays until the shell ends. files are copied to where the shell starts.
func run(names, files []string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	w, err := lab.New(ctx, lab.Options{Nodes: names})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	booting, cancel := context.WithTimeout(ctx, bootWait)
	defer cancel()
	s, err := booted.New(booting, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, m := range s.Machines() { // so that one sees who answers
		if err := m.Write("/var/www/html/index.html", m.Name+"\n", 0o644); err != nil {
			return err
		}
	}
	l, err := s.Laptop()
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(l.Dir, filepath.Base(f)), b, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if err := servePower(ctx, s, l); err != nil {
		return err
	}
	return shell(ctx, s, l)
}

// servePower adds the command `power` to the laptop. Each use writes one line into a pipe, and waits for one in another.
func servePower(ctx context.Context, s *booted.Site, l *booted.Laptop) error {
	ask, answer := filepath.Join(s.Dir, "power"), filepath.Join(s.Dir, "power-done")
	script := fmt.Sprintf("#!/bin/sh\necho \"$*\" >%s\ncat %s\n", ask, answer)
	if err := errors.Join(syscall.Mkfifo(ask, 0o600), syscall.Mkfifo(answer, 0o600), l.AddCommand("power", script)); err != nil {
		return err
	}
	asked, err := os.OpenFile(ask, os.O_RDWR, 0) // for writing too: then it never ends
	if err != nil {
		return err
	}
	go func() {
		defer asked.Close()
		for lines := bufio.NewScanner(asked); lines.Scan(); {
			said := "done\n"
			if err := power(ctx, s, strings.Fields(lines.Text())); err != nil {
				said = err.Error() + "\n"
			}
			_ = os.WriteFile(answer, []byte(said), 0) // it has gone away
		}
	}()
	return nil
}

// power switches one machine, or all.
func power(ctx context.Context, s *booted.Site, words []string) error {
	if len(words) != 2 || words[0] != "on" && words[0] != "off" {
		return errors.New("power on|off MACHINE, or all")
	}
	found := false
	err := s.Each(func(m *booted.Machine) error {
		if words[1] != "all" && words[1] != m.Name {
			return nil
		}
		found = true
		if words[0] == "off" {
			return m.PowerOff()
		}
		ctx, cancel := context.WithTimeout(ctx, bootWait)
		defer cancel()
		return m.PowerOn(ctx)
	})
	if !found {
		return fmt.Errorf("no machine %s", words[1])
	}
	return err
}

func shell(ctx context.Context, s *booted.Site, l *booted.Laptop) error {
	// The keyboard belongs to the shell: Ctrl-C there must not end us. Caught, not ignored: an ignored signal would stay
	// ignored in every program that the shell starts.
	keyboard := make(chan os.Signal, 1)
	signal.Notify(keyboard, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(keyboard)

	var machines []string
	for _, m := range s.Machines() {
		machines = append(machines, fmt.Sprintf("%s %s", m.Name, m.Addr4.Addr()))
	}
	fmt.Fprintf(os.Stderr, `Booted: %s. %s is free for a floating address.

  ssh %s                  a shell there; /etc/hosts knows the others
  power off %s            a power cut (power on %s: back again)
  exit                      ends everything

`, strings.Join(machines, ", "), lab.Floating4.Addr(), s.Machines()[0].Name, s.Machines()[0].Name, s.Machines()[0].Name)
	cmd := l.Shell()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), cmd.Env...)
	if err := s.Client.Do(cmd.Start); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil // the exit code of a person's last command is not ours
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
