package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Kind is a sort of fault.
type Kind string

// What can happen to a site. The length of a fault is Fault.For unless the comment says otherwise.
const (
	Kill          Kind = "kill"            // SIGKILL of the agent; it is started again at the end
	KillRestart   Kind = "kill-restart"    // SIGKILL of the agent, and started at once
	End           Kind = "end"             // SIGUSR2: the agent keeps what it has, as before a restart, that comes at the end only
	Stop          Kind = "stop"            // SIGTERM of the agent: it hands over; it is started again at the end
	Hang          Kind = "hang"            // SIGSTOP of the agent
	Stutter       Kind = "stutter"         // SIGSTOP of the agent again and again, Times times For, with as long between
	RestartStorm  Kind = "restart-storm"   // the agent restarts (SIGUSR2) Times times
	Freeze        Kind = "freeze"          // every process of the machine stands still
	Power         Kind = "power"           // the machine has no power
	Isolate       Kind = "isolate"         // nothing from and to the machine
	Deaf          Kind = "deaf"            // nothing to the machine
	Mute          Kind = "mute"            // nothing from the machine
	Between       Kind = "between"         // nothing between the machine and another one
	Loss          Kind = "loss"            // 30 % of the machine's frames
	LossAll       Kind = "loss-everywhere" // 30 % of all frames
	Flap          Kind = "flap"            // isolated again and again, Times times For, with as long between
	CardDown      Kind = "card-down"       // ip link set eth0 down
	Unplug        Kind = "unplug"          // no carrier
	FlushRules    Kind = "flush-rules"     // nft flush ruleset
	LoseAddresses Kind = "lose-addresses"  // the floating addresses are deleted
	FlushAll      Kind = "flush-addresses" // ip address flush; the machine's own come back at the end
	Busy          Kind = "load"            // two busy processes on the machine
	Switchover    Kind = "switchover"      // a person moves the group; no fault, but it happens meanwhile
)

// Kinds are all of them, in the order of the summary.
var Kinds = []Kind{Kill, KillRestart, End, Stop, Hang, Stutter, RestartStorm, Freeze, Power, Isolate, Deaf, Mute, Between,
	Loss, LossAll, Flap, CardDown, Unplug, FlushRules, LoseAddresses, FlushAll, Busy, Switchover}

// KindsOf are those that a site is promised to stand. Two machines and a witness cannot stand Between: each hears the
// witness and believes the other one dead, and neither can hear the other one answer for the address.
func KindsOf(witness bool) []Kind {
	return slices.DeleteFunc(slices.Clone(Kinds), func(k Kind) bool { return witness && k == Between })
}

// A Role says whom a fault meets. It is looked up when the fault begins.
type Role string

// The roles.
const (
	Owner   Role = "owner"   // who answers for the address
	Standby Role = "standby" // another one
	Anybody Role = "anybody"
)

// A Fault is one thing that happens to a site.
type Fault struct {
	Kind  Kind
	At    Role
	For   time.Duration
	Times int
	Pick  int // which one, where a role fits several
}

func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s", f.Kind, f.At)
	if f.At != Owner {
		fmt.Fprintf(&b, " %d", f.Pick)
	}
	if f.Times > 0 {
		fmt.Fprintf(&b, " %dx", f.Times)
	}
	if f.For > 0 {
		fmt.Fprintf(&b, " %v", f.For)
	}
	return b.String()
}

// A part of a machine that one fault at a time may have.
type part string

const (
	agentPart part = "agent" // its process
	cardPart  part = "card"
	rulesPart part = "rules"
)

// parts are those a kind must have for itself. Faults in the switch need none: they add up.
func (k Kind) parts() []part {
	switch k {
	case Hang, Stutter, Freeze, Switchover:
		return []part{agentPart}
	case Kill, KillRestart, End, Stop, RestartStorm:
		// Rules that are flushed while there is no agent are the one pair that hbagent does not promise to stand:
		// the tables have lost their owner, and what is still on the card answers until its lifetime ends.
		return []part{agentPart, rulesPart}
	case FlushRules: // also of a machine whose agent hangs
		return []part{rulesPart}
	case Power:
		return []part{agentPart, cardPart, rulesPart}
	case CardDown, Unplug, FlushAll, LoseAddresses, Busy:
		return []part{cardPart}
	}
	return nil
}
