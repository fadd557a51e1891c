package control

import (
	"errors"
	"fmt"
	"time"
)

// The types below travel over the socket and are what `--json` prints. Keys are added, never renamed
// or removed; docs/cli-json.md describes each of them, and a test compares the two. They are plain
// values: who fills one owns it, and nobody changes it after it was handed over.

// A State is what a group does on one node, or, in [Group], in the cluster.
type State string

// The states of a group on one node.
const (
	StateActive      State = "active"      // holds the lease, serves
	StateStandby     State = "standby"     // ready to take over, or waiting for its turn
	StateAcquiring   State = "acquiring"   // has won the lease, or has it confirmed, and does not serve yet
	StateDraining    State = "draining"    // handed over, finishes its open connections
	StateFault       State = "fault"       // may not own it; the reason says why
	StateMaintenance State = "maintenance" // told to stay off
)

// StateUnowned is the state of a [Group] in the cluster as far as the answering node knows, when no
// node owns it and none is acquiring it. It is never the state of a group on one node.
const StateUnowned State = "unowned"

// A CheckStatus is the judgement over a check after `rise` and `fall`.
type CheckStatus string

// The judgements over a check.
const (
	CheckPending CheckStatus = "pending" // has not answered yet
	CheckPassing CheckStatus = "passing"
	CheckFailing CheckStatus = "failing"
)

// Status is the whole cluster, as one node sees it.
type Status struct {
	Cluster    string    `json:"cluster"`
	Node       string    `json:"node"`        // who answers
	At         time.Time `json:"at"`          // wall clock of the answering node
	ConfigHash string    `json:"config_hash"` // of the file the answering node has loaded
	// Gate is what ends a lease in the answering node's kernel: "nft", with "owner" and "egress" behind it
	// where the kernel has them, or "address".
	Gate     string   `json:"gate,omitempty"`
	Quorum   Quorum   `json:"quorum"`
	Groups   []Group  `json:"groups"`   // in the order of the config
	Nodes    []Node   `json:"nodes"`    // in the order of the config
	Warnings []string `json:"warnings"` // worth knowing; they do not change [Status.Severity]
}

// Quorum says how much of the configured electorate the answering node hears.
type Quorum struct {
	Voters   int    `json:"voters"`           // configured
	Needed   int    `json:"needed"`           // a majority of Voters, or what the witness rule asks for
	Seen     int    `json:"seen"`             // heard now, the answering node included
	Complete bool   `json:"complete"`         // every voter (and the witness, if there is one) is heard
	Detail   string `json:"detail,omitempty"` // what is missing, or which rule decides
}

// Group is a set of addresses that move together.
type Group struct {
	Name      string    `json:"name"`
	Owner     string    `json:"owner"` // empty: nobody, as far as the answering node knows
	State     State     `json:"state"` // the owner's; without an owner acquiring, fault, maintenance or unowned
	Epoch     uint64    `json:"epoch"`
	Since     time.Time `json:"since,omitzero"` // of this owner, or of having none
	Addresses []string  `json:"addresses"`      // as configured, with the length of the network
	Interface string    `json:"interface"`      // on the owner; without an owner, on the answering node
	Holding   []string  `json:"holding"`        // those the answering node's kernel has at this moment
	Lease     Lease     `json:"lease"`
	Reason    string    `json:"reason"`               // why this owner, or why none
	Moves     int64     `json:"moves"`                // changes of owner within the window of max_moves
	NextOwner string    `json:"next_owner,omitempty"` // who would take over if the owner failed now
}

// Lease is the owner's right to a group. What another node owns is known from its last report, so
// left_ms is exact on the owner only.
type Lease struct {
	TTLMs  int64 `json:"ttl_ms"`
	LeftMs int64 `json:"left_ms"`
	Valid  bool  `json:"valid"`
}

// Node is one configured machine.
type Node struct {
	Name       string    `json:"name"`
	Address    string    `json:"address"`
	Self       bool      `json:"self"` // the answering node
	Voter      bool      `json:"voter"`
	Alive      bool      `json:"alive"`
	Since      time.Time `json:"since,omitzero"` // alive or not since then; absent: never heard
	Version    string    `json:"version"`
	ConfigHash string    `json:"config_hash"`
	RTTMs      float64   `json:"rtt_ms"` // 0: not measured
	// Unreadable is how many packets from there no key of the answering node has opened since its agent started, and
	// UnreadableAt when the last one came.
	Unreadable   uint64               `json:"unreadable,omitempty"`
	UnreadableAt time.Time            `json:"unreadable_at,omitzero"`
	Maintenance  string               `json:"maintenance"`    // the reason given; empty: not in maintenance
	Keys         *NodeKeys            `json:"keys,omitempty"` // absent: no encryption, or the node has not told them
	Checks       []Check              `json:"checks"`
	Templates    []Template           `json:"templates"` // the files that follow the cluster on it
	Groups       map[string]NodeGroup `json:"groups"`    // the groups this node may own
}

