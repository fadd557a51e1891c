package bench

import (
	"errors"
	"fmt"
	"time"
)

// A Scale is what a run of the scale test found: the same cluster with more nodes, and with more groups.
type Scale struct {
	Format  int          `json:"format"`
	Began   time.Time    `json:"began"`
	Seconds float64      `json:"seconds"` // how long the whole run took
	Commit  string       `json:"commit"`  // of hbagent, as `hbagent version` prints it
	Machine Machine      `json:"machine"`
	Points  []ScalePoint `json:"points"`
}

// A ScalePoint is one size of a cluster.
type ScalePoint struct {
	Nodes      int       `json:"nodes"`
	Groups     int       `json:"groups"`
	How        string    `json:"how"`              // where the nodes ran, in a few words: "namespaces", "one process, loopback"
	TTL        float64   `json:"ttl_ms"`           // of the leases
	CPUPercent float64   `json:"cpu_percent"`      // of one core, mean of the nodes
	MemoryMB   float64   `json:"memory_mb"`        // mean of the nodes; 0 where they share a process
	BytesPerS  float64   `json:"bytes_per_s"`      // in and out, mean of the nodes
	Seconds    float64   `json:"seconds"`          // that were watched at rest
	Status     []float64 `json:"status_ms"`        // one for each question for the status
	Takeover   []float64 `json:"takeover_ms"`      // from the owner's end until the last of its groups has another owner
	Failed     string    `json:"failed,omitempty"` // what of this is missing, and why
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
		where := fmt.Sprintf("%d nodes, %d groups (%s)", p.Nodes, p.Groups, p.How)
		v.once(where)
		if p.Nodes < 1 || p.Groups < 0 {
			v.bad(where, "a cluster has at least one node, and no less than no group")
		}
		if p.Seconds == 0 && len(p.Status)+len(p.Takeover) == 0 && p.Failed == "" {
			v.bad(where, "nothing was measured, and it does not say why (failed)")
		}
		v.number(where+": ttl_ms", p.TTL)
		v.number(where+": cpu_percent", p.CPUPercent)
		v.number(where+": memory_mb", p.MemoryMB)
		v.number(where+": bytes_per_s", p.BytesPerS)
		v.number(where+": seconds", p.Seconds)
		v.numbers(where+": status_ms", p.Status)
		v.numbers(where+": takeover_ms", p.Takeover)
	}
	return errors.Join(v.problems...)
}
