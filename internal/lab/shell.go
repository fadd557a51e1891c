package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// shell leaves the site running and gives the caller a shell in the client's network namespace. It ends with
// the shell.
func (d *demo) shell(ctx context.Context) error {
	// The keyboard belongs to the shell: Ctrl-C there must not end us. Caught, not ignored: an ignored signal
	// would stay ignored in every program the shell starts.
	keyboard := make(chan os.Signal, 1)
	signal.Reset(syscall.SIGINT)
	signal.Notify(keyboard, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(keyboard)

	bin, err := d.linkSelf()
	if err != nil {
		return err
	}
	first := d.w.Nodes()[0]
	cmd := exec.CommandContext(ctx, cmp.Or(os.Getenv("SHELL"), "/bin/sh"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, d.o.Out, d.o.Err
	cmd.Env = append(first.environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	fmt.Fprint(d.o.Err, d.hints(first))
	if err := d.w.Client.Do(cmd.Start); err != nil {
		return fmt.Errorf("start the shell: %w", err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil // the exit code of a person's last command is not ours
	}
	return err
}

// linkSelf makes a directory with a program `hbagent` for the PATH: the one that runs here, even when its
// file lies under a directory that the sandbox hides.
func (d *demo) linkSelf() (string, error) {
	bin := filepath.Join(Root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	target := d.o.Self
	if target == "" {
		target = fmt.Sprintf("/proc/%d/exe", os.Getpid())
	}
	if err := os.Symlink(target, filepath.Join(bin, "hbagent")); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return bin, nil
}

func (d *demo) hints(first *Node) string {
	enter := "ip netns exec web2"
	if _, ok := lookProgram("ip"); !ok {
		enter = "nsenter --net=/run/netns/web2"
	}
	return fmt.Sprintf(`
The site goes on running. This shell is on the client.

  hbagent status                   the cluster, asked on %s
  hbagent events --follow          what happens
  curl http://%s/          who answers
  %s ip address
                                   a command on web2
  HBAGENT_RUN_DIR=%s
                                   hbagent commands go to web2 with this
  tail -f %s/*/agent.log
  exit                             ends everything

`, first.Name, d.report.Address, enter, d.w.Node("web2").RunDir(), d.w.Dir)
}
