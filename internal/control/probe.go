package control

// ProbeRequest asks the agent to try the gossip port towards every other node. It changes nothing.
type ProbeRequest struct {
	Count   int   `json:"count,omitempty"`    // datagrams to each peer; 0: the default
	EveryMs int64 `json:"every_ms,omitempty"` // between two of them; 0: the default
}

// ProbeResult is what came of it.
type ProbeResult struct {
	Peers []PeerProbe `json:"peers"` // every other node, by name
}

// AgentProcess is the running agent: `hbagent doctor` looks at what it may read and run.
type AgentProcess struct {
	PID        int    `json:"pid"`
	UID        int    `json:"uid"`
	GID        int    `json:"gid"`
	Groups     []int  `json:"groups"`
	ConfigFile string `json:"config_file"`
	StateDir   string `json:"state_dir"`
}

// PeerProbe is what probing one peer has shown. The states of streams are those of pkg/cluster: ok, refused,
// timeout, unreachable, silent, wrong-key, failed.
type PeerProbe struct {
	Node    string `json:"node"`
	Address string `json:"address"`

	Sent        int    `json:"sent"`     // small datagrams
	Answered    int    `json:"answered"` // of them
	BigSent     int    `json:"big_sent"` // datagrams as long as any that the agents send
	BigAnswered int    `json:"big_answered"`
	SendError   string `json:"send_error,omitempty"`
	RTT         RTT    `json:"rtt"`

	Stream     string `json:"stream"` // opened from here
	StreamText string `json:"stream_text,omitempty"`
	Back       string `json:"back,omitempty"` // opened from there, as the peer says; empty: it was not heard
	BackText   string `json:"back_text,omitempty"`

	WrongKey     bool   `json:"wrong_key"`
	WrongCluster string `json:"wrong_cluster,omitempty"`

	Answers      bool    `json:"answers"` // what follows is known
	Version      string  `json:"version"`
	ConfigHash   string  `json:"config_hash"`
	Generation   uint64  `json:"generation"`
	TTLMs        int64   `json:"ttl_ms"`
	ClockMs      float64 `json:"clock_ms"`       // the peer's time of day is so much ahead
	ClockErrorMs float64 `json:"clock_error_ms"` // and that may be wrong by so much
}

// RTT are the round trips of what was answered, in milliseconds.
type RTT struct {
	MinMs    float64 `json:"min_ms"`
	MedianMs float64 `json:"median_ms"`
	MaxMs    float64 `json:"max_ms"`
}

func (r ProbeResult) filled() ProbeResult {
	r.Peers = filled(r.Peers)
	return r
}

func (p AgentProcess) filled() AgentProcess {
	p.Groups = filled(p.Groups)
	return p
}
