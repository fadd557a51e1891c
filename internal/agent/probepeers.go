package agent

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

// peerProber is what probing needs of *cluster.Cluster.
type peerProber interface {
	Probe(ctx context.Context, o cluster.ProbeOptions) []cluster.PeerProbe
}

// Probe implements control.Agent. One at a time: a peer answers so many questions a second, and no more.
func (a *api) Probe(ctx context.Context, req control.ProbeRequest) (control.ProbeResult, error) {
	select {
	case a.probing <- struct{}{}:
		defer func() { <-a.probing }()
	case <-ctx.Done():
		return control.ProbeResult{}, control.Errorf(control.CodeConflict, "somebody else is probing the peers already: try again")
	}
	return control.ProbeResult{Peers: peerProbes(a.peerProber.Probe(ctx, probeOptions(req)))}, nil
}

// Process implements control.Agent.
func (a *api) Process(context.Context) (control.AgentProcess, error) {
	p := control.AgentProcess{
		PID: os.Getpid(), UID: os.Geteuid(), GID: os.Getegid(), ConfigFile: a.opts.ConfigFile, StateDir: a.opts.StateDir,
	}
	var err error
	p.Groups, err = os.Getgroups()
	return p, err
}

// ProbePeers does the same for a node whose agent does not run: from its own address, with the keys of its key file or
// what a rotation has brought since, as the agent would begin with.
func ProbePeers(ctx context.Context, cfg *config.Config, node, stateDir string, file [][]byte, req control.ProbeRequest) ([]control.PeerProbe, error) {
	keys := file
	if saved, err := readSavedRing(filepath.Join(stateDir, keysName)); err == nil && len(file) > 0 {
		ring, _, _ := ringOf(file, saved)
		keys = ring.keys
	}
	probes, err := cluster.ProbeFrom(ctx, membership(cfg, node, keys), probeOptions(req))
	return peerProbes(probes), err
}

func probeOptions(req control.ProbeRequest) cluster.ProbeOptions {
	return cluster.ProbeOptions{Count: req.Count, Every: time.Duration(req.EveryMs) * time.Millisecond}
}

func peerProbes(list []cluster.PeerProbe) []control.PeerProbe {
	out := make([]control.PeerProbe, len(list))
	for i, p := range list {
		o := control.PeerProbe{
			Node: p.Node, Address: p.Address.String(), Sent: p.Sent, Answered: p.Answered, BigSent: p.BigSent, BigAnswered: p.BigAnswered,
			SendError: p.SendError, Stream: string(p.Stream.State), StreamText: p.Stream.Text,
			WrongKey: p.WrongKey, WrongCluster: p.WrongCluster,
			Answers: p.Answers, Version: p.Version, ConfigHash: p.ConfigHash, Generation: p.Generation, TTLMs: p.TTL.Milliseconds(),
			ClockMs: inMs(p.Clock), ClockErrorMs: inMs(p.ClockError),
		}
		if p.Back != nil {
			o.Back, o.BackText = string(p.Back.State), p.Back.Text
		}
		if n := len(p.RTTs); n > 0 {
			o.RTT = control.RTT{MinMs: inMs(p.RTTs[0]), MedianMs: inMs(p.RTTs[n/2]), MaxMs: inMs(p.RTTs[n-1])}
		}
		out[i] = o
	}
	return out
}

func inMs(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
