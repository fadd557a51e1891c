package lease

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"time"
)

// Instant is a reading of CLOCK_BOOTTIME in nanoseconds: comparable within one
// boot of one kernel, and meaningless elsewhere.
type Instant int64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Time is what the caller's clocks say at one moment.
type Time struct {
	Boot Instant // CLOCK_BOOTTIME
	Unix int64   // wall clock, seconds; used for new epochs only
}

// Epoch numbers the leases of one group; it grows each time a group changes
// hands. It fences: whoever sees a higher epoch knows that a lower one is over.
type Epoch uint64

// RunID names one run of an agent's identity. It is random, new for each boot,
// and kept over a restart of the agent within one boot, so that a lease can be
// resumed.
type RunID uint64

// String returns the run id as sixteen hexadecimal digits.
func (r RunID) String() string { return fmt.Sprintf("%016x", uint64(r)) }

// Seq orders the messages of a node: Incarnation grows with each start of the
// agent, Counter with each message. A pair is never used twice.
type Seq struct {
	Incarnation uint64
	Counter     uint64
}

// Compare orders sequence numbers, older first.
func (s Seq) Compare(o Seq) int {
	return cmp.Or(cmp.Compare(s.Incarnation, o.Incarnation), cmp.Compare(s.Counter, o.Counter))
}

// Bounds given by the design.
const (
	MinTTL = 50 * time.Millisecond
	MaxTTL = 30 * time.Second
)

// Chosen by us.
const (
	// MaxGroups bounds what a message, a record and a Machine may carry.
	MaxGroups = 1024
	// MaxNodes bounds the configured nodes: every voter costs a datagram per round.
	MaxNodes = 256
	// MaxName bounds the names of clusters, nodes and groups, in bytes.
	MaxName = 63

	// A round starts every ttl/3, and is asked again every ttl/20: twelve tries before a lease lapses, where answers take less
	// than ttl/40.
	// Voters then forget a dead holder after 2 to 3 renewals (docs/decisions/0025).
	renewDivisor = 3

	resendDivisor    = 20  // an unanswered request is sent again after ttl/20, or twice what the voter's answers take
	latencyDecay     = 8   // that is forgotten by an eighth with each message that comes sooner
	transferDivisor  = 50  // a transfer, its ticket and a release are repeated after ttl/50; a request with a ticket waits for slow voters, too
	rankDivisor      = 20  // each later candidate asks ttl/20 later than the one before it,
	turnHalf         = 6   // and one without a vote that is the seventh half of the way from the first to the last: see turn
	contestedDivisor = 100 // a refusal is not asked about again within ttl/100,
	soonDivisor      = 50  // unless the voter keeps a promise that ends within ttl/50: see soonest

	// soonest is how soon such a voter is asked again at the earliest: the request
	// came that much before the promise's end, because two voters got the last
	// renewal of a dead holder at different moments, or their clocks' rates differ.
	soonest        = 500 * time.Microsecond
	acquireDivisor = 2  // an acquisition that is undecided after ttl/2 is given up
	marginDivisor  = 10 // default margin

	releaseRepeats  = 2  // a lost release costs the cluster one ttl; two repeats make that rare
	transferRepeats = 20 // bounded by ttl/50 * 20 = 0.4 ttl
	maxRepeats      = 4  // under way at once for a group: the newest are what matters

	// sequenceMemory is how long a voter remembers the last sequence of a
	// silent node. No datagram lives that long (RFC 791 allows 255 s in
	// theory; on one segment it is milliseconds), and a node whose wall clock
	// went back over a reboot can be heard again after it.
	sequenceMemory = 60 * time.Second
)

// RenewInterval is how long after one round a holder begins the next: the
// heartbeat of a lease with this ttl, as long as no answer is lost.
func RenewInterval(ttl time.Duration) time.Duration { return ttl / renewDivisor }

// Config is what a Machine needs to know. All fields are read once, by New.
type Config struct {
	Cluster    string
	Node       string
	RunID      RunID
	Nodes      []string // every configured node, this one included
	Voters     []string // those whose vote counts; a subset of Nodes
	Generation uint64   // of the voter list
	TTL        time.Duration
	Margin     time.Duration // 0 means TTL/10
	Groups     []string

	// Incarnation must be larger than at any earlier start of this node.
	Incarnation uint64
	// Record is what the last run of the same boot left, nil when there is
	// none: then the voter is in quarantine for max(TTL, LastTTL).
	Record *Record
	// LastTTL is the ttl of the last run, from a disk that survives a boot.
	LastTTL time.Duration
	// Witness turns the rule for two machines on; only with two voters.
	Witness bool
	// Rand randomises back-off. Required; seeded by the caller, so that a
	// simulation replays.
	Rand *rand.Rand
}

func (c Config) validate() error {
	switch {
	case c.Node == "" || c.Cluster == "":
		return fmt.Errorf("lease: cluster and node need names")
	case c.TTL < MinTTL || c.TTL > MaxTTL:
		return fmt.Errorf("lease: ttl %v is outside %v to %v", c.TTL, MinTTL, MaxTTL)
	case c.Margin < 0 || c.Margin >= c.TTL/2:
		return fmt.Errorf("lease: margin %v must be between 0 and half the ttl", c.Margin)
	case len(c.Voters) == 0 || len(c.Nodes) > MaxNodes:
		return fmt.Errorf("lease: %d voters, %d nodes: need at least one voter and at most %d nodes", len(c.Voters), len(c.Nodes), MaxNodes)
	case len(c.Groups) > MaxGroups:
		return fmt.Errorf("lease: %d groups, at most %d", len(c.Groups), MaxGroups)
	case c.Witness && len(c.Voters) != 2:
		return fmt.Errorf("lease: a witness decides between two voters, not %d", len(c.Voters))
	case c.Rand == nil:
		return fmt.Errorf("lease: no source of randomness")
	}
	return nil
}

// Violation is the panic value of a broken invariant.
type Violation struct {
	Invariant int // as numbered in the package documentation
	Detail    string
}

// Error names the invariant and what was found.
func (v *Violation) Error() string {
	return fmt.Sprintf("lease: invariant %d broken: %s", v.Invariant, v.Detail)
}

func assert(ok bool, invariant int, format string, args ...any) {
	if !ok {
		panic(&Violation{Invariant: invariant, Detail: fmt.Sprintf(format, args...)})
	}
}
