package mysql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/role"
)

// blackHole accepts, reads, and never says anything.
func blackHole(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 512); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// loner is a role for a server at addr that may not be one.
func loner(t *testing.T, addr string, tell role.Tell) *Role {
	t.Helper()
	dir := t.TempDir()
	o := Options{
		Node: "db1", Nodes: map[string]netip.Addr{"db1": netip.MustParseAddr("127.0.0.1"), "db2": netip.MustParseAddr("127.0.0.1")},
		DSNFile: filepath.Join(dir, "mysql.dsn"), ReplicationDSNFile: filepath.Join(dir, "replication.dsn"), Every: 20 * time.Millisecond, Tell: tell,
	}
	writeFile(t, o.DSNFile, "hbagent:"+agentPassword+"@tcp("+addr+")/")
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	writeFile(t, o.ReplicationDSNFile, "repl:"+replicationPassword+"@tcp(:"+port+")/")
	r, err := New(o)
	must(t, err)
	t.Cleanup(r.server.close)
	return r
}

// steps are all that a role can be asked to do.
func steps(r *Role) map[string]func(context.Context) error {
	c, _ := claim(2)
	return map[string]func(context.Context) error{
		"Prepare":    func(ctx context.Context) error { return r.Prepare(ctx, c) },
		"Activate":   func(ctx context.Context) error { return r.Activate(ctx, c) },
		"Deactivate": func(ctx context.Context) error { return r.Deactivate(ctx, "test") },
		"CatchUp":    func(ctx context.Context) error { return r.CatchUp(ctx, "0-1-1") },
		"Examine":    func(ctx context.Context) error { _, err := r.Examine(ctx); return err },
		"HandOver": func(ctx context.Context) error {
			return r.HandOver(ctx, c, func(context.Context, string) error { return nil })
		},
	}
}

// returns calls f with a short time, and holds it to that.
func returns(t *testing.T, f func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("it does not return")
		return nil
	}
}

// A server that accepts and never answers, or a port where nobody is, delays nothing
// beyond the time that was given, and is down.
func TestServerThatNeverAnswers(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	refused := nobody.Addr().String()
	nobody.Close()
	for name, tt := range map[string]struct {
		addr, why string
	}{
		"black hole": {blackHole(t), "no answer in time"},
		"refused":    {refused, "cannot connect: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var last role.Observation
			r := loner(t, tt.addr, role.Tell{Observed: func(o role.Observation) { mu.Lock(); last = o; mu.Unlock() }})
			for step, f := range steps(r) {
				err := returns(t, f)
				if err == nil || !strings.Contains(err.Error(), tt.why) {
					t.Errorf("%s: %v, want %q", step, err, tt.why)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); _ = r.Run(ctx) }()
			soon(t, func() error {
				mu.Lock()
				defer mu.Unlock()
				if last.Down != tt.why {
					return fmt.Errorf("%+v", last)
				}
				return nil
			})
			mu.Lock()
			v := r.Judge(role.Situation{Node: "db1", Self: last, Owner: "db1", Now: time.Now()})
			mu.Unlock()
			if v.Eligible || !v.Failed || v.Reason != "the database server cannot be asked: "+tt.why {
				t.Errorf("%+v", v)
			}
			cancel()
			select {
			case <-ended:
			case <-time.After(patience):
				t.Error("Run does not end")
			}
		})
	}
}

// The same with a real server that hangs in the middle of everything; and it is well
// again when the server is.
func TestRealServerHangs(t *testing.T) {
	s := newSite(t, 1)
	db1 := s.nodes[0]
	db1.freeze()
	for step, f := range steps(db1.role) {
		if err := returns(t, f); !errors.Is(err, errNoAnswer) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want %v", step, err, errNoAnswer)
		}
	}
	db1.sees("that it hangs", func(o role.Observation) bool { return o.Down == errNoAnswer.Error() })
	db1.thaw()
	must(t, db1.role.Deactivate(t.Context(), "test"))
	db1.sees("that it is well", func(o role.Observation) bool { return o.Down == "" && !o.Writable })
	c, _ := claim(9)
	s.activate(0, c)
}

// A file that is not as it should be is refused with what to do, and nothing of it.
func TestDSNFiles(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"open to everyone": {"u:s3cret@tcp(127.0.0.1:3306)/", 0o644, "chmod 0640"},
		"no DSN":           {"u:s3cret", 0o600, "is not a DSN: write user:password@tcp("},
		"nearly a DSN":     {"u:s3cret@tcp(127.0.0.1:3306)", 0o600, "is not a DSN"},
		"empty":            {"\n", 0o600, "is not a DSN"},
		"no user":          {":s3cret@tcp(127.0.0.1:3306)/", 0o600, "names no user"},
		"a strange port":   {"u:s3cret@tcp(127.0.0.1:99999)/", 0o600, "has a port that is none"},
		"too long":         {strings.Repeat("s3cret", 1000), 0o600, "is longer than 4096 bytes"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		must(t, os.WriteFile(path, []byte(tt.text), 0o600))
		must(t, os.Chmod(path, tt.mode))
		_, err := readDSN(path)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q and no password", name, err, tt.want)
		}
	}
	if _, err := readDSN(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := New(Options{DSNFile: filepath.Join(dir, "none"), ReplicationDSNFile: dir}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	good := filepath.Join(dir, "good")
	for text, want := range map[string]int{"u@tcp(:3307)/": 3307, "u@unix(/run/s)/": 3306, "u@tcp(db)/": 3306, "u@/": 3306, "u@tcp([::1]:3308)/": 3308} {
		writeFile(t, good, text)
		if d, err := readDSN(good); err != nil || d.port != want {
			t.Errorf("%s: port %d, %v; want %d", text, d.port, err, want)
		}
	}
}
