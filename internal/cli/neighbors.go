package cli

import (
	"context"
	"net"
	"net/netip"

	"github.com/hbagent/hbagent/internal/agent"
	"github.com/hbagent/hbagent/internal/detect"
	"github.com/hbagent/hbagent/internal/doctor"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/pkg/vip"
)

// neighbors are the rooms behind the verbs that are more than a question to the agent. Tests put their
// own functions here.
type neighbors struct {
	runAgent        func(context.Context, agent.Options) error
	doctor          func(context.Context, doctor.Options) (doctor.Report, error)
	runDemo         func(context.Context, lab.DemoOptions) error
	resumableGroups func(runDir string) ([]string, error)
	cleanup         func(runDir string, spare func(group string) bool) ([]vip.Removed, error)
	deactivate      func(o agent.Options, spare func(group string) bool) (groups []string, err error)
	groupOfAgent    func() (gid int)
	init            initNeighbors
}

func realNeighbors() neighbors {
	return neighbors{
		runAgent:        agent.Run,
		doctor:          doctor.Run,
		runDemo:         lab.RunDemo,
		resumableGroups: agent.ResumableGroups,
		cleanup:         vip.Cleanup,
		deactivate:      agent.DeactivateServices,
		groupOfAgent:    groupOfAgent,
		init: initNeighbors{
			look:  detect.Look,
			stall: detect.Stall,
			trips: detect.RoundTrips,
			lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
				return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			},
		},
	}
}
