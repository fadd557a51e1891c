package lab_test

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"database/sql"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/go-sql-driver/mysql"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// start prepares and starts a service, or skips if it is not installed.
func start(t *testing.T, s *lab.Service, err error) *lab.Service {
	t.Helper()
	if errors.Is(err, exec.ErrNotFound) {
		labtest.Skip(t, err.Error())
	}
	if err == nil {
		err = s.Start(labtest.Within(t, patience))
	}
	if err != nil {
		t.Fatal(err)
	}
	if !s.Real || !strings.ContainsAny(s.Label, "0123456789") {
		t.Errorf("label %q, real %v: want the version of a real server", s.Label, s.Real)
	}
	return s
}

func TestWebServersSayTheNodesName(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	a := w.Node("a")
	tests := []struct {
		name string
		make func() (*lab.Service, error)
		path string
		want string
	}{
		{"apache", a.Apache, "/", "a"},
		{"nginx", func() (*lab.Service, error) { return a.Nginx("") }, "/", "a"},
		{"nginx with a configuration", func() (*lab.Service, error) {
			return a.Nginx("server { listen 80; return 200 mine; }")
		}, "/", "mine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := tt.make()
			start(t, s, err)
			ctx := labtest.Within(t, patience)
			probe, err := w.ProbeHTTP(ctx, lab.HTTPOptions{Target: netip.AddrPortFrom(a.Addr4.Addr(), 80), Path: tt.path})
			if err != nil {
				t.Fatal(err)
			}
			if err := probe.WaitAnswer(ctx, time.Now(), tt.want); err != nil {
				t.Error(err)
			}
			if err := s.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// What the apache check reads is there, for the machine itself only.
func TestApacheStatus(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	a := w.Node("a")
	s, err := a.Apache()
	start(t, s, err)
	page, err := get(t, a, "127.0.0.1:80", "/server-status?auto")
	if err != nil || !strings.Contains(page, "BusyWorkers:") || !strings.Contains(page, "Total Accesses:") {
		t.Errorf("status page: %v\n%s", err, page)
	}
	page, err = get(t, w.Client, a.Addr4.Addr().String()+":80", "/server-status?auto")
	if err != nil || !strings.Contains(page, "403 Forbidden") {
		t.Errorf("status page from outside: %v\n%s", err, page)
	}
}

func get(t *testing.T, from *lab.Node, addr, path string) (page string, err error) {
	t.Helper()
	err = from.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("GET " + path + " HTTP/1.0\r\n\r\n")); err != nil {
			return err
		}
		var b strings.Builder
		buf := make([]byte, 4096)
		for err == nil {
			var k int
			k, err = c.Read(buf)
			b.Write(buf[:k])
		}
		page = b.String()
		return nil
	})
	return page, err
}

func TestMemcached(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	a := w.Node("a")
	for _, s := range []*lab.Service{a.Memcached(), lab.BuiltinMemcached(a)} {
		t.Run(s.Label, func(t *testing.T) {
			ctx := labtest.Within(t, patience)
			if err := s.Start(ctx); err != nil {
				t.Fatal(err)
			}
			var got string
			err := a.Do(func() error {
				c := memcache.New("127.0.0.1:11211")
				c.MaxIdleConns = 1
				if err := c.Ping(); err != nil {
					return err
				}
				if err := c.Set(&memcache.Item{Key: "k", Value: []byte("v\r\nw")}); err != nil {
					return err
				}
				item, err := c.Get("k")
				if err != nil {
					return err
				}
				got = string(item.Value)
				if err := c.Delete("k"); err != nil {
					return err
				}
				if _, err = c.Get("k"); !errors.Is(err, memcache.ErrCacheMiss) {
					return errors.New("a deleted key is still there")
				}
				return nil
			})
			if err != nil || got != "v\r\nw" {
				t.Errorf("got %q, %v", got, err)
			}
			if err := s.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBuiltinWeb(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a"}})
	ctx := labtest.Within(t, patience)
	s := lab.BuiltinWeb(w.Node("a"))
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	probe, err := w.ProbeHTTP(ctx, lab.HTTPOptions{Target: netip.AddrPortFrom(w.Node("a").Addr4.Addr(), 80)})
	if err != nil {
		t.Fatal(err)
	}
	if err := probe.WaitAnswer(ctx, time.Now(), "a"); err != nil {
		t.Error(err)
	}
	if s.Real {
		t.Error("the stand-in calls itself real")
	}
}

func TestMariaDB(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a", "b"}})
	for _, n := range w.Nodes() { // the second copies the first one's template
		ctx := labtest.Within(t, time.Minute)
		m, err := n.MariaDB(ctx, lab.MariaDBOptions{Args: []string{"--server-id=7"}, SQL: []string{"CREATE DATABASE IF NOT EXISTS shop"}})
		if errors.Is(err, exec.ErrNotFound) {
			labtest.Skip(t, err.Error())
		}
		if err != nil {
			t.Fatal(err)
		}
		start(t, m.Service, nil)
		query(t, m.Socket)
		if err := m.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := m.Start(ctx); err != nil { // recovers, and the init file runs again
			t.Fatal(err)
		}
		query(t, m.Socket)
	}
}

func query(t *testing.T, socket string) {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.DBName = "root", "unix", socket, "shop"
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var id, users int
	err = db.QueryRowContext(labtest.Within(t, patience),
		"SELECT @@server_id, (SELECT COUNT(*) FROM mysql.user WHERE user = 'hbagent')").Scan(&id, &users)
	if err != nil || id != 7 || users != 1 {
		t.Errorf("server id %d, %d users, %v; want 7, 1", id, users, err)
	}
}
