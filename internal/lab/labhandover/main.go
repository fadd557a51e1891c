// Labhandover measures what planned moves of a floating address cost a site under load: keep-alive connections,
// slow downloads and uploads with checksums, and new connections, all against real Apache, while the
// address moves to and fro.
//
//	labhandover -hbagent bin/hbagent -for 60s -moves 20
//	labhandover -with keepalived-priority        # the same lab, the same load
//
// It prints what became of the requests and how long the address had no owner on the wire, and exits with 1 if
// a request failed. It needs Apache with PHP, for keepalived also that program, and no root.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/rivals"
)

// Chosen by us.
const (
	arpEvery = time.Millisecond // the shortest time without an owner that is seen
	moveWait = 20 * time.Second
	settle   = 3 * time.Second // of load without any move, before the first one
)

// errFailed: requests failed. It has been printed.
var errFailed = fmt.Errorf("requests failed: %w", lab.ErrReported)

func main() {
	lab.Reexec()
	hbagent := flag.String("hbagent", "bin/hbagent", "the program to measure")
	with := flag.String("with", "hbagent", "what moves the address: hbagent, hbagent-strict, keepalived-fault, keepalived-priority, keepalived-stop")
	length := flag.Duration("for", time.Minute, "how long")
	moves := flag.Int("moves", 20, "how many moves in that time; 0 for the load alone")
	slow := flag.Duration("slow", 20*time.Second, "length of a slow download or upload")
	flag.Parse()
	lab.RunTool("labhandover", func(ctx context.Context) error { return run(ctx, *hbagent, *with, *length, *moves, *slow) })
}

func run(ctx context.Context, hbagent, with string, length time.Duration, moves int, slow time.Duration) (err error) {
	w, err := lab.New(ctx, lab.Options{Hbagent: hbagent})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, name := range []string{"web1", "web2"} {
		web, err := w.Node(name).ApacheForLoad()
		if err != nil {
			return err
		}
		if err := web.Start(ctx); err != nil {
			return err
		}
	}
	m, err := clusterOf(ctx, w, with)
	if err != nil {
		return err
	}
	address := lab.Floating4.Addr()
	arp, err := w.WatchARP(ctx, address, arpEvery)
	if err != nil {
		return err
	}
	owner := ""
	for _, n := range []string{"web1", "web2"} {
		wait, cancel := context.WithTimeout(ctx, moveWait)
		if arp.WaitAnswers(wait, time.Now(), n) == nil {
			owner = n
		}
		cancel()
		if owner != "" {
			break
		}
	}
	loadCtx, endLoad := context.WithTimeout(ctx, length)
	defer endLoad()
	load := w.StartLoad(loadCtx, lab.LoadOptions{Target: netip.AddrPortFrom(address, 80), KeepAlive: 32, Downloads: 8, Uploads: 8, Slow: slow, NewPerSecond: 200})
	began := time.Now()
	gaps, err := moveToAndFro(ctx, m, arp, owner, moves, (length-2*settle)/time.Duration(max(moves, 1)))
	if err != nil {
		fmt.Fprintln(os.Stderr, w.Logs("agent", 40))
		return err
	}
	wait, cancel := context.WithTimeout(ctx, length+slow+moveWait)
	defer cancel()
	if err := load.Wait(wait); err != nil {
		return err
	}
	return report(with, load, gaps, len(arp.Questions(began, time.Now())), len(arp.OwnersOverlap(began, time.Now())))
}

// moveToAndFro makes the moves, and returns how long nobody answered for the address in each.
func moveToAndFro(ctx context.Context, m rivals.Cluster, arp *lab.ARPWatch, owner string, moves int, every time.Duration) (gaps []time.Duration, err error) {
	if moves == 0 {
		return nil, nil
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	if err := lab.Pause(ctx, settle); err != nil {
		return nil, err
	}
	for range moves {
		other := map[string]string{"web1": "web2", "web2": "web1"}[owner]
		from := time.Now()
		one, cancel := context.WithTimeout(ctx, moveWait)
		err := m.Switchover(one, owner, other)
		if err == nil {
			err = arp.WaitAnswers(one, time.Now(), other)
		}
		cancel()
		if err != nil {
			return nil, fmt.Errorf("move to %s: %w", other, err)
		}
		gaps = append(gaps, arp.LongestGap(from, time.Now()).Length())
		owner = other
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
	return gaps, nil
}

func report(with string, load *lab.Load, gaps []time.Duration, asked, twice int) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s, %d moves\tgood\tfailed\twrong bytes\tp50 ms\tp99 ms\tslowest ms\t\n", with, len(gaps))
	bad := 0
	var failures []string
	for _, k := range load.Tallies() {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.1f\t%.1f\t%.0f\t\n", k.Kind, k.Done, k.Failed, k.Wrong, ms(k.P50), ms(k.P99), ms(k.Slowest))
		bad += k.Failed + k.Wrong
		failures = append(failures, k.Failures...)
	}
	t.Flush()
	if len(gaps) > 0 {
		slices.SortFunc(gaps, func(a, b time.Duration) int { return cmp.Compare(a, b) })
		fmt.Printf("longest time without an answer to ARP in a move: median %.1f ms, longest %.1f ms (asked every %v)\n",
			ms(gaps[len(gaps)/2]), ms(gaps[len(gaps)-1]), arpEvery)
	}
	fmt.Printf("%d ARP questions, %d answered by two machines\n", asked, twice)
	if len(failures) > 0 {
		fmt.Println("the first failures:\n  " + strings.Join(failures, "\n  "))
	}
	if bad > 0 {
		return errFailed
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
