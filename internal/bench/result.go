package bench

import (
	"strings"
	"time"
)

// Format is the version of the file format that this package reads and writes.
const Format = 1

// The tools that are compared.
const (
	HBAgent    = "hbagent"
	Keepalived = "keepalived"
	UCARP      = "ucarp"
	Pacemaker  = "pacemaker"
)

// Known are all tools that a whole run compares, in the order of the report.
var Known = []string{HBAgent, Keepalived, UCARP, Pacemaker}

// The paces at which tools stand beside each other (see Setting.Pace).
const (
	Equal   = "equal"   // the same time between two heartbeats for every tool
	Default = "default" // as the tool is when nothing is said
	Fastest = "fastest" // the fastest setting that its manual, or a quiet run, calls safe
)

// Paces are all of them, in the order of the report.
var Paces = []string{Equal, Default, Fastest}

// The scenarios.
const (
	PowerOff   = "power-off"
	Kill       = "kill"
	Freeze     = "freeze"
	Partition  = "partition"
	OneWay     = "one-way"
	Service    = "service"
	Switchover = "switchover"
	Restart    = "restart"
	Loss       = "loss"
)

// Scenarios are all of them, in the order of the report.
var Scenarios = []string{PowerOff, Kill, Freeze, Partition, OneWay, Service, Switchover, Restart, Loss}

// What the machine did while a Quiet was watched.
const (
	Rest = "rest"
	Busy = "busy" // every core taken by another process
)

// A Run is what one run of the benchmark found. Durations are milliseconds as float64, so that the file reads well;
// in the file their names end in _ms.
type Run struct {
	Format  int       `json:"format"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // how long the whole run took
	Commit  string    `json:"commit"`  // of hbagent, as `hbagent version` prints it
	Machine Machine   `json:"machine"`
	Tools   []Tool    `json:"tools"`
	Results []Result  `json:"results"`
	Quiet   []Quiet   `json:"quiet"` // moves that nobody asked for
	Costs   []Cost    `json:"costs"`
	// Failures are jobs that ended without a result, and why; those of results and batches stand there.
	Failures []string `json:"failures,omitempty"`
	Batches  []Batch  `json:"batches"`
}

// A Machine is the one that everything ran on, nodes, client and observers alike.
type Machine struct {
	CPU        string  `json:"cpu"` // model name, from /proc/cpuinfo
	Cores      int     `json:"cores"`
	MemoryMB   int     `json:"memory_mb"`
	Kernel     string  `json:"kernel"`      // release, as `uname -r`
	System     string  `json:"system"`      // PRETTY_NAME of /etc/os-release
	LoadBefore float64 `json:"load_before"` // mean of the last minute before the run
	LoadAfter  float64 `json:"load_after"`
}

// A Tool is a program that moves a floating address.
type Tool struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Missing  string    `json:"missing,omitempty"` // why it was left out; empty when it ran
	Settings []Setting `json:"settings,omitempty"`
}

// A Setting is one configuration of a tool.
type Setting struct {
	Name string `json:"name"` // such as "ttl 1s", "advert_int 0.05", "token 1000"
	// Pace is one of Paces; several with a space between them where one setting stands for several; empty for a
	// further setting.
	Pace      string            `json:"pace"`
	Heartbeat float64           `json:"heartbeat_ms"` // between two heartbeats of the owner
	Configs   map[string]string `json:"configs"`      // file name -> text, of the first node
}

// Is reports whether the setting stands for a pace.
func (s Setting) Is(pace string) bool {
	for p := range strings.FieldsSeq(s.Pace) {
		if p == pace {
			return true
		}
	}
	return false
}

// A Result is what one tool did in one scenario.
type Result struct {
	Tool     string   `json:"tool"`
	Setting  string   `json:"setting"`
	Scenario string   `json:"scenario"`
	Samples  []Sample `json:"samples"`
	Failed   string   `json:"failed,omitempty"` // why there are none, or no more
}

// A Sample is one time that a scenario was played. Times are in milliseconds.
type Sample struct {
	Outage   float64 `json:"outage_ms"` // the longest time the client had no answer
	Two      float64 `json:"two_ms"`    // time during which two machines answered for the address (ARP), all in all
	None     float64 `json:"none_ms"`   // longest time in which no machine answered (ARP)
	Moves    int     `json:"moves"`     // changes of the owner that were seen, what was wanted included
	Unwanted int     `json:"unwanted"`  // those of Moves beyond what the scenario asks for
}

// A Quiet is a time in which nothing was asked for, and nothing should move.
type Quiet struct {
	Tool    string  `json:"tool"`
	Setting string  `json:"setting"`
	Load    string  `json:"load"` // Rest or Busy
	Seconds float64 `json:"seconds"`
	Moves   int     `json:"moves"`
	Outage  float64 `json:"outage_ms"` // the longest in it
	Two     float64 `json:"two_ms"`    // time during which two machines answered, all in all
}

// A Cost is what a tool takes of one node at rest.
type Cost struct {
	Tool        string  `json:"tool"`
	Setting     string  `json:"setting"`
	Groups      int     `json:"groups"`
	Node        string  `json:"node"`
	Owner       bool    `json:"owner"`
	MemoryMB    float64 `json:"memory_mb"`     // resident, all its processes
	CPUPercent  float64 `json:"cpu_percent"`   // of one core
	PacketsPerS float64 `json:"packets_per_s"` // in and out
	BytesPerS   float64 `json:"bytes_per_s"`   // in and out
	Seconds     float64 `json:"seconds"`       // that were watched
}

// A Batch is the takeover of many addresses in one move. Times are in milliseconds, one for each time it was played.
type Batch struct {
	Tool      string    `json:"tool"`
	Setting   string    `json:"setting"`
	Addresses int       `json:"addresses"`
	Spread    []float64 `json:"spread_ms"`        // from the first announcement to the last
	Outage    []float64 `json:"outage_ms"`        // the client's, on the last address
	Failed    string    `json:"failed,omitempty"` // why there are none, or no more
}
