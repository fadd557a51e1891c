package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestDirect(t *testing.T) {
	t.Setenv("SECRET", "of the agent")
	dir := t.TempDir()
	s := Spec{Name: "t", File: "/etc/x.conf", Timeout: patience}
	for name, tt := range map[string]struct{ script, want string }{
		"succeeds":      {"echo fine", ""},
		"fails":         {"echo one; echo two >&2; exit 3", "sh: exit status 3: one\ntwo"},
		"says nothing":  {"exit 1", "sh: exit status 1"},
		"dies":          {"kill -9 $$", "sh: signal: killed"},
		"talks a lot":   {"head -c 100000 /dev/zero | tr '\\0' x; exit 1", "sh: exit status 1: " + strings.Repeat("x", maxOutput)},
		"binary":        {`printf 'a\377b'; exit 1`, "sh: exit status 1: a?b"},
		"clean":         {`[ -z "$SECRET" ] && [ "$LANG" = C.UTF-8 ] && [ "$PWD" = / ]`, ""},
		"placeholders":  {"test {{.Path}} = /etc/.x.conf.hbagent-new && test {{ .File }} = /etc/x.conf", ""},
		"leaves a pipe": {"sleep 30 & echo done", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := s
			s.Check = sh(tt.script)
			err := Direct{}.Run(t.Context(), s, Check)
			if got := fmt.Sprint(err); err == nil && tt.want != "" || err != nil && got != tt.want {
				t.Errorf("%.200q, want %.200q", got, tt.want)
			}
		})
	}
	t.Run("does not exist", func(t *testing.T) {
		s.Reload = []string{"/no/such/program"}
		if err := (Direct{}).Run(t.Context(), s, Reload); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		// Its child holds the pipe, and would outlive it.
		s.Timeout, s.Reload = 300*time.Millisecond, sh("echo $$ >"+dir+"/pid; echo on my way; sleep 600 & echo $! >"+dir+"/child; wait")
		err := Direct{}.Run(t.Context(), s, Reload)
		if err == nil || err.Error() != "sh: not done within 300ms, killed: on my way" {
			t.Error(err)
		}
		gone(t, filepath.Join(dir, "child"))
	})
	t.Run("the agent ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.Timeout = patience
		if err := (Direct{}).Run(ctx, s, Reload); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// gone waits until a process is: it is no child of ours, so that no event tells.
func gone(t *testing.T, pidFile string) {
	t.Helper()
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it lives on: %s", stat)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestArgv(t *testing.T) {
	for name, tt := range map[string]struct {
		check   []string
		inPlace bool
		want    string
	}{
		"alone":    {[]string{"/bin/haproxy", "-c", "-f", "{{.Path}}"}, false, "/bin/haproxy -c -f /etc/a/.x.conf.hbagent-new"},
		"in place": {[]string{"/bin/nginx", "-t"}, true, "/bin/nginx -t"},
		"the file": {[]string{"/bin/nginx", "-t", "{{.File}}"}, true, "/bin/nginx -t /etc/a/x.conf"},
		"spaces":   {[]string{"/bin/x", "a={{ .Path }},{{.File}}"}, false, "/bin/x a=/etc/a/.x.conf.hbagent-new,/etc/a/x.conf"},
		"none":     {nil, true, ""},
	} {
		s := Spec{File: "/etc/a/x.conf", Check: tt.check, Reload: []string{"/bin/r", "{{.Path}}"}}
		if got := strings.Join(s.argv(Check), " "); got != tt.want || s.inPlace() != tt.inPlace {
			t.Errorf("%s: %q, in place %v", name, got, s.inPlace())
		}
		if got := strings.Join(s.argv(Reload), " "); got != "/bin/r /etc/a/x.conf" {
			t.Errorf("%s: reload %q", name, got)
		}
	}
}

// rootServer is what systemd and Serve are together: each connection gets a process of its own.
func rootServer(t *testing.T, find func(string) (Spec, error)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = Serve(context.Background(), conn, find) }() // the other side is told
		}
	}()
	return socket
}

