package bench

import (
	"errors"
	"fmt"
	"time"
)

// A Scale is what a run of `make scale` found: the cost of an agent, and what it does, in clusters of several sizes.
type Scale struct {
	Format  int          `json:"format"`
	Began   time.Time    `json:"began"`
	Seconds float64      `json:"seconds"` // how long the whole run took
	Commit  string       `json:"commit"`  // of hbagent, as `hbagent version` prints it
	Machine Machine      `json:"machine"`
	Points  []ScalePoint `json:"points"`
}

// A ScalePoint is one cluster.
type ScalePoint struct {
	Nodes      int     `json:"nodes"`
	Voters     int     `json:"voters"`
	Groups     int     `json:"groups"`     // of one address each
	Candidates int     `json:"candidates"` // nodes that may own a group
	TTL        float64 `json:"ttl_ms"`
	Transport  string  `json:"transport"` // what the nodes are: "namespaces" are real agents with a real kernel side

	Ready   float64 `json:"ready_s"` // from the start of the first agent until all knew of all, and every group had its owner
	Seconds float64 `json:"seconds"` // of rest that were watched for the costs

	Owned int        `json:"owned"` // groups of the node that Owner is about: the one with most
	Owner ScaleCost  `json:"owner"`
	Voter *ScaleCost `json:"voter,omitempty"` // median of the other voters
	Other *ScaleCost `json:"other,omitempty"` // median of the nodes without a vote

	Status   float64 `json:"status_ms"` // median of `hbagent status --json`, the start of the process included
	StatusKB float64 `json:"status_kb"` // of what it prints

	// Takeovers are the power cuts of the node with most groups.
	Takeovers []Takeover `json:"takeovers"`
	Failed    string     `json:"failed,omitempty"` // why something is missing
}

// A ScaleCost is what one agent takes at rest.
type ScaleCost struct {
	MemoryMB    float64 `json:"memory_mb"`     // resident
	CPUPercent  float64 `json:"cpu_percent"`   // of one core
	PacketsPerS float64 `json:"packets_per_s"` // in and out
	BytesPerS   float64 `json:"bytes_per_s"`   // in and out
}

// A Takeover is one power cut. Times count from it, in milliseconds.
type Takeover struct {
	Groups int     `json:"groups"`   // that the node owned
	First  float64 `json:"first_ms"` // until the first of their addresses was announced by another node
	Last   float64 `json:"last_ms"`  // until the last was
	Two    int     `json:"two"`      // addresses that two other nodes announced
}

// ReadScale reads and checks the file of a scale test. An error names the file, and what is wrong in it.
func ReadScale(path string) (Scale, error) {
	var s Scale
	if err := readJSON(path, &s); err != nil {
		return Scale{}, err
	}
	if err := s.Validate(); err != nil {
		return Scale{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// WriteScale writes the file of a scale test; see Write.
func WriteScale(path string, s Scale) error { return write(path, s, s.Validate()) }

// Validate returns everything that cannot be, each with the place where it stands.
func (s Scale) Validate() error {
	v := newValidator()
	v.head(s.Format, s.Began, s.Commit, s.Seconds, s.Machine)
	for _, p := range s.Points {
		where := fmt.Sprintf("%d nodes, %d voters, %d groups", p.Nodes, p.Voters, p.Groups)
		v.once(where)
		if p.Nodes < 1 || p.Voters < 1 || p.Voters > p.Nodes || p.Groups < 1 {
			v.bad(where, "is no cluster")
		}
		if p.Failed == "" && (p.Seconds <= 0 || p.Owner.MemoryMB <= 0 || p.Status <= 0 || len(p.Takeovers) == 0) {
			v.bad(where, "something was not measured, and it does not say why (failed)")
		}
		v.number(where+": ttl_ms", p.TTL)
		v.number(where+": ready_s", p.Ready)
		v.number(where+": seconds", p.Seconds)
		v.number(where+": status_ms", p.Status)
		v.number(where+": status_kb", p.StatusKB)
		for role, c := range map[string]*ScaleCost{"owner": &p.Owner, "voter": p.Voter, "other": p.Other} {
			if c == nil {
				continue
			}
			v.number(where+": "+role+": memory_mb", c.MemoryMB)
			v.number(where+": "+role+": cpu_percent", c.CPUPercent)
			v.number(where+": "+role+": packets_per_s", c.PacketsPerS)
			v.number(where+": "+role+": bytes_per_s", c.BytesPerS)
		}
		for i, t := range p.Takeovers {
			v.number(where+": first_ms", t.First)
			if t.Groups < 1 || t.Last < t.First {
				v.bad(where, "takeover %d is of %d groups, and lasts from %v to %v ms", i, t.Groups, t.First, t.Last)
			}
			v.count(where+": two", t.Two)
			if t.Two > t.Groups || t.Two > 0 && p.Failed == "" {
				v.bad(where, "takeover %d: two nodes announced %d of %d addresses, and it does not say so (failed)", i, t.Two, t.Groups)
			}
		}
	}
	return errors.Join(v.problems...)
}
