package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/setup"
)

// run asks everything, in an order in which each answer helps with the next.
func (iv *interview) run() error {
	s, o := iv.s, iv.o
	if iv.asks {
		iv.greet()
	}
	for _, blind := range s.Machine.Blind {
		iv.say("note: %s", blind)
	}
	for _, step := range []func() error{
		func() error {
			return iv.one("cluster", o.cluster, "Name of the cluster", s.DefaultCluster(), s.SetCluster)
		},
		iv.nodes,
		iv.addresses,
		func() error {
			return iv.one("group", o.group, "Name of the group of addresses", s.DefaultGroup(), s.SetGroup)
		},
		func() error {
			return iv.one("owners", o.owners, "Machines that may own it, in order of preference", strings.Join(s.DefaultOwners(), " "), s.SetOwners)
		},
		iv.iface,
		iv.witness,
		iv.checks,
		iv.ttl,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (iv *interview) greet() {
	var found []string
	for _, f := range iv.s.Machine.Services {
		found = append(found, f.Name)
	}
	var own []string
	for _, p := range iv.s.Machine.Network.Own() {
		own = append(own, p.String())
	}
	iv.say("This machine is %s with %s. Found: %s.", orDash(iv.s.Machine.Hostname), orDash(strings.Join(own, ", ")),
		cmp.Or(strings.Join(found, ", "), "no service that is known"))
	iv.say("Enter takes what stands in brackets. Nothing is written before the last question.")
}

func (iv *interview) nodes() error {
	if iv.asks && len(iv.o.nodes) == 0 {
		iv.say("\nThe machines with an agent, as NAME=ADDRESS: this one first, each with its own fixed")
		iv.say("address. Three survive the loss of one; the third may be any machine, it only votes.")
	}
	ordinal := []string{"First machine", "Second machine", "Third machine"}
	return iv.several("node", iv.o.nodes, 2, func(n int) string {
		if n < len(ordinal) {
			return ordinal[n]
		}
		return "Another machine"
	}, iv.s.DefaultNode(), iv.addNode)
}

func (iv *interview) addresses() error {
	return iv.several("address", iv.o.addresses, 1, func(n int) string {
		if n == 0 {
			return "Floating address, as 10.0.0.50/24"
		}
		return "Another floating address"
	}, "", iv.s.AddAddress)
}

func (iv *interview) iface() error {
	def, doubt := iv.s.DefaultInterface()
	if doubt != "" && iv.o.interfaces == "" {
		iv.say("note: %s", doubt)
	}
	return iv.one("interface", iv.o.interfaces, "Interface of the floating address on these machines", def, iv.s.SetInterface)
}

func (iv *interview) witness() error {
	if len(iv.s.Nodes) != 2 && iv.o.witness == "" {
		return nil
	}
	if iv.asks && iv.o.witness == "" {
		iv.say("Two machines have no majority when they lose each other. A third machine is best; else the")
		iv.say("gateway decides (- for none: then nothing fails over).")
	}
	return iv.one("witness", iv.o.witness, "Witness", iv.s.DefaultWitness(), iv.s.SetWitness)
}

func (iv *interview) checks() error {
	for _, list := range []struct {
		flag  string
		given []string
		moves bool
	}{{"check", iv.o.checks, true}, {"watch", iv.o.watches, false}} {
		for _, text := range list.given {
			if err := iv.s.AddCheck(text, list.moves); err != nil {
				return usagef("--%s %s: %v", list.flag, text, err)
			}
		}
	}
	for _, c := range iv.s.Propose() {
		if err := iv.choose(c); err != nil {
			return err
		}
	}
	if !iv.asks || len(iv.o.checks)+len(iv.o.watches) > 0 {
		return nil
	}
	return iv.several("check", nil, 0, func(int) string {
		return "Another check, as NAME=TYPE@NODE,NODE"
	}, "", func(text string) error { return iv.s.AddCheck(text, true) })
}

// choose lets a person say where a check runs.
func (iv *interview) choose(c setup.Choice) error {
	if !iv.asks || c.Off {
		return iv.s.TakeCheck(c)
	}
	does := "is shown"
	if c.Moves {
		does = "moves the address"
	}
	iv.say("%s", strings.Join(c.Comment[:1], " "))
	return iv.until(fmt.Sprintf("Check %s (%s) %s; on (- for none)", c.Name, target(c), does), strings.Join(c.Nodes, " "), func(answer string) error {
		if answer == setup.None {
			return nil
		}
		changed := c
		changed.Nodes = setup.List(answer)
		changed.Moves = c.Moves && !slices.ContainsFunc(iv.s.Owners, func(o string) bool { return !slices.Contains(changed.Nodes, o) })
		if !slices.Equal(changed.Nodes, c.Nodes) {
			changed.NodesWhy = ""
		}
		return iv.s.TakeCheck(changed)
	})
}

// target is what a check asks, for people.
func target(c setup.Choice) string {
	return cmp.Or(c.URL, c.Address, c.DSNFile, c.Unit, strings.Join(c.Command, " "), c.Interface, c.Target, c.Type)
}

// ttl measures, unless it is told, or a cluster that runs has one already.
func (iv *interview) ttl() error {
	set := func(text string) error { return iv.s.SetTTL(text, "a dead owner costs about this much") }
	if iv.o.ttl != "" {
		return iv.one("ttl", iv.o.ttl, "", "", set)
	}
	if iv.s.Prior != nil {
		return iv.one("ttl", "", "Lease time", config.ShortDuration(iv.s.Prior.Lease.TTL), set)
	}
	iv.say("Measuring for %d seconds how late this machine wakes up and how far the others are ...", int(stallFor.Seconds()))
	stall, trip := iv.measure()
	if iv.ctx.Err() != nil {
		return iv.ctx.Err()
	}
	proposed, why := setup.ProposeTTL(stall, trip)
	return iv.one("ttl", "", "Lease time: a dead owner costs about this much", config.ShortDuration(proposed), func(text string) error {
		if text != config.ShortDuration(proposed) {
			return set(text)
		}
		return iv.s.SetTTL(text, why)
	})
}

func (iv *interview) measure() (stall, trip time.Duration) {
	asked := make(chan time.Duration, 1)
	go func() {
		var longest time.Duration
		answered := 0
		for _, t := range iv.neighbors.init.trips(iv.ctx, iv.s.Peers()) {
			longest = max(longest, t.Longest)
			if t.Answers > 0 {
				answered++
			}
		}
		switch all := count(len(iv.s.Peers()), "other machine"); answered {
		case 0:
			iv.say("  none of %s answers a ping (yet)", all)
		default:
			iv.say("  %d of %s answer a ping; the longest round trip took %s", answered, all, millis(ms(longest)))
		}
		asked <- longest
	}()
	stall = iv.neighbors.init.stall(iv.ctx, stallFor)
	trip = <-asked
	iv.say("  woken %s late at most", millis(ms(stall)))
	return stall, trip
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// summary shows what will be written.
func (iv *interview) summary() {
	s := iv.s
	var names []string
	for _, n := range s.Nodes {
		name := n.Name
		if name == s.Self() {
			name += " (here)"
		}
		names = append(names, name)
	}
	on := s.Interface
	if s.Interfaces != nil {
		on = "its own interface"
	}
	iv.say("\nCluster %s: %s; lease time %s.", s.Cluster, strings.Join(names, ", "), config.ShortDuration(s.TTL))
	iv.say("Group %s: %s on %s, at %s.", s.Group, strings.Join(s.Addresses, ", "), on, strings.Join(s.Owners, ", else "))
	for _, c := range s.Checks {
		does := "is shown"
		switch {
		case c.Off:
			does = "stands there as a comment"
		case c.Moves:
			does = "moves the address"
		}
		iv.say("Check %s (%s) on %s: %s.", c.Name, target(c), strings.Join(c.Nodes, ", "), does)
	}
}