// Check is the judgement over one check on one node.
type Check struct {
	Name     string      `json:"name"`
	Type     string      `json:"type"`
	Status   CheckStatus `json:"status"`
	Required bool        `json:"required"` // false: shown and counted, moves nothing
	Message  string      `json:"message"`
	Since    time.Time   `json:"since,omitzero"`
}

// A TemplateStatus says how a file stands that follows the cluster.
type TemplateStatus string

// The states of a template.
const (
	TemplatePending TemplateStatus = "pending" // nothing is known yet, or a change is on its way
	TemplateCurrent TemplateStatus = "current" // the file says what the cluster is, and the service knows
	TemplateHeld    TemplateStatus = "held"    // the file stays as it is, for a reason
	TemplateFailing TemplateStatus = "failing"
)

// Template is one file that follows the cluster on one node.
type Template struct {
	Name    string         `json:"name"`
	File    string         `json:"file"`
	Status  TemplateStatus `json:"status"`
	Message string         `json:"message"` // why
	Since   time.Time      `json:"since,omitzero"`
	Changed time.Time      `json:"changed,omitzero"` // when the agent last replaced the file; absent: not since its start
}

// A RenderResult says what a template would do to its file now.
type RenderResult string

// The results of a rendering.
const (
	RenderUnchanged RenderResult = "unchanged"
	RenderChanges   RenderResult = "changes"
	RenderHeld      RenderResult = "held" // the file would stay as it is, for a reason
	RenderFails     RenderResult = "fails"
)

// TemplateRender is what a template makes of the present state, without doing it.
type TemplateRender struct {
	Name    string       `json:"name"`
	File    string       `json:"file"`
	Result  RenderResult `json:"result"`
	Reason  string       `json:"reason"`
	Content string       `json:"content"` // what the file would say
	Present string       `json:"present"` // what it says
	Exists  bool         `json:"exists"`  // false: there is no file, or the agent may not read it
}

// NodeGroup is one group on one node.
type NodeGroup struct {
	State    State     `json:"state"`
	Eligible bool      `json:"eligible"` // may become (or stay) the owner
	Reason   string    `json:"reason"`   // why it is not eligible, or why it is in this state
	Epoch    uint64    `json:"epoch"`
	Since    time.Time `json:"since,omitzero"`
	Draining *Draining `json:"draining,omitempty"` // only in that state
	Service  *Service  `json:"service,omitempty"`  // only of a group with a role
}

// Service is what the role of a group sees of its service on one node: a database server, for one.
type Service struct {
	At        time.Time `json:"at,omitzero"`         // when it was looked at; absent: not yet
	Version   string    `json:"version,omitempty"`   // the service's name and version
	Down      string    `json:"down,omitempty"`      // why it cannot be asked; the rest is then what was seen before
	Writable  bool      `json:"writable"`            // others than administrators can write
	Following string    `json:"following,omitempty"` // the node whose changes it applies
	Connected bool      `json:"connected"`           // what it follows sends, as far as is known
	LagMs     int64     `json:"lag_ms"`              // behind the one that it follows; -1: not known
	Position  string    `json:"position,omitempty"`  // everything that it has applied, in the service's own terms
	Broken    string    `json:"broken,omitempty"`    // why it does not apply changes, and will not without help
	Diverged  string    `json:"diverged,omitempty"`  // what it has that the one that it follows lacks
	SemiSync  string    `json:"semi_sync,omitempty"` // whether commits wait for a replica: "off", "on", "fallen back"
	Warning   string    `json:"warning,omitempty"`   // worth a look, though it can go on
}

// Draining is how far a node is that has handed a group over and finishes its open connections.
type Draining struct {
	Connections int   `json:"connections"` // open ones; -1: not counted yet
	LeftMs      int64 `json:"left_ms"`     // then the rest is reset
}

