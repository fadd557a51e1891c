package agent

import (
	"context"

	"github.com/hbagent/hbagent/internal/role"
)

// Role is what a group does on its node beside having addresses: see the package
// documentation of internal/role for the contract, the order of calls, and who
// calls from which goroutine.
type Role interface {
	// Run looks at the service, tells the agent what it sees, and keeps the service
	// as the last call wanted it: read-only, writable, following. It ends with ctx,
	// and leaves the service as it is.
	Run(ctx context.Context) error

	// Judge says whether this node may own the group. It is pure.
	Judge(role.Situation) role.Verdict
	// Follow names the owner that the service is to follow. It does not wait.
	Follow(role.Leader)
	// Missing counts what a service at position have lacks of want. It is pure. The
	// error is that of a position that cannot be read.
	Missing(have, want string) (role.Missing, error)

	// Prepare applies everything received and stops following. It waits for as long
	// as there is progress, and gives up with role.ErrNotNow when there is none.
	Prepare(context.Context, role.Claim) error
	// Activate makes the service writable, while the claim holds.
	Activate(context.Context, role.Claim) error
	// Deactivate makes the service read-only, and ends what is being written.
	// reason is for the log.
	Deactivate(ctx context.Context, reason string) error
	// HandOver makes the service read-only, and has catchUp wait until the target
	// has everything. It undoes all of that if a step fails.
	HandOver(ctx context.Context, c role.Claim, catchUp func(ctx context.Context, position string) error) error
	// CatchUp, on the target, returns when the service has applied position.
	CatchUp(ctx context.Context, position string) error
}
