package lab

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A printer writes the demo's timeline: seconds, what happens, owner, longest wait, promise, in 80 columns.
// Errors of writing are not reported: there is nobody left to read them.
type printer struct{ out io.Writer }

const timelineRow = "%6s  %-43s %-5s  %9s  %9s\n"

func (p printer) row(cells ...any) {
	line := fmt.Sprintf(timelineRow, cells...)
	fmt.Fprintln(p.out, strings.TrimRight(line, " \n"))
}

// site introduces the machines.
func (p printer) site(r *DemoReport) {
	fmt.Fprintf(p.out, "Three machines in throw-away namespaces. Nothing of this computer is touched.\n\n")
	standIns := false
	for _, m := range r.Machines {
		var names []string
		for _, s := range m.Services {
			names = append(names, s.Name)
			standIns = standIns || !s.Real
		}
		if !m.MayOwn {
			names = append(names, "and a vote")
		}
		fmt.Fprintf(p.out, "  %-7s%-13s%s\n", m.Name, m.Address, strings.Join(names, ", "))
	}
	fmt.Fprintf(p.out, "  %-7s%-13sasks http://%s/ every 5 ms, each time anew\n\n", "client", "", r.Address)
	if standIns {
		fmt.Fprintf(p.out, "  Built-in: not installed here, hbagent brings a stand-in.\n\n")
	}
	p.row("s", "", "owner", "no answer", "promise")
}

// did says what is done to the site.
func (p printer) did(at time.Duration, text string) { p.row(seconds(at), text, "", "", "") }

// owns says who has the address, where there is nothing to measure.
func (p printer) owns(at time.Duration, text, owner string) {
	p.row(seconds(at), "  "+text, owner, "", "")
}

// result says what came of it, and what the client noticed.
func (p printer) result(at time.Duration, text string, s DemoStep) {
	noticed, promise := duration(s.GapMs), "none lost"
	switch {
	case s.PromiseMs > 0:
		promise = duration(s.PromiseMs)
	case s.Lost == 0:
		noticed = "none lost"
	default:
		noticed = fmt.Sprintf("%d lost", s.Lost)
	}
	p.row(seconds(at), "  "+text, s.Owner, noticed, promise)
	if !s.Kept {
		p.row("", "  (more than promised: is this machine busy?)", "", "", "")
	}
}

// summary closes the timeline.
func (p printer) summary(r *DemoReport) {
	fmt.Fprintf(p.out, "\n%d questions \"who has %s?\": two machines answered %s.\n",
		r.ARP.Asked, r.Address, times(r.ARP.TwoOwners))
	fmt.Fprintf(p.out, "%d requests of the client: %d without an answer, in the gaps above.\n", r.Client.Asked, r.Client.Lost)
}

func times(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

// duration writes milliseconds as a person would: 9 ms, 0.43 s.
func duration(ms float64) string {
	if ms < 100 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f s", ms/1000)
}
