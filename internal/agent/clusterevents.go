package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/pkg/cluster"
)

const methodHistory = "history" // historyRequest -> historyAnswer

// Chosen by us.
const (
	historyPage      = 400       // events of one answer
	historyPageBytes = 512 << 10 // of one answer; a call carries twice that
	historyPages     = 8         // of one node: more than it keeps
	historyPeerWait  = 2 * time.Second
	historyLook      = time.Second      // for the own loop to say who is there
	historyWaits     = 8                // calls that wait here for something to happen; more are answered at once
	historyWait      = 10 * time.Second // for how long
)

// historyRequest asks for a page of a node's history: the newest events, or, with After, those that follow.
type historyRequest struct {
	Before uint64 `json:"before,omitempty"` // a Seq: older ones only
	AgeMs  int64  `json:"age_ms,omitempty"` // not older than this; 0: everything. An age, since clocks differ
	Max    int    `json:"max,omitempty"`
	Follow bool   `json:"follow,omitempty"` // events behind After; waits for the first
	After  uint64 `json:"after,omitempty"`
}

type historyAnswer struct {
	Events []control.Event `json:"events"`
	Last   uint64          `json:"last"` // the Seq to go on behind, with Follow
	More   bool            `json:"more,omitempty"`
	Now    time.Time       `json:"now"` // the answering node's clock
}

// historyPageOf answers another node.
func (a *api) historyPageOf(ctx context.Context, req historyRequest) (ans historyAnswer, err error) {
	h := a.loop.history
	limit := historyPage
	if req.Max > 0 {
		limit = min(limit, req.Max)
	}
	var since time.Time
	if req.AgeMs > 0 {
		since = time.Now().Add(-time.Duration(req.AgeMs) * time.Millisecond)
	}
	if req.Follow {
		wait := historyWait
		select {
		case a.historyWaits <- struct{}{}:
			defer func() { <-a.historyWaits }()
		default:
			wait = 0 // enough are waiting already: whoever asks has to come again
		}
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		ans.Events, ans.Last = h.after(ctx, req.After, since, limit, historyPageBytes)
	} else {
		ans.Last = h.newest() // before the page: what comes in between is told twice rather than not at all
		ans.Events, ans.More = h.page(req.Before, since, limit, historyPageBytes)
	}
	ans.Now = time.Now()
	return ans, nil
}

// peerHistory is what one node answered.
type peerHistory struct {
	told
	source control.EventSource
	last   uint64 // where following goes on; 0: it did not answer
}

// askHistory reads a peer's history from since on, newest page first.
func (a *api) askHistory(ctx context.Context, node string, q control.EventQuery) (p peerHistory) {
	p.source.Node = node
	ctx, cancel := context.WithTimeout(ctx, historyPeerWait)
	defer cancel()
	req := historyRequest{Max: q.Max}
	if !q.Since.IsZero() {
		req.AgeMs = max(time.Since(q.Since).Milliseconds(), 1)
	}
	for page := range historyPages {
		began := time.Now()
		var ans historyAnswer
		if err := a.call(ctx, node, methodHistory, req, &ans); err != nil {
			p.source.Error = callTrouble(err, historyPeerWait)
			if page > 0 {
				p.source.Error = "its history is incomplete: " + p.source.Error
			}
			return p
		}
		if page == 0 {
			p.last = max(ans.Last, 1)
			p.skew = skew(ans.Now, began, time.Now())
			p.source.SkewMs = p.skew.Milliseconds()
		}
		p.events = append(ans.Events, p.events...)
		if q.Max > 0 {
			req.Max = q.Max - len(p.events)
		}
		if !ans.More || len(ans.Events) == 0 || q.Max > 0 && req.Max <= 0 {
			break
		}
		req.Before = ans.Events[0].Seq
	}
	return p
}

// skew is how far another clock is ahead, judged by one answer: 0 where the time that it took explains the difference.
func skew(theirs, began, ended time.Time) time.Duration {
	took := ended.Sub(began)
	d := theirs.Sub(began.Add(took / 2)).Round(time.Millisecond)
	if d.Abs() <= took/2+time.Millisecond {
		return 0
	}
	return d
}

// callTrouble says why another node did not answer a call that waited for limit.
func callTrouble(err error, limit time.Duration) string {
	var remote cluster.RemoteError
	switch {
	case errors.As(err, &remote):
		return remote.Msg
	case errors.Is(err, cluster.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("did not answer within %v", limit)
	}
	return err.Error()
}

// call asks another node and decodes its answer.
func (a *api) call(ctx context.Context, node, method string, req, answer any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	b, err := a.loop.net.Call(ctx, node, method, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("answer of %s: %w", node, err)
	}
	return nil
}

// others returns the other nodes in the order of the config, and why one need not be asked.
func (l *loop) others() (nodes []string, down map[string]string) {
	down = make(map[string]string)
	for _, n := range l.cfg.Nodes {
		p := l.peers[n.Name]
		if p == nil {
			continue // this node
		}
		nodes = append(nodes, n.Name)
		if !p.alive {
			down[n.Name] = "is down"
		}
	}
	return nodes, down
}

// Events implements control.Agent.
func (a *api) Events(ctx context.Context, q control.EventQuery) (control.History, error) {
	all, err := a.histories(ctx, q)
	if err != nil {
		return control.History{}, err
	}
	return joined(all, q), nil
}

// joined is what a reader gets of several nodes' answers.
func joined(all []peerHistory, q control.EventQuery) (h control.History) {
	var lists []told
	for _, p := range all {
		lists = append(lists, p.told)
		h.Sources = append(h.Sources, p.source)
	}
	if q.Cluster {
		h.Events = newestOf(merge(lists), q.Max)
	} else {
		h.Events = newestOf(lists[0].events, q.Max)
	}
	return h
}

// histories asks this node first and then, at the same time, those others that are wanted and alive. It does not wait for one
// that is down, and for one that has fallen silent no longer than historyPeerWait.
func (a *api) histories(ctx context.Context, q control.EventQuery) ([]peerHistory, error) {
	l := a.loop
	own := peerHistory{source: control.EventSource{Node: l.node}, last: max(l.history.newest(), 1)}
	if !q.Cluster && cmp.Or(q.Node, l.node) == l.node {
		own.events = l.history.since(q.Since, q.Max)
		return []peerHistory{own}, nil
	}
	var nodes []string
	var down map[string]string
	look, cancel := context.WithTimeout(ctx, historyLook)
	defer cancel()
	if err := l.do(look, func() { nodes, down = l.others() }); err != nil {
		return nil, err
	}
	if !q.Cluster {
		if !slices.Contains(nodes, q.Node) {
			return nil, control.Errorf(control.CodeNotFound, "no node %q in the config", q.Node)
		}
		nodes = []string{q.Node}
	}
	all := make([]peerHistory, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		if why := down[n]; why != "" {
			all[i].source = control.EventSource{Node: n, Error: why}
			continue
		}
		wg.Go(func() { all[i] = a.askHistory(ctx, n, q) })
	}
	wg.Wait()
	if q.Cluster {
		own.events = l.history.since(q.Since, q.Max) // after the peers': nothing that they tell of is missing here
		all = append([]peerHistory{own}, all...)
	}
	return all, nil
}
