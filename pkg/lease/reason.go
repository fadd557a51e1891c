package lease

import "fmt"

// Reason says why something was refused, shut or lost. Each value has a text
// that a person reads in `hbagent status`; the numbers travel on the wire and
// are never reused.
type Reason uint8

// The reasons.
const (
	ReasonNone Reason = iota

	// A voter's refusals.
	ReasonHeld         // promised to another node, or to another run or epoch of this one
	ReasonEpoch        // the epoch asked for is not higher than one already given
	ReasonQuarantine   // the voter has lost its memory, or was paused: it must wait one ttl
	ReasonGeneration   // another voter list: more than one generation away, or a different one of the same
	ReasonTTL          // configured with another ttl
	ReasonUnknownGroup // the voter's config has no such group
	ReasonVoterChange  // the voter list has just changed: renewals only, for one ttl
	ReasonNotVoter     // this node's vote does not count
	ReasonContested    // promised to another candidate that has not shown a majority yet

	// Why a gate was shut.
	ReasonRefused     // a majority refused to renew
	ReasonExpired     // no majority answered in time
	ReasonReleased    // given up by the owner's own decision
	ReasonTransferred // handed to another node
	ReasonPaused      // this machine stood still: confirm first
	ReasonResume      // the lease could not be resumed after a restart
	ReasonConflict    // another machine answers for the address (two-machine rule)
	ReasonPeerSilence // the peer has not heard this node for one ttl (two-machine rule)
	ReasonRemoved     // the group is no longer configured

	// Why a message was rejected, counted in Stats.
	ReasonWrongCluster
	ReasonUnknownNode
	ReasonOldSequence
	ReasonMalformed
	ReasonUnwanted // a ticket for a node that cannot take the group

	reasonEnd
)

var reasonText = [reasonEnd]string{
	ReasonNone:         "",
	ReasonHeld:         "held by another node",
	ReasonEpoch:        "epoch is not higher than the last one",
	ReasonQuarantine:   "voter is in quarantine after a start or a pause",
	ReasonGeneration:   "another list of voters",
	ReasonTTL:          "configured with another ttl",
	ReasonUnknownGroup: "voter does not know this group",
	ReasonVoterChange:  "voter list has just changed",
	ReasonNotVoter:     "node has no vote",
	ReasonContested:    "promised to another candidate",
	ReasonRefused:      "a majority refused the renewal",
	ReasonExpired:      "no majority answered within the ttl",
	ReasonReleased:     "released",
	ReasonTransferred:  "transferred",
	ReasonPaused:       "machine or process was paused",
	ReasonResume:       "lease could not be resumed after the restart",
	ReasonConflict:     "another machine answers for the address",
	ReasonPeerSilence:  "the peer does not hear this node",
	ReasonRemoved:      "group is no longer configured",
	ReasonWrongCluster: "message of another cluster",
	ReasonUnknownNode:  "message of a node that is not configured",
	ReasonOldSequence:  "old or repeated message",
	ReasonMalformed:    "malformed message",
	ReasonUnwanted:     "target cannot take the group",
}

var reasonName = [reasonEnd]string{
	ReasonNone:         "none",
	ReasonHeld:         "held",
	ReasonEpoch:        "epoch",
	ReasonQuarantine:   "quarantine",
	ReasonGeneration:   "generation",
	ReasonTTL:          "ttl",
	ReasonUnknownGroup: "unknown-group",
	ReasonVoterChange:  "voter-change",
	ReasonNotVoter:     "not-voter",
	ReasonContested:    "contested",
	ReasonRefused:      "refused",
	ReasonExpired:      "expired",
	ReasonReleased:     "released",
	ReasonTransferred:  "transferred",
	ReasonPaused:       "paused",
	ReasonResume:       "resume",
	ReasonConflict:     "conflict",
	ReasonPeerSilence:  "peer-silence",
	ReasonRemoved:      "removed",
	ReasonWrongCluster: "wrong-cluster",
	ReasonUnknownNode:  "unknown-node",
	ReasonOldSequence:  "old-sequence",
	ReasonMalformed:    "malformed",
	ReasonUnwanted:     "unwanted",
}

// Name returns the reason in one word, for programs: it does not change.
func (r Reason) Name() string {
	if r < reasonEnd {
		return reasonName[r]
	}
	return "other"
}

// String returns the text for people.
func (r Reason) String() string {
	if r < reasonEnd {
		return reasonText[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// NeedsPerson tells the refusals that waiting does not mend: the config files of
// two nodes contradict each other.
func (r Reason) NeedsPerson() bool {
	return r == ReasonGeneration || r == ReasonTTL || r == ReasonUnknownGroup || r == ReasonNotVoter
}

// superseded tells the refusals that mean "your lease is over" from those of a
// voter that merely cannot help: a holder shuts at once on a majority of the
// former, and lets its lease run out on the latter.
func (r Reason) superseded() bool {
	return r == ReasonHeld || r == ReasonEpoch || r == ReasonContested
}
