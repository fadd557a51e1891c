package e2e_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// An agent that cannot work says why and what to do, and ends before it has taken part in anything.
func TestAgentCannotStart(t *testing.T) {
	s := emptySite(t)
	web1 := s.Node("web1")
	good := s.config()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	// agentArgs are what StartAgent gives the agent of web1.
	agentArgs := []string{"agent", "-c", web1.ConfigFile(), "--node", "web1", "--run-dir", web1.RunDir(), "--state-dir", web1.StateDir()}

	tests := []struct {
		name    string
		edit    func(c *lab.Config)
		prepare func(t *testing.T)
		wrap    []string // a program in front
		args    []string
		code    int
		phrases []string
	}{
		{
			name: "no config", code: 78,
			args:    []string{"agent", "-c", "/nowhere/hbagent.toml", "--run-dir", web1.RunDir(), "--state-dir", web1.StateDir()},
			phrases: []string{"/nowhere/hbagent.toml", "no such file or directory"},
		}, {
			name: "broken config", code: 78,
			edit:    func(c *lab.Config) { c.Lease.TTL = "3" },
			phrases: []string{web1.ConfigFile() + ":", `ttl = "3"`, "a duration with a unit", "^"},
		}, {
			name: "no key file", code: 78,
			edit:    func(c *lab.Config) { c.Cluster.KeyFile = filepath.Join(dir, "none") },
			phrases: []string{filepath.Join(dir, "none"), "no such file or directory", "hbagent keygen -o"},
		}, {
			name: "key open to everyone", code: 78,
			edit:    func(c *lab.Config) { c.Cluster.KeyFile = key },
			prepare: func(t *testing.T) { must(t, os.WriteFile(key, []byte("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\n"), 0o604)) },
			phrases: []string{key, "open to everyone", "0604", "chmod 0640"},
		}, {
			name: "no key in the key file", code: 78,
			edit: func(c *lab.Config) { c.Cluster.KeyFile = key },
			prepare: func(t *testing.T) {
				must(t, os.WriteFile(key, []byte("hello\n"), 0o600))
				must(t, os.Chmod(key, 0o600))
			},
			phrases: []string{key + ":1: not a key in base64", "hbagent keygen"},
		}, {
			name: "unknown node", code: 1,
			args:    append(append([]string(nil), agentArgs...), "--node", "web9"),
			phrases: []string{"--node web9 is not in", web1.ConfigFile(), "web1 (10.77.0.11), web2 (10.77.0.12), db1 (10.77.0.13)"},
		}, {
			name: "somebody else's address", code: 1,
			args:    append(append([]string(nil), agentArgs...), "--node", "web2"),
			phrases: []string{"address 10.77.0.12 is not on this machine", "this machine has 10.77.0.11"},
		}, {
			name: "no such interface", code: 1,
			edit:    func(c *lab.Config) { c.Groups[0].Interface = "eth7" },
			phrases: []string{"group web", "no such interface", "eth7", "this machine has", "eth0"},
		}, {
			name: "port in use", code: 1,
			prepare: func(t *testing.T) {
				must(t, web1.Do(func() error {
					l, err := net.Listen("tcp", "10.77.0.11:7946")
					if err == nil {
						t.Cleanup(func() { l.Close() })
					}
					return err
				}))
			},
			phrases: []string{"TCP 10.77.0.11:7946", "ss -lntp", "address already in use"},
		}, {
			name: "no capabilities", code: 1,
			wrap:    []string{"setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all"},
			phrases: []string{"CAP_NET_ADMIN", "CAP_NET_RAW", "run as root, or add AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"},
		}, {
			name: "one capability", code: 1,
			wrap:    []string{"setpriv", "--bounding-set=-net_raw", "--inh-caps=-all"},
			phrases: []string{"missing capability: CAP_NET_RAW (to send and receive ARP"},
		}, {
			name: "unknown flag", code: 2,
			args:    append(append([]string(nil), agentArgs...), "--stat-dir", "/x"),
			phrases: []string{"unknown flag --stat-dir: did you mean --state-dir?"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			c.Groups = append([]lab.GroupConfig(nil), good.Groups...)
			if tt.edit != nil {
				tt.edit(&c)
			}
			must(t, s.WriteConfig(c))
			if tt.prepare != nil {
				tt.prepare(t)
			}
			args := tt.args
			if args == nil {
				args = agentArgs
			}
			cmd := exec.Command(labtest.Program(), args...)
			if len(tt.wrap) > 0 {
				if _, err := exec.LookPath(tt.wrap[0]); err != nil {
					labtest.Skip(t, "setpriv: apt install util-linux")
				}
				cmd = exec.Command(tt.wrap[0], append(append(tt.wrap[1:len(tt.wrap):len(tt.wrap)], labtest.Program()), args...)...)
			}
			run(t, web1, cmd).wants(t, tt.code, tt.phrases...)
			// Nothing is left in the way of the next one.
			must(t, s.CheckOnlyAt(floating4, ""))
			s.verb(t, "web1", "status").wants(t, 3, "unknown: no agent answers on "+filepath.Join(web1.RunDir(), "control.sock"), "is hbagent running?")
		})
	}
}

