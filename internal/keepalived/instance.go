package keepalived

import (
	"net/netip"
	"strings"
	"time"
)

// Given by keepalived.conf(5).
const (
	defaultPriority = 100
	defaultAdvert   = time.Second
)

// Chosen by us: more than a site has.
const (
	maxInstances = 200
	maxAddresses = 500
	maxTracks    = 500
)

func (m *machine) instance(s *statement) {
	i := &instance{pos: s.pos, name: s.arg(0), priority: defaultPriority, advert: defaultAdvert, notify: map[string]hook{}}
	for _, c := range s.block {
		switch c.keyword() {
		case "state":
			i.master = c.arg(0) == "MASTER"
		case "interface":
			i.iface = c.arg(0)
		case "virtual_router_id":
			i.router = c.arg(0)
		case "priority":
			i.priority = m.number(c, defaultPriority, 1, 255)
		case "advert_int":
			i.advert = m.seconds(c, defaultAdvert)
		case "nopreempt":
			i.nopreempt = true
		case "preempt_delay":
			i.preemptDelay = m.seconds(c, 0)
		case "dont_track_primary":
			i.noLinkCheck = true
		case "unicast_src_ip", "mcast_src_ip":
			if a, err := netip.ParseAddr(c.arg(0)); err == nil {
				i.source = append(i.source, a.Unmap().WithZone(""))
			} else {
				m.note(c.pos, "%s %s: not an address", c.keyword(), c.arg(0))
			}
		case "unicast_peer":
			for _, p := range c.block {
				if a, err := netip.ParseAddr(p.keyword()); err == nil {
					i.peers = append(i.peers, a.Unmap().WithZone(""))
				} else {
					m.note(p.pos, "unicast_peer %s: not an address", p.keyword())
				}
			}
		case "authentication":
			m.note(c.pos, "authentication: not needed: every message is encrypted and authenticated with the key of hbagent keygen")
		case "virtual_ipaddress", "virtual_ipaddress_excluded":
			for _, a := range c.block {
				m.address(i, a)
			}
		default:
			if !m.shared(c, &i.tracks, i.notify) {
				m.told(c, instanceLost, "key of vrrp_instance")
			}
		}
	}
	if len(m.instances) == maxInstances {
		m.note(s.pos, "more than %d instances: the rest is left away", maxInstances)
		return
	}
	m.instances = append(m.instances, i)
}

// shared are the keys that instances and sync groups have in common.
func (m *machine) shared(c *statement, tracks *[]track, notify map[string]hook) bool {
	switch c.keyword() {
	case "track_script", "track_interface", "track_process":
		kind := strings.TrimPrefix(c.keyword(), "track_")
		for _, t := range c.block {
			if m.tracks++; m.tracks > maxTracks {
				if m.tracks == maxTracks+1 {
					m.note(t.pos, "more than %d tracked things: the rest is left away", maxTracks)
				}
				break
			}
			*tracks = append(*tracks, m.track(kind, t))
		}
	case "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify":
		_, command := commandOf(scriptWords(c.words[1:]))
		notify[c.keyword()] = hook{c.pos, command}
	default:
		return false
	}
	return true
}

// scriptWords leaves away the user and group that may follow a script: a script with arguments is one quoted word.
func scriptWords(words []string) []string {
	if len(words) > 1 {
		return words[:1]
	}
	return words
}

func (m *machine) track(kind string, s *statement) track {
	t := track{pos: s.pos, kind: kind, name: s.keyword()}
	for n := 1; n < len(s.words); n++ {
		switch s.words[n] {
		case "weight":
			t.weighted = true
			t.weight = m.number(&statement{pos: s.pos, words: s.words[n:]}, 0, -254, 254)
			n++
		case "reverse":
			t.reverse = true
		case "noreverse":
		default:
			m.note(s.pos, "track_%s %s: %s is not known here", kind, t.name, s.words[n])
		}
	}
	return t
}

// addressOptions take a value, or none; whether their loss matters.
var addressOptions = map[string]struct {
	value bool
	why   string
}{
	"brd": {true, ""}, "broadcast": {true, ""}, "dev": {true, ""}, "peer": {true, "an address is added alone"},
	"scope": {true, ""}, "label": {true, "addresses have no label: hbagent status and ip address show them"},
	"preferred_lft": {true, "IPv6 addresses are added with preferred_lft 0, so that none is chosen as a source"},
	"use_vmac":      {false, "the address keeps the card's MAC, and its owner announces it at once"},
	"no_track":      {false, "an address that somebody deletes is put back"},
	"home":          {false, ""}, "-nodad": {false, ""}, "nodad": {false, ""}, "mngtmpaddr": {false, ""}, "noprefixroute": {false, ""}, "autojoin": {false, ""},
	"track_group": {true, ""},
}

func (m *machine) address(i *instance, s *statement) {
	text := s.keyword()
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		addr, errAddr := netip.ParseAddr(text)
		if errAddr != nil {
			m.note(s.pos, "virtual address %s: not an address: left away", text)
			return
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen()) // as keepalived does
	}
	a := address{pos: s.pos, prefix: prefix}
	for n := 1; n < len(s.words); n++ {
		option := s.words[n]
		o, known := addressOptions[option]
		if !known {
			m.note(s.pos, "virtual address %s: option %s is not known here", text, option)
			continue
		}
		if o.why != "" {
			m.note(s.pos, "virtual address %s: %s is not kept: %s", text, option, o.why)
		}
		if o.value {
			n++
			if option == "dev" && n < len(s.words) {
				a.dev = s.words[n]
			}
		}
	}
	if m.addresses++; m.addresses > maxAddresses {
		if m.addresses == maxAddresses+1 {
			m.note(s.pos, "more than %d virtual addresses: the rest is left away", maxAddresses)
		}
		return
	}
	i.addresses = append(i.addresses, a)
}
