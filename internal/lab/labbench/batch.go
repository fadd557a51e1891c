package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/hbagent/hbagent/internal/bench"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// batchNet is where the further addresses of a batch are. Each is a /32: of those that share a prefix the kernel
// would take all when the first one goes.
const batchNet = "10.78.0.0/16"

// batchAddresses are n addresses, the lab's floating one first.
func batchAddresses(n int) []netip.Prefix {
	addrs := []netip.Prefix{lab.Floating4}
	for i := 1; i < n; i++ {
		addrs = append(addrs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 78, byte(i / 250), byte(1 + i%250)}), 32))
	}
	return addrs
}

// reach gives the client and the machines a route to the further addresses.
func (s *site) reach(ctx context.Context, addrs []netip.Prefix) (err error) {
	if len(addrs) < 2 {
		return nil
	}
	_, err = s.w.Client.Output(ctx, exec.Command("ip", "route", "add", batchNet, "dev", "eth0"))
	return err
}

// batch takes the power from the owner of many addresses. Spread is from the first to the last of the addresses'
// first announcements by the other machine; Outage is the client's, on the last address.
func (j job) batch(ctx context.Context, t rivals.Tool, s rivals.Setting) (f found, err error) {
	b := bench.Batch{Tool: j.Tool, Setting: j.Setting, Addresses: j.Addresses}
	addrs := batchAddresses(j.Addresses)
	site, err := j.newSite(ctx, t, s, rivals.Options{Addresses: addrs}, closely)
	if err != nil {
		b.Failed = err.Error()
		f.Batches = []bench.Batch{b}
		return f, nil
	}
	defer site.end()
	for range j.Runs {
		spread, outage, err := site.moveMany(ctx, addrs)
		if err != nil {
			b.Failed = err.Error()
			break
		}
		fmt.Fprintf(os.Stderr, "  %s: announced within %.1f ms, outage %.1f ms\n", j, ms(spread), ms(outage))
		b.Spread, b.Outage = append(b.Spread, ms(spread)), append(b.Outage, ms(outage))
	}
	f.Batches = []bench.Batch{b}
	return f, ctx.Err()
}

// moveMany takes the power from the owner once, and gives it back.
func (s *site) moveMany(ctx context.Context, addrs []netip.Prefix) (spread, outage time.Duration, err error) {
	owner, err := s.steady(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := s.chance(ctx); err != nil {
		return 0, 0, err
	}
	from := time.Now()
	if err := s.w.Node(owner).PowerOff(); err != nil {
		return 0, 0, err
	}
	limit, cancel := context.WithTimeout(ctx, moveLimit+steadyLimit)
	defer cancel()
	other := otherThan(owner)
	if err := s.echo.WaitAnswer(limit, from, other); err != nil {
		return 0, 0, err
	}
	for {
		first, last, n := announced(s.claims.Announcements(from, time.Now()), other)
		if n == len(addrs) {
			spread = last.Sub(first)
			break
		}
		if lab.Pause(limit, lookPause) != nil {
			return 0, 0, fmt.Errorf("%s announced %d of %d addresses in %v", other, n, len(addrs), moveLimit+steadyLimit)
		}
	}
	outage = s.echo.LongestGap(from, time.Now()).Length()
	if err := s.w.Node(owner).PowerOn(ctx); err != nil {
		return 0, 0, err
	}
	return spread, outage, errors.Join(s.serve(ctx, owner), s.cluster.Start(ctx, owner))
}

// announced finds the first and the last of the addresses' first announcements by a machine, and how many addresses it
// announced.
func announced(list []lab.Announcement, node string) (first, last time.Time, n int) {
	seen := make(map[netip.Addr]bool)
	for _, a := range list {
		if a.Node != node || seen[a.Addr] || a.Claim != lab.GratuitousRequest && a.Claim != lab.GratuitousReply {
			continue
		}
		if seen[a.Addr] = true; len(seen) == 1 {
			first = a.At
		}
		last = a.At
	}
	return first, last, len(seen)
}
