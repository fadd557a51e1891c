package agent

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/metrics"
	"github.com/hbagent/hbagent/pkg/checks"
	"github.com/hbagent/hbagent/pkg/cluster"
	"github.com/hbagent/hbagent/pkg/lease"
	"github.com/hbagent/hbagent/pkg/vip"
)

// This file turns the config into what each package wants to know, once at the
// start and again at a reload.

func leaseConfig(cfg *config.Config, node string, run lease.RunID, state, last machineState, record *lease.Record) lease.Config {
	list := voterList{state.Voters, state.Generation} // which need not be that of the config
	return lease.Config{
		Cluster: cfg.Cluster.Name, Node: node, RunID: run, Nodes: nodeNames(cfg, list), Voters: list.voters, Generation: list.generation,
		TTL: cfg.Lease.TTL, Groups: groupNames(cfg), Incarnation: state.Incarnation, Record: record, LastTTL: last.TTL,
		Witness: witnessed(cfg, list), Rand: newRand(),
	}
}

func groupNames(cfg *config.Config) []string {
	var names []string
	for _, g := range cfg.Groups {
		names = append(names, g.Name)
	}
	return names
}

func clusterOptions(cfg *config.Config, a *agent) cluster.Options {
	o := membership(cfg, a.loop.node, a.loop.keys.now().ring.keys)
	o.RunID, o.Version, o.Handler, o.Logger = a.loop.runID(), a.opts.Version, a.peers, a.log
	for _, g := range cfg.Groups {
		for _, p := range g.Addresses {
			o.Forbidden = append(o.Forbidden, p.Addr())
		}
	}
	return o
}

// membership is who the nodes are, and how they speak with each other.
func membership(cfg *config.Config, node string, keys [][]byte) cluster.Options {
	o := cluster.Options{
		Cluster: cfg.Cluster.Name, Node: node, Port: cfg.Cluster.Port, Keys: keys, Insecure: cfg.Cluster.Insecure, TTL: cfg.Lease.TTL,
	}
	for _, n := range cfg.Nodes {
		o.Peers = append(o.Peers, cluster.Peer{Name: n.Name, Address: n.Address})
	}
	return o
}

// vipGroups are the groups whose addresses this node may have.
func vipGroups(cfg *config.Config, node string) []vip.Group {
	var out []vip.Group
	for _, g := range cfg.Groups {
		if slices.Contains(g.Nodes, node) {
			out = append(out, vip.Group{Name: g.Name, Interface: g.InterfaceOn(node), Addresses: g.Addresses})
		}
	}
	return out
}

// newGate is what ends a lease in the kernel, and what the lifetimes of addresses
// are for beside it.
func newGate(cfg *config.Config, log *slog.Logger, m *metrics.Set) (vip.Gate, vip.LifetimeRole, error) {
	if cfg.Lease.Gate == config.GateAddress {
		return vip.AddressGate{}, vip.Sole, nil
	}
	gate, err := vip.NewGate(vip.GateOptions{TTL: cfg.Lease.TTL, Logger: log})
	if err != nil {
		return nil, 0, err
	}
	return timedGate{gate, m}, vip.Backstop, nil
}

func checkSpecs(cfg *config.Config, node string) []checks.Spec {
	var specs []checks.Spec
	for _, c := range cfg.ChecksFor(node) {
		specs = append(specs, checks.Spec{
			Name: c.Name, Type: c.Type, URL: c.URL, Body: c.Body, Status: c.Status, Saturated: c.Saturated,
			MaxBusy: c.MaxBusy, MaxActive: c.MaxActive, MaxDropped: c.MaxDropped, MaxLag: c.MaxLag, MaxThreads: c.MaxThreads, ReadOnly: c.ReadOnly,
			Address: c.Address, DSNFile: c.DSNFile, Command: c.Command, Unit: c.Unit, Interface: c.Interface, Target: c.Target,
			Interval: c.Interval, Timeout: c.Timeout, Fall: c.Fall, Rise: c.Rise, Required: c.Required,
		})
	}
	return specs
}

// webHosts are the names by which a browser may ask for the status page.
func webHosts(cfg *config.Config) []string {
	hosts := slices.Clone(cfg.HTTP.Hosts)
	for _, n := range cfg.Nodes {
		hosts = append(hosts, strings.ToLower(n.Name))
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		hosts = append(hosts, strings.ToLower(host))
	}
	return hosts
}

// rememberClaims makes a resumed group look as it did before the restart, so
// that its hooks are not run again.
func (l *loop) rememberClaims() {
	now := l.now().Boot
	for _, name := range l.order {
		if v, _ := l.machine.Group(now, name); v.Phase == "confirming" {
			g := l.groups[name]
			g.told, g.epoch = control.StateActive, uint64(v.Epoch)
			g.lastOwner, g.ownerEpoch = l.node, uint64(v.Epoch)
		}
	}
}

// identity is the run id: that of the record if this node made it in this boot.
func identity(record *lease.Record, cfg *config.Config, node string) (lease.RunID, error) {
	if record != nil && record.Cluster == cfg.Cluster.Name && record.Node == node && record.RunID != 0 {
		return record.RunID, nil
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("run id: %w", err)
	}
	return lease.RunID(binary.BigEndian.Uint64(b[:]) | 1), nil
}

// resumes returns the groups whose addresses stay while the lease is asked for.
func resumes(record *lease.Record) func(string) bool {
	held := make(map[string]bool)
	if record != nil {
		for _, h := range record.Holds {
			held[h.Group] = true
		}
	}
	return func(group string) bool { return held[group] }
}

func localAddrs() []netip.Addr {
	var out []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

// A ConfigError is what starting again does not mend: the config file or the key
// file has to be edited first.
type ConfigError struct{ err error }

// Error is the message of what is wrong, with the file and the line.
func (e *ConfigError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong.
func (e *ConfigError) Unwrap() error { return e.err }

// configError makes a ConfigError, unless the disk is to blame: that may pass.
func configError(err error) error {
	if io := (*fs.PathError)(nil); errors.As(err, &io) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &ConfigError{err}
}

// loadConfig reads what an operator has written: the config, which of its nodes
// this is, and the keys.
func loadConfig(o Options) (cfg *config.Config, node string, keys [][]byte, err error) {
	if cfg, err = config.Load(o.ConfigFile); err != nil {
		return nil, "", nil, configError(err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, "", nil, fmt.Errorf("host name: %w", err)
	}
	self, err := cfg.Self(o.Node, host, localAddrs())
	if err != nil {
		return nil, "", nil, err // an address that the config names may still come
	}
	if !cfg.Cluster.Insecure {
		if keys, err = config.ReadKeys(cfg.Cluster.KeyFile); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				err = fmt.Errorf("%w; make one with `hbagent keygen -o %s` and copy it to every node", err, cfg.Cluster.KeyFile)
			}
			return nil, "", nil, configError(err)
		}
	}
	return cfg, self.Name, keys, nil
}