// SwitchoverRequest asks for a planned move.
type SwitchoverRequest struct {
	Group string `json:"group"`
	To    string `json:"to,omitempty"` // empty: the next owner by preference
	Force bool   `json:"force,omitempty"`
	// Strict resets the open connections, whatever the group's handover says.
	Strict bool `json:"strict,omitempty"`
}

// A StepState says how far a step of a switchover came.
type StepState string

// The states of a step.
const (
	StepRunning StepState = "running"
	StepOK      StepState = "ok"
	StepFailed  StepState = "failed"
)

// SwitchoverStep is one step of a planned move. A step is reported once when it starts, if it takes
// long enough to matter, and once with its result.
type SwitchoverStep struct {
	Step   string    `json:"step"`
	State  StepState `json:"state"`
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
}

// An Outcome is how a planned move ended.
type Outcome string

// The outcomes of a planned move.
const (
	OutcomeMoved      Outcome = "moved"
	OutcomeRefused    Outcome = "refused"     // preflight said no, nothing has changed
	OutcomeRolledBack Outcome = "rolled-back" // the target did not come up, another has it: Owner says who
	OutcomeFailed     Outcome = "failed"      // neither: look at the status
)

// SwitchoverResult is the end of a planned move.
type SwitchoverResult struct {
	Group     string           `json:"group"`
	From      string           `json:"from"`
	To        string           `json:"to"`
	Outcome   Outcome          `json:"outcome"`
	Owner     string           `json:"owner,omitempty"` // who has it at the end, as far as is known
	Reason    string           `json:"reason,omitempty"`
	Epoch     uint64           `json:"epoch"`
	NoOwnerMs float64          `json:"no_owner_ms"` // how long nobody owned it
	Drains    bool             `json:"drains"`      // From finishes its open connections: see its state in the status
	Steps     []SwitchoverStep `json:"steps"`       // finished ones, in order
}

// MaintenanceRequest puts a node into maintenance, or takes it out.
type MaintenanceRequest struct {
	Node   string `json:"node,omitempty"` // empty: the node that is asked
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty"`
	Force  bool   `json:"force,omitempty"`  // also where a group is left without an owner
	Strict bool   `json:"strict,omitempty"` // open connections are reset, not finished
}

// MaintenanceResult is what became of a [MaintenanceRequest].
type MaintenanceResult struct {
	Node   string             `json:"node"`
	On     bool               `json:"on"`     // the node is in maintenance now
	Done   bool               `json:"done"`   // what was asked for is so
	Reason string             `json:"reason"` // why it is in maintenance; why not, where Done is false
	Groups []SwitchoverResult `json:"groups"` // the moves that it took
}

// CheckRun is one check, run once and now; it does not change the judgement.
type CheckRun struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"`
	OK       bool    `json:"ok"`
	Required bool    `json:"required"`
	Message  string  `json:"message"`
	TookMs   float64 `json:"took_ms"`
}

// ReloadResult says what a reload did.
type ReloadResult struct {
	Changed      []string `json:"changed"`       // in force now
	NeedsRestart []string `json:"needs_restart"` // differs in the file, in force after a restart
	Warnings     []string `json:"warnings"`
}

// A Code is the class of an [Error].
type Code string

// The classes of errors. The server maps them to HTTP status codes and back.
const (
	CodeBadRequest  Code = "bad_request" // the request makes no sense: say it differently
	CodeForbidden   Code = "forbidden"
	CodeNotFound    Code = "not_found"   // no such group, node or check
	CodeConflict    Code = "conflict"    // not now: another switchover or reload is running
	CodeInvalid     Code = "invalid"     // the config file is not valid; nothing has changed
	CodeUnavailable Code = "unavailable" // the agent is starting, stopping or has too many callers
	CodeTimeout     Code = "timeout"
	CodeInternal    Code = "internal"
	CodeNoAgent     Code = "no_agent" // made by the client: nobody listens
)

// Error is what the agent answers instead of a result. An [Agent] returns one (wrapped or not) where
// the class matters; every other error counts as [CodeInternal].
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Sentinels for errors.Is, for the classes on which callers act.
var (
	ErrNoAgent    = errors.New("no agent answers")
	ErrPermission = errors.New("not permitted")
)

// Errorf makes an [Error] of a class.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns the message alone: it is written for people, the code for programs.
func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, ErrNoAgent) and errors.Is(err, ErrPermission) work.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNoAgent:
		return e.Code == CodeNoAgent
	case ErrPermission:
		return e.Code == CodeForbidden
	}
	return false
}
