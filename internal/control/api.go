package control

import (
	"context"
	"path/filepath"
)

// Agent is what the socket offers, implemented by internal/agent. The server calls every method from
// the goroutine of one request, many at a time; ctx ends when the caller has gone or the time for the
// call is over, except for Switchover, Maintenance, KeyRotate and Reload, which a caller starts and cannot abandon half done:
// their ctx ends with their time limit or the server only.
type Agent interface {
	// Status returns the cluster as this node sees it. It must be quick (a snapshot): monitors ask often.
	Status(ctx context.Context) (Status, error)

	// Plan says what the failover policy would do if something went down or failed, and does nothing. A node
	// or check that does not exist is CodeNotFound.
	Plan(ctx context.Context, req PlanRequest) (Plan, error)

	// Events returns the history, of this node or of the whole cluster. A node that does not exist is CodeNotFound;
	// one that does not answer in time is named in Sources, and no error.
	Events(ctx context.Context, q EventQuery) (History, error)

	// Process says as whom the agent runs, and which files it uses.
	Process(ctx context.Context) (AgentProcess, error)

	// Probe tries the gossip port towards every other node, and changes nothing.
	Probe(ctx context.Context, req ProbeRequest) (ProbeResult, error)

	// Follow returns the history and, on the channel, each event that happens from then on, without a gap and
	// none of them twice. The channel is closed when ctx ends, and also when the reader has fallen behind its
	// buffer: the agent never waits for a reader.
	Follow(ctx context.Context, q EventQuery) (History, <-chan Event, error)

	// Subscribe returns the events that this node records from now on. The channel is closed as that of Follow.
	Subscribe(ctx context.Context) (<-chan Event, error)

	// Switchover moves a group as planned. It calls progress for each step, in order, from any one
	// goroutine; progress never blocks. A preflight that says no is a result ([OutcomeRefused]), not an
	// error; errors are for requests that name nothing (CodeNotFound) or come in between (CodeConflict).
	Switchover(ctx context.Context, req SwitchoverRequest, progress func(SwitchoverStep)) (SwitchoverResult, error)

	// Maintenance puts a node into maintenance, after it has handed over what it owns, or takes it out. A
	// refusal is a result (Done false, with the reason), and has changed nothing that was not moved by then.
	Maintenance(ctx context.Context, req MaintenanceRequest) (MaintenanceResult, error)

	// KeyStatus returns which gossip keys the nodes have, as this node knows it (a snapshot).
	KeyStatus(ctx context.Context) (KeyStatus, error)

	// KeyRotate gives every node a new gossip key, or goes on with a rotation that was interrupted. progress is as
	// for Switchover. What stands in the way is a result, not an error.
	KeyRotate(ctx context.Context, req KeyRotateRequest, progress func(SwitchoverStep)) (KeyRotation, error)

	// RunChecks runs this node's checks once and now, all of them if name is empty. An unknown name is
	// CodeNotFound; a failing check is a result.
	RunChecks(ctx context.Context, name string) ([]CheckRun, error)

	// RenderTemplates says what this node's templates make of the present state, all of them if name is empty,
	// and writes nothing. An unknown name is CodeNotFound; a template that fails is a result.
	RenderTemplates(ctx context.Context, name string) ([]TemplateRender, error)

	// Reload reads the config file again. A file that is not valid changes nothing and is CodeInvalid,
	// with the problems as the message. force allows changes that cost: see ReloadResult.
	Reload(ctx context.Context, force bool) (ReloadResult, error)
}

// SocketName is the name of the socket in the run directory.
const SocketName = "control.sock"

// SocketPath returns where the agent of a run directory listens.
func SocketPath(runDir string) string { return filepath.Join(runDir, SocketName) }

// The paths of version 1. A breaking change gets a new version beside the old one: the program that
// asks may be older or newer than the agent while machines are upgraded.
const (
	pathStatus      = "/v1/status"           // GET, Status
	pathPlan        = "/v1/plan"             // POST PlanRequest, Plan; changes nothing, so everybody may
	pathEvents      = "/v1/events"           // GET ?since=RFC3339&max=N&follow=true&scope=cluster&node=NAME, stream of message
	pathAgent       = "/v1/agent"            // GET, AgentProcess
	pathProbe       = "/v1/probe"            // POST ProbeRequest, ProbeResult; changes nothing, so everybody may
	pathSwitchover  = "/v1/switchover"       // POST SwitchoverRequest, stream of message
	pathMaintenance = "/v1/maintenance"      // POST MaintenanceRequest, MaintenanceResult
	pathKeys        = "/v1/keys"             // GET, KeyStatus
	pathKeysRotate  = "/v1/keys/rotate"      // POST KeyRotateRequest, stream of message
	pathChecksRun   = "/v1/checks/run"       // POST checksRequest, []CheckRun
	pathTemplates   = "/v1/templates/render" // POST templatesRequest, []TemplateRender
	pathReload      = "/v1/reload"           // POST reloadRequest, ReloadResult
)

type checksRequest struct {
	Name string `json:"name,omitempty"`
}

type templatesRequest struct {
	Name string `json:"name,omitempty"`
}

type reloadRequest struct {
	Force bool `json:"force,omitempty"`
}

// message is one line of a stream. Exactly one field is set; a line with none is a sign of life.
type message struct {
	Source *EventSource      `json:"source,omitempty"` // before the events: each node that was asked
	Event  *Event            `json:"event,omitempty"`
	Step   *SwitchoverStep   `json:"step,omitempty"`
	Result *SwitchoverResult `json:"result,omitempty"`
	Keys   *KeyRotation      `json:"keys,omitempty"` // the result of a rotation
	End    bool              `json:"end,omitempty"`  // the stream is complete
	Error  *Error            `json:"error,omitempty"`
}
