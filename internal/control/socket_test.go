package control_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// patience is far more than anything here takes; it turns a hang into a failure.
const patience = 30 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestStatusComesThroughUnchanged(t *testing.T) {
	for name, make := range controltest.Cases {
		t.Run(name, func(t *testing.T) {
			dir := controltest.Serve(t, controltest.Agent{
				OnStatus: func(context.Context) (control.Status, error) { return make(), nil },
			})
			got, err := control.NewClient(dir).Status(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(make(), got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsKeepTheirClass(t *testing.T) {
	tests := []struct {
		err  error
		want *control.Error
	}{
		{control.Errorf(control.CodeNotFound, "no check %q", "apahce"), &control.Error{Code: control.CodeNotFound, Message: `no check "apahce"`}},
		{control.Errorf(control.CodeConflict, "busy"), &control.Error{Code: control.CodeConflict, Message: "busy"}},
		{errors.New("disk on fire"), &control.Error{Code: control.CodeInternal, Message: "disk on fire"}},
		{context.DeadlineExceeded, &control.Error{Code: control.CodeTimeout, Message: "the agent took too long: context deadline exceeded"}},
	}
	for _, tt := range tests {
		t.Run(string(tt.want.Code), func(t *testing.T) {
			dir := controltest.Serve(t, controltest.Agent{
				OnRunChecks: func(context.Context, string) ([]control.CheckRun, error) { return nil, tt.err },
			})
			_, err := control.NewClient(dir).RunChecks(testContext(t), "x")
			var got *control.Error
			if !errors.As(err, &got) {
				t.Fatalf("got %v (%T), want a *control.Error", err, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoAgent(t *testing.T) {
	t.Run("no socket", func(t *testing.T) {
		_, err := control.NewClient(t.TempDir()).Status(testContext(t))
		if !errors.Is(err, control.ErrNoAgent) {
			t.Errorf("got %v, want ErrNoAgent", err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		dir := t.TempDir()
		leaveStaleSocket(t, dir)
		_, err := control.NewClient(dir).Status(testContext(t))
		if !errors.Is(err, control.ErrNoAgent) {
			t.Errorf("got %v, want ErrNoAgent", err)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		dir := t.TempDir()
		l, err := net.Listen("unix", control.SocketPath(dir)) // the kernel accepts, nobody answers
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := control.NewClient(dir).Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's own deadline", err)
		}
	})
}

// leaveStaleSocket does what an agent does that is killed: the socket stays, nobody listens.
func leaveStaleSocket(t *testing.T, dir string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: control.SocketPath(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestListen(t *testing.T) {
	t.Run("removes the socket of a dead agent", func(t *testing.T) {
		dir := t.TempDir()
		leaveStaleSocket(t, dir)
		controltest.ServeIn(t, control.ServerOptions{RunDir: dir, Agent: controltest.Agent{}})
		if _, err := control.NewClient(dir).Status(testContext(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("leaves a living agent alone", func(t *testing.T) {
		dir := controltest.Serve(t, controltest.Agent{})
		if _, err := control.Listen(control.ServerOptions{RunDir: dir}); !errors.Is(err, control.ErrInUse) {
			t.Errorf("got %v, want ErrInUse", err)
		}
		if _, err := control.NewClient(dir).Status(testContext(t)); err != nil {
			t.Errorf("the first agent no longer answers: %v", err)
		}
	})
	t.Run("does not remove a file", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(control.SocketPath(dir), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := control.Listen(control.ServerOptions{RunDir: dir}); err == nil || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("got %v, want that it is not a socket", err)
		}
	})
	t.Run("names a path that is too long", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
		if _, err := control.Listen(control.ServerOptions{RunDir: dir}); err == nil || !strings.Contains(err.Error(), "shorter run directory") {
			t.Errorf("got %v, want that the path is too long", err)
		}
	})
	t.Run("is open to everybody, and gone after Run", func(t *testing.T) {
		dir := t.TempDir()
		stop := controltest.ServeIn(t, control.ServerOptions{RunDir: dir, Agent: controltest.Agent{}})
		fi, err := os.Stat(control.SocketPath(dir))
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != 0o666 {
			t.Errorf("mode %o, want 666", got)
		}
		stop()
		if _, err := os.Stat(control.SocketPath(dir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
}

// TestOneUserCannotTakeEverySlot opens connections until the server hangs up on one.
func TestOneUserCannotTakeEverySlot(t *testing.T) {
	dir := controltest.Serve(t, controltest.Agent{})
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	const more = 64 // than the limit
	refused := make(chan error, more)
	for range more {
		c, err := net.Dial("unix", control.SocketPath(dir))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		go func() {
			_, err := c.Read(make([]byte, 1))
			refused <- err
		}()
	}
	select {
	case <-refused: // before any timeout for idle callers
	case <-time.After(3 * time.Second):
		t.Fatalf("%d connections of one user are all accepted", more)
	}
	for _, c := range held {
		c.Close()
	}
	deadline := time.Now().Add(patience) // the server notices the hang-ups at its own pace
	for {
		_, err := control.NewClient(dir).Status(testContext(t))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("slots are not given back: %v", err)
		}
	}
}

func TestReloadPassesForce(t *testing.T) {
	want := control.ReloadResult{Changed: []string{"group web: hold 10s -> 20s"}, NeedsRestart: []string{}, Warnings: []string{}}
	dir := controltest.Serve(t, controltest.Agent{
		OnReload: func(_ context.Context, force bool) (control.ReloadResult, error) {
			if !force {
				return control.ReloadResult{}, errors.New("force got lost")
			}
			return want, nil
		},
	})
	got, err := control.NewClient(dir).Reload(testContext(t), true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reload (-want +got):\n%s", diff)
	}
}
