package vip

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watch hears what others do to nf_tables, and calls changed when it may concern us. After a report that was
// lost (ENOBUFS) it returns an error, as after every other trouble: the caller looks, and watches again.
func (g *NFTGate) Watch(ctx context.Context, changed func()) error {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return fmt.Errorf("nf_tables subscription: %w", err)
	}
	end := sync.OnceFunc(s.Close)
	defer end()
	defer context.AfterFunc(ctx, end)()
	if err := s.SetReceiveBufferSize(feedBuffer, false); err != nil {
		return fmt.Errorf("nf_tables subscription: %w", err)
	}
	g.mu.Lock()
	own := g.socket.port
	g.mu.Unlock()
	if err := dropOwn(s, own); err != nil {
		return fmt.Errorf("nf_tables subscription: %w", err)
	}
	changed() // whatever happened while nobody listened
	for {
		msgs, from, err := s.Receive()
		if err != nil {
			return fmt.Errorf("nf_tables subscription: %w", err)
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range msgs {
			// A foreign table may be changed all day long (fail2ban, docker), so its name is looked at: the
			// first attribute of every message about our tables is the name of the table.
			if m.Header.Pid != own && len(m.Data) > 4 && unix.ByteSliceToString(attribute(m.Data[4:], 1)) == TableName {
				changed()
				break
			}
		}
	}
}

// Verify compares what stands in the kernel with what was built. What stops raw frames only (an interface
// was made anew, and its chain went with the old one) is put right here, with live groups staying live.
func (g *NFTGate) Verify() (stands bool, err error) {
	g.mu.Lock()
	built, lost, builds := g.built, g.lost, g.builds
	g.mu.Unlock()
	if !built || lost {
		return !built, nil
	}
	g.reading.Lock()
	have, err := takeSnapshot(g.reader, g.table)
	g.reading.Unlock()
	if err != nil {
		return false, fmt.Errorf("gate: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lost || g.builds != builds {
		return !g.lost, nil // what was read is of another time
	}
	if !have.same(familyINet, g.want) || !have.same(familyARP, g.want) {
		g.lost = true
		return false, nil
	}
	if !g.layout.egress {
		return true, nil
	}
	now := layoutOf(g.layout.features, g.groups(), interfaceExists)
	if have.same(familyNetdev, g.want) && len(now.interfaces) == len(g.layout.interfaces) {
		return true, nil
	}
	g.log.Info("gate: chains for what leaves the interfaces made anew", "interfaces", now.interfaces)
	if err := g.rebuild(g.groups(), nil); err != nil {
		return !g.lost, fmt.Errorf("gate: %w", err)
	}
	return true, nil
}

// Restore builds the tables again, with every group shut.
func (g *NFTGate) Restore() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = make(map[string]time.Duration)
	return g.rebuild(g.groups(), func(string) bool { return false })
}

func (g *NFTGate) groups() []Group {
	out := make([]Group, len(g.layout.members))
	for i, m := range g.layout.members {
		out[i] = m.group
	}
	return out
}