func TestAsRoot(t *testing.T) {
	dir := t.TempDir()
	const theirs = "exit 0" // what a hostile agent would like to run
	root := map[string]Spec{
		"good":   {Name: "good", AsRoot: true, Check: sh("echo looks at {{.Path}}; exit 1"), Reload: sh("exit 0"), File: "/etc/x.conf", Timeout: patience},
		"direct": {Name: "direct", Reload: sh(theirs), Timeout: patience},
		"hangs":  {Name: "hangs", AsRoot: true, Reload: sh("sleep 600 & echo $! >" + dir + "/child; wait"), Timeout: patience},
		"noisy":  {Name: "noisy", AsRoot: true, Reload: sh(`head -c 100000 /dev/zero | tr '\0' '\1'; exit 1`), Timeout: patience},
	}
	socket := rootServer(t, func(name string) (Spec, error) {
		s, ok := root[name]
		if !ok {
			return s, errors.New("no template " + name)
		}
		return s, nil
	})
	direct := &fakeCommands{}
	r := AsRoot{Socket: socket, Direct: direct}
	ask := func(ctx context.Context, name string, kind Kind) error {
		return r.Run(ctx, Spec{Name: name, AsRoot: true, Check: sh(theirs), Reload: sh(theirs), Timeout: patience}, kind)
	}
	for _, tt := range []struct {
		name string
		kind Kind
		want string // "": it succeeds
	}{
		{"good", Reload, ""},
		{"good", Check, "sh: exit status 1: looks at /etc/.x.conf.hbagent-new"},
		{"good", "shell", `template good has no command "shell" in the config that root reads`},
		{"hangs", Check, `template hangs has no command "check" in the config that root reads`},
		{"direct", Reload, "template direct does not say as_root = true in the config that root reads"},
		{"none", Reload, "no template none"},
		{"noisy", Reload, "sh: exit status 1: \x01*"},
	} {
		err := ask(t.Context(), tt.name, tt.kind)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if begin, cut := strings.CutSuffix(tt.want, "*"); got != tt.want && !(cut && strings.HasPrefix(got, begin)) {
			t.Errorf("%s of %s: %.200q, want %q", tt.kind, tt.name, got, tt.want)
		}
	}
	if got := direct.calls(); got != "" {
		t.Errorf("ran %q itself", got)
	}

	t.Run("the agent hangs up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- ask(ctx, "hangs", Reload) }()
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			if b, err := os.ReadFile(dir + "/child"); err == nil && len(b) > 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("root does not start the command")
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		gone(t, dir+"/child")
	})
	t.Run("not needed", func(t *testing.T) {
		r.IsRoot = true
		if err := ask(t.Context(), "good", Check); err != nil {
			t.Error(err)
		}
		r.IsRoot = false
		if err := r.Run(t.Context(), Spec{Name: "good", Reload: sh(theirs)}, Reload); err != nil {
			t.Error(err)
		}
		if got := direct.calls(); got != "check reload" {
			t.Errorf("ran %q itself, want both", got)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		r.Socket = filepath.Join(dir, "none")
		if err := ask(t.Context(), "good", Reload); err == nil || !strings.Contains(err.Error(), "systemctl enable --now hbagent-commands.socket") {
			t.Error(err)
		}
	})
	t.Run("no answer", func(t *testing.T) {
		l, err := net.Listen("unix", filepath.Join(dir, "deaf"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				c.Close()
			}
		}()
		r.Socket = filepath.Join(dir, "deaf")
		if err := ask(t.Context(), "good", Reload); err == nil || !strings.Contains(err.Error(), "no answer from ") {
			t.Error(err)
		}
	})
}

func TestOnlyRootMayWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hbagent.toml")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := OnlyRootMayWrite(path); err != nil {
			t.Error(err)
		}
	}
	for _, mode := range []os.FileMode{0o660, 0o642} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := OnlyRootMayWrite(path); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chmod(path, 0o640), os.Chown(path, 65534, 0)); err != nil {
			t.Fatal(err)
		}
		if err := OnlyRootMayWrite(path); err == nil {
			t.Error("a file of nobody's was accepted")
		}
	}
}

// Whatever the other side sends, one short answer comes back or the connection ends.
func FuzzServe(f *testing.F) {
	f.Add([]byte(`{"template":"t","command":"check"}` + "\n"))
	f.Add([]byte(strings.Repeat("x", 2*maxRequest)))
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- Serve(t.Context(), theirs, func(name string) (Spec, error) { return Spec{}, errors.New("no template " + name) })
		}()
		go func() { _, _ = ours.Write(append(b, '\n')) }()
		line, err := readLine(ours, maxAnswer)
		var a answer
		if err == nil && (json.Unmarshal(line, &a) != nil || a.Error == "") {
			t.Errorf("%q is answered by %q", b, line)
		}
		ours.Close()
		<-done
	})
}

func TestText(t *testing.T) {
	for _, tt := range []struct{ before, after, want string }{
		{"a\nb\n", "a\nc\n", "-b +c"},
		{"", "x\n y\n", "+x +y"},
		{"x\nx\n", "x\n", "-x"},
		{"a\nb\n", "b\na\n", ""},
	} {
		if got := difference(tt.before, tt.after); got != tt.want {
			t.Errorf("%q to %q: %q, want %q", tt.before, tt.after, got, tt.want)
		}
	}
	if got := oneLine("a\n\x1b[31m  b\tü"+strings.Repeat("é", 200), 20); got != "a [31m b üéé…" && len(got) > 20 {
		t.Errorf("%q", got)
	}
	if !alike("12:30 [emerg] 17#3", "12:31 [emerg] 9#1") || alike("a", "b") {
		t.Error("alike takes the wrong things for the same")
	}
}
