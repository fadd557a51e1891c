// Package draft writes hbagent.toml for people: `hbagent init` and `hbagent config import` put what they know into a
// [Draft], and one template makes a commented file of it.
//
// A draft knows nothing of what is right: [Draft.Check] asks internal/config, so that no rule stands twice. It is
// a value that one goroutine fills; nothing here touches the file system.
package draft

import (
	"net/netip"
	"time"

	"github.com/hbagent/hbagent/internal/config"
)

// A Draft is a config file that is to be. Keys that are zero are not written, so that the defaults hold.
type Draft struct {
	Intro      []string // comment at the top, one line each
	Cluster    string
	KeyFile    string
	Port       int
	TTL        time.Duration
	TTLWhy     string // comment behind ttl
	Generation uint64 // written as 1 if zero
	Witness    netip.Addr
	Nodes      []Node
	Checks     []Check
	Groups     []Group
	Outro      []string // comment at the end, one line each
}

// A Node is a [[node]].
type Node struct {
	Name    string
	Address string // as it was given: config judges it
	Comment string // behind the address
}

// A Check is a [[check]]. Keys that its type does not have stay zero.
type Check struct {
	Comment []string // above it
	Off     bool     // all of it is a comment: a proposal

	Name, Type string
	URL        string
	Address    string
	DSNFile    string
	Command    []string
	Unit       string
	Interface  string
	Target     string
	Status     int
	Interval   time.Duration
	Timeout    time.Duration
	Fall, Rise int
	Optional   bool     // required = false
	Nodes      []string // empty: every node
	NodesWhy   string   // comment behind nodes
}

// A Group is a [[group]].
type Group struct {
	Comment    []string // above it
	Name       string
	Addresses  []string
	Interface  string            // on every node, or
	Interfaces map[string]string // by node
	IfaceWhy   string            // comment behind interface
	Nodes      []string
	NodesWhy   string // comment behind nodes
	Checks     []string
	ChecksWhy  string // comment behind checks
	Failback   bool
	Hold       time.Duration
	Handover   string
	OnActive   []string
	OnStandby  []string
	OnFault    []string
}

// Check renders the draft and has it judged. The text is worth writing only if err is nil; err is then a
// config.Problems. Warnings are for the person who made the draft.
func (d *Draft) Check(file string) (text string, cfg *config.Config, err error) {
	text, err = d.Render()
	if err != nil {
		return "", nil, err
	}
	cfg, err = config.Parse(file, []byte(text))
	return text, cfg, err
}

// Parsed is Draft.Check without the text, for a draft that is not complete yet.
func (d *Draft) Parsed(file string) (*config.Config, error) {
	_, cfg, err := d.Check(file)
	return cfg, err
}
