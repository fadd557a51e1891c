package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/role"
	"github.com/hbagent/hbagent/internal/role/mysql"
)

// cleanupLimit is how long a service that does not answer is asked to become read-only
// when nobody looks after it any more (chosen by us: systemd waits for it).
const cleanupLimit = 5 * time.Second

// roleMaker knows the roles that there are.
func roleMaker(cfg *config.Config, node string, log *slog.Logger) func(config.Group, role.Tell) (Role, error) {
	return func(g config.Group, tell role.Tell) (Role, error) {
		switch g.Role {
		case config.RoleMySQL:
			r, err := mysql.New(mysql.Options{
				Node: node, Nodes: addressesOf(cfg, g), DSNFile: g.MySQL.DSNFile, ReplicationDSNFile: g.MySQL.ReplicationDSNFile,
				MaxLag: g.MySQL.MaxLag, ApplyTimeout: g.MySQL.ApplyTimeout, DemoteTimeout: g.MySQL.DemoteTimeout, WaitForLast: g.MySQL.WaitForLast,
				Tell: tell, Logger: log.With("group", g.Name),
			})
			if err != nil {
				return nil, fmt.Errorf("group %s: %w", g.Name, err)
			}
			return r, nil
		}
		return nil, fmt.Errorf("group %s: this version does not know the role %q", g.Name, g.Role)
	}
}

func addressesOf(cfg *config.Config, g config.Group) map[string]netip.Addr {
	out := make(map[string]netip.Addr)
	for _, n := range cfg.Nodes {
		if slices.Contains(g.Nodes, n.Name) {
			out[n.Name] = n.Address
		}
	}
	return out
}

// DeactivateServices makes the services of this machine's groups read-only that no
// agent looks after any more; spare tells which it may resume. It returns the groups
// whose service it found and asked. `hbagent cleanup` calls it without an agent.
func DeactivateServices(o Options, spare func(group string) bool) (done []string, err error) {
	cfg, err := config.Load(o.ConfigFile)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	self, err := cfg.Self(o.Node, host, localAddrs())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
	defer cancel()
	make := roleMaker(cfg, self.Name, o.Logger)
	for _, g := range cfg.Groups {
		if g.Role == "" || spare(g.Name) || !slices.Contains(g.Nodes, self.Name) {
			continue
		}
		r, err := make(g, role.Tell{})
		if err == nil {
			err = r.Deactivate(ctx, "no agent looks after it")
		}
		if err != nil {
			return done, fmt.Errorf("the service of %s may still be writable: make it read-only by hand: %w", g.Name, err)
		}
		done = append(done, g.Name)
	}
	return done, nil
}

// A ServiceReport is what somebody should know of the service of a group with a role,
// before it matters.
type ServiceReport struct {
	Group    string
	Findings []ServiceFinding
	Err      error // it could not be asked
}

// ServiceFinding is one such thing.
type ServiceFinding struct {
	Severe bool   // something can be lost by it
	What   string // what is so
	Do     string // what to do about it
}

// ExamineServices asks the services of a node's groups with a role. It changes nothing,
// needs no running agent, and ends with ctx.
func ExamineServices(ctx context.Context, cfg *config.Config, node string) (out []ServiceReport) {
	make := roleMaker(cfg, node, slog.New(slog.DiscardHandler))
	for _, g := range cfg.Groups {
		if g.Role == "" || !slices.Contains(g.Nodes, node) {
			continue
		}
		report := ServiceReport{Group: g.Name}
		r, err := make(g, role.Tell{})
		if e, ok := r.(interface {
			Examine(context.Context) ([]mysql.Finding, error)
		}); err == nil && ok {
			var found []mysql.Finding
			found, err = e.Examine(ctx)
			for _, f := range found {
				report.Findings = append(report.Findings, ServiceFinding(f))
			}
		}
		report.Err = err
		out = append(out, report)
	}
	return out
}
