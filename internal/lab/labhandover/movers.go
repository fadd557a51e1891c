package main

import (
	"context"
	"fmt"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// movers are what can move the address: a tool, and how it is asked to.
var movers = map[string]rivals.Tool{
	"hbagent":             rivals.Hbagent{Handover: "drain"},
	"hbagent-strict":      rivals.Hbagent{Handover: "strict"},
	"keepalived-fault":    rivals.Keepalived{By: rivals.ByFault},
	"keepalived-priority": rivals.Keepalived{By: rivals.ByPriority},
	"keepalived-stop":     rivals.Keepalived{By: rivals.ByStop},
}

// clusterOf prepares a tool at its default, and starts it everywhere. It watches the web servers.
func clusterOf(ctx context.Context, w *lab.World, with string) (rivals.Cluster, error) {
	t, ok := movers[with]
	if !ok {
		return nil, fmt.Errorf("-with %s: it is hbagent, hbagent-strict, keepalived-fault, keepalived-priority or keepalived-stop", with)
	}
	cluster, err := t.Prepare(w, t.Settings()[0], rivals.Options{Service: true})
	if err != nil {
		return nil, err
	}
	for _, node := range cluster.Nodes() {
		if err := cluster.Start(ctx, node); err != nil {
			return nil, err
		}
	}
	return cluster, nil
}
