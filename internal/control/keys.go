package control

import "time"

// NodeKeys names the gossip keys of one node by their fingerprints.
type NodeKeys struct {
	First    string   `json:"first"`              // encrypts
	Others   []string `json:"others"`             // are understood, too
	Rotating string   `json:"rotating,omitempty"` // the key of a rotation that is under way there
	Stage    int      `json:"stage,omitempty"`    // of that: 1, it is understood; 2, it encrypts
	Learnt   bool     `json:"learnt"`             // by a rotation: the node's key file has others, which do not count
}

// KeyStatus is which keys the nodes have, as one node knows it. No key is in it.
type KeyStatus struct {
	Cluster   string    `json:"cluster"`
	Node      string    `json:"node"` // who answers
	At        time.Time `json:"at"`
	Encrypted bool      `json:"encrypted"` // false: [cluster] insecure is set, there are no keys
	Agree     bool      `json:"agree"`     // every configured node has the same one key, and no other
	Nodes     []KeyNode `json:"nodes"`     // in the order of the config
	Warnings  []string  `json:"warnings"`
}

// KeyNode is what is known of one node's keys.
type KeyNode struct {
	Node  string    `json:"node"`
	Alive bool      `json:"alive"`
	Keys  *NodeKeys `json:"keys,omitempty"` // as it told last; absent: nothing, or it is older than this
	// HeardWith is the key of ours with which the answering node heard it last. Empty: with none, or not at all.
	HeardWith    string    `json:"heard_with,omitempty"`
	Unreadable   uint64    `json:"unreadable"` // packets of it that none of the answering node's keys opened, since its start
	UnreadableAt time.Time `json:"unreadable_at,omitzero"`
}

// KeyRotateRequest asks for a new gossip key on every node.
type KeyRotateRequest struct {
	Without []string `json:"without,omitempty"` // nodes that are down and go on with the old key
	Abort   bool     `json:"abort,omitempty"`   // give up a rotation that nobody encrypts by yet
}

// A KeyOutcome is how a rotation ended.
type KeyOutcome string

// The outcomes of a rotation.
const (
	KeyRotated KeyOutcome = "rotated" // every node that took part has the new key, and no other
	KeyRefused KeyOutcome = "refused" // nothing has changed
	KeyWaiting KeyOutcome = "waiting" // half done, and nothing is broken: asking again goes on
	KeyAborted KeyOutcome = "aborted" // the new key is forgotten
)

// KeyRotation is the end of a rotation, or of a part of one.
type KeyRotation struct {
	Outcome KeyOutcome       `json:"outcome"`
	Key     string           `json:"key"`     // fingerprint of the new one; empty if none was made
	Stage   int              `json:"stage"`   // that every node has reached: 1, they understand it; 2, they encrypt with it; 3, they know no other
	Resumed bool             `json:"resumed"` // it went on with one that was begun before
	Without []string         `json:"without"` // nodes that were left out
	Reason  string           `json:"reason,omitempty"`
	Steps   []SwitchoverStep `json:"steps"` // finished ones, in order
}
