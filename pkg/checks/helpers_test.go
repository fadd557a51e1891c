package checks

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is for things that take milliseconds on an idle machine.
const patience = 30 * time.Second

// skip skips a test that lacks something, or fails it where nothing may lack.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("HBAGENT_TEST_NO_SKIP") == "1" {
		t.Fatalf("HBAGENT_TEST_NO_SKIP=1 forbids to skip: "+format, args...)
	}
	t.Skipf(format, args...)
}

func mustNew(t *testing.T, s Spec) Checker {
	t.Helper()
	if s.Name == "" {
		s.Name = "test"
	}
	c, err := New(s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// probe runs c once, as the Runner does.
func probe(t *testing.T, c Checker, timeout time.Duration) Result {
	t.Helper()
	life, stop := context.WithCancel(t.Context())
	defer stop()
	p := &prober{checker: c, timeout: timeout, life: life, log: Options{}.withDefaults().Logger}
	f := p.join()
	select {
	case <-f.decided:
	case <-time.After(timeout + patience):
		t.Fatal("the probe was not decided")
	}
	stop()
	select {
	case <-f.returned:
	case <-time.After(patience):
		t.Error("Check goes on after its context has ended")
	}
	return f.result
}

// check asserts on a result. want is all of the message, or with a final "*" its
// beginning.
func check(t *testing.T, got Result, ok bool, want string) {
	t.Helper()
	matches := got.Message == want
	if begin, cut := strings.CutSuffix(want, "*"); cut {
		matches = strings.HasPrefix(got.Message, begin)
	}
	if got.OK != ok || !matches {
		t.Errorf("result: OK %v, message %q; want %v, %q", got.OK, got.Message, ok, want)
	}
	if len(got.Message) > maxMessage || got.Message != oneLine(got.Message) {
		t.Errorf("message %q is not one short printable line", got.Message)
	}
}

// serve is a server that hands each connection to talk and closes it afterwards.
func serve(t *testing.T, talk func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c)
			}()
		}
	}()
	return l.Addr().String()
}

// The bad servers that every network check has to survive.

// hang reads and never answers.
func hang(c net.Conn) {
	for b := make([]byte, 512); ; {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// endless sends text until the other side has had enough.
func endless(text string) func(net.Conn) {
	return func(c net.Conn) {
		go hang(c)
		for {
			if _, err := c.Write([]byte(text)); err != nil {
				return
			}
		}
	}
}

// drip sends text one byte at a time, slower than anybody would wait.
func drip(text string) func(net.Conn) {
	return func(c net.Conn) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			<-tick.C
		}
	}
}

// says answers the first read with text and hangs up.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 4096)
		_, _ = c.Read(b)
		_, _ = c.Write([]byte(text))
	}
}

// refused is an address where nobody listens.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// deaf is a listener that never accepts.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	write(t, path, "#!/bin/sh\n"+body+"\n", 0o755)
	return path
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// program finds a program that a real-service test needs.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"} {
		if path := filepath.Join(dir, name); exec.Command("test", "-x", path).Run() == nil {
			return path
		}
	}
	skip(t, "%s is missing: install the package %s", name, pkg)
	return ""
}

// start runs a service until the test ends, and waits until it is ready.
func start(t *testing.T, ready func() error, argv ...string) *exec.Cmd {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own, to end its children too; and no orphan if the test dies.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		defer out.Close()
		defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGCONT)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	if err := poll(ready, ended); err != nil {
		text, _ := os.ReadFile(out.Name())
		t.Fatalf("%s does not come up: %v\n%s", argv[0], err, text)
	}
	return cmd
}

// poll asks ready until it returns nil, there is no more hope, or patience ends;
// for services, which announce no event that a test could wait for.
func poll(ready func() error, hopeless <-chan struct{}) error {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return err
		case <-hopeless:
			return err
		}
	}
}

func soon(t *testing.T, ready func() error) {
	t.Helper()
	if err := poll(ready, nil); err != nil {
		t.Fatal(err)
	}
}

// answers makes a ready function out of a checker.
func answers(t *testing.T, c Checker) func() error {
	return func() error {
		if r := probe(t, c, patience); !r.OK {
			return fmt.Errorf("%s", r.Message)
		}
		return nil
	}
}