// Commands say when there is no agent, or when the user may not command it.
func TestCommandsRefused(t *testing.T) {
	s := newSite(t, nil)
	web1, db1 := s.Node("web1"), s.Node("db1")

	t.Run("second agent", func(t *testing.T) {
		s.stays(t, "web1", func(ctx context.Context) error {
			s.verb(t, "web1", "agent", "-c", web1.ConfigFile(), "--node", "web1", "--run-dir", web1.RunDir(), "--state-dir", web1.StateDir()).
				wants(t, 1, "another agent is running with run directory "+web1.RunDir(), "stop it first", "--run-dir")
			// In its own directories it finds the port taken.
			other := t.TempDir()
			s.verb(t, "web1", "agent", "-c", web1.ConfigFile(), "--node", "web1", "--run-dir", other, "--state-dir", other).
				wants(t, 1, "another agent or program has TCP 10.77.0.11:7946")
			return nil
		})
	})
	t.Run("another user", func(t *testing.T) {
		if !mapped(65534) {
			labtest.Skip(t, "root: an ordinary user's sandbox knows one user only")
		}
		asNobody := func(args ...string) said {
			cmd := exec.Command(labtest.Program(), args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			return run(t, web1, cmd)
		}
		asNobody("status").wants(t, 0, "all well", "web1")
		asNobody("status", "--json").wants(t, 0, `"cluster": "lab"`)
		asNobody("events").wants(t, 0, "web1")
		s.stays(t, "web1", func(context.Context) error {
			for _, args := range [][]string{{"switchover", "web", "--to", "web2"}, {"reload"}, {"check"}} {
				r := asNobody(args...)
				r.wants(t, 1, "user 65534 may not command the agent", "sudo")
			}
			return nil
		})
	})
	t.Run("no agent", func(t *testing.T) {
		must(t, db1.StopAgent(within(t)))
		where := filepath.Join(db1.RunDir(), "control.sock")
		s.verb(t, "db1", "status").wants(t, 3, "unknown: no agent answers on "+where, "systemctl status hbagent")
		r := s.verb(t, "db1", "status", "--json")
		r.wants(t, 3, "no agent answers on "+where)
		if r.stdout != "" {
			t.Errorf("status --json without an agent prints %q on stdout, want nothing there", r.stdout)
		}
		for _, args := range [][]string{{"switchover", "web"}, {"events"}, {"check"}, {"reload"}} {
			s.verb(t, "db1", args...).wants(t, 1, "no agent answers on "+where)
		}
		s.verb(t, "db1", "status", "--run-dir", web1.RunDir()).wants(t, 1, "web1") // asked of another node; db1 is down
	})
}

// mapped reports whether a program may run as this user here.
func mapped(uid uint32) bool {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd.Run() == nil
}
