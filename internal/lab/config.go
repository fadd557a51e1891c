package lab

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"github.com/BurntSushi/toml"
)

// Config is a config file of hbagent, as text: nothing is checked here, so that tests can write
// what is wrong too. The keys are explained in the reference of internal/config.
type Config struct {
	Cluster ClusterConfig `toml:"cluster"`
	Lease   LeaseConfig   `toml:"lease"`
	HTTP    *HTTPConfig   `toml:"http,omitempty"`
	Nodes   []NodeConfig  `toml:"node"`
	Checks  []CheckConfig `toml:"check,omitempty"`
	Groups  []GroupConfig `toml:"group,omitempty"`

	Templates []TemplateConfig `toml:"template,omitempty"`
}

// ClusterConfig is the table [cluster].
type ClusterConfig struct {
	Name    string `toml:"name"`
	KeyFile string `toml:"key_file,omitempty"`
	Port    int    `toml:"port,omitzero"`
}

// LeaseConfig is the table [lease].
type LeaseConfig struct {
	TTL        string `toml:"ttl"`
	Generation int    `toml:"generation,omitzero"`
	Witness    string `toml:"witness,omitempty"`
}

// HTTPConfig is the table [http].
type HTTPConfig struct {
	Listen []string `toml:"listen"`
}

// NodeConfig is a table [[node]].
type NodeConfig struct {
	Name    string `toml:"name"`
	Address string `toml:"address"`
	Voter   *bool  `toml:"voter,omitempty"`
}

// CheckConfig is a table [[check]].
type CheckConfig struct {
	Name     string   `toml:"name"`
	Type     string   `toml:"type"`
	URL      string   `toml:"url,omitempty"`
	Address  string   `toml:"address,omitempty"`
	DSNFile  string   `toml:"dsn_file,omitempty"`
	Command  []string `toml:"command,omitempty"`
	Interval string   `toml:"interval,omitempty"`
	Timeout  string   `toml:"timeout,omitempty"`
	Fall     int      `toml:"fall,omitzero"`
	Rise     int      `toml:"rise,omitzero"`
	Required *bool    `toml:"required,omitempty"`
	Nodes    []string `toml:"nodes,omitempty"`
}

// GroupConfig is a table [[group]].
type GroupConfig struct {
	Name      string   `toml:"name"`
	Addresses []string `toml:"addresses"`
	Interface string   `toml:"interface"`
	Nodes     []string `toml:"nodes,omitempty"`
	Checks    []string `toml:"checks,omitempty"`
	Failback  bool     `toml:"failback,omitempty"`
	Hold      string   `toml:"hold,omitempty"`
	Handover  string   `toml:"handover,omitempty"`
	Drain     string   `toml:"drain,omitempty"`
	MaxMoves  string   `toml:"max_moves,omitempty"`
	OnActive  []string `toml:"on_active,omitempty"`
	OnStandby []string `toml:"on_standby,omitempty"`
	OnFault   []string `toml:"on_fault,omitempty"`
	Role      string   `toml:"role,omitempty"`

	MySQL *MySQLConfig `toml:"mysql,omitempty"` // at its end: a table in the table
}

// MySQLConfig is the table [group.mysql].
type MySQLConfig struct {
	DSNFile            string `toml:"dsn_file"`
	ReplicationDSNFile string `toml:"replication_dsn_file"`
	MaxLag             string `toml:"max_lag,omitempty"`
	ApplyTimeout       string `toml:"apply_timeout,omitempty"`
	DemoteTimeout      string `toml:"demote_timeout,omitempty"`
	WaitForLast        string `toml:"wait_for_last,omitempty"`
}

// TemplateConfig is a table [[template]].
type TemplateConfig struct {
	Name     string   `toml:"name"`
	Source   string   `toml:"source"`
	File     string   `toml:"file"`
	Check    []string `toml:"check,omitempty"`
	Reload   []string `toml:"reload,omitempty"`
	AsRoot   bool     `toml:"as_root,omitempty"`
	Nodes    []string `toml:"nodes,omitempty"`
	Mode     string   `toml:"mode,omitempty"`
	Interval string   `toml:"interval,omitempty"`
	Timeout  string   `toml:"timeout,omitempty"`
}

// Config returns a config with this world's machines as nodes, all of them voters, a lease of ttl 1s, and
// no checks or groups.
func (w *World) Config() Config {
	c := Config{
		Cluster: ClusterConfig{Name: "lab", KeyFile: w.path("gossip.key"), Port: 7946},
		Lease:   LeaseConfig{TTL: "1s", Generation: 1},
	}
	for _, n := range w.nodes {
		c.Nodes = append(c.Nodes, NodeConfig{Name: n.Name, Address: n.Addr4.Addr().String()})
	}
	return c
}

// WebGroup returns a group "web" with the floating addresses of the lab on these nodes, in order of
// preference.
func (w *World) WebGroup(nodes ...string) GroupConfig {
	g := GroupConfig{Name: "web", Addresses: []string{Floating4.String()}, Interface: nic, Nodes: nodes}
	if w.IPv6 {
		g.Addresses = append(g.Addresses, Floating6.String())
	}
	return g
}

// WriteConfig gives every node this config file, and makes the gossip key if there is none yet. Agents
// read it when they start or reload.
func (w *World) WriteConfig(c Config) error {
	var errs []error
	for _, n := range w.nodes {
		errs = append(errs, n.WriteConfig(c))
	}
	return errors.Join(errs...)
}

// WriteConfig gives one node a config file of its own, for tests of differing files.
func (n *Node) WriteConfig(c Config) error {
	text, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := n.w.writeKey(); err != nil {
		return err
	}
	return os.WriteFile(n.ConfigFile(), text, 0o644)
}

// ConfigFile is where the node's agent finds its config.
func (n *Node) ConfigFile() string { return n.w.path(n.Name, "hbagent.toml") }

func (w *World) writeKey() error {
	var key [32]byte
	rand.Read(key[:]) // never fails (crypto/rand)
	f, err := os.OpenFile(w.path("gossip.key"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, base64.StdEncoding.EncodeToString(key[:]))
	return errors.Join(err, f.Close())
}
