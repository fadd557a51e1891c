package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

var paceTitles = map[string]string{
	Equal:   "At the same heartbeat rate",
	Default: "Each at its default",
	Fastest: "Each at its fastest safe setting",
}

// unwatched stand for Fastest in a run that has not looked for false moves: none of its settings is called safe.
const (
	unwatchedTitle = "Each at its fastest setting"
	unwatchedTold  = "The setting that is taken for the fastest safe one; this run has not looked for false moves, at rest and busy."
)

// watched tells whether the run has looked for false moves at rest and on a busy machine.
func (r Run) watched() bool { return r.watchedAt(Rest) && r.watchedAt(Busy) }

func (r Run) watchedAt(load string) bool {
	return slices.ContainsFunc(r.Quiet, func(q Quiet) bool { return q.Load == load })
}

func (r Run) paceTitle(pace string) string {
	if pace == Fastest && !r.watched() {
		return unwatchedTitle
	}
	return paceTitles[pace]
}

func (r Run) paceTold(pace string) string {
	if pace == Fastest && !r.watched() {
		return unwatchedTold
	}
	return paceTold[pace]
}

var paceTold = map[string]string{
	Equal:   "The owner is heard as often with every tool.",
	Default: "The times that a tool comes with, or that its manual gives where the config has to say one.",
	Fastest: "The setting with the shortest heartbeat that moved nothing while nothing was asked for, at rest and busy; of a tool that was not watched at several, the one that its manual has as the fastest.",
}

// scenarioTold says what happens in a scenario.
var scenarioTold = map[string]string{
	PowerOff:   "the owner loses its power, and boots again",
	Kill:       "the owner's daemon is killed (SIGKILL), and started again",
	Freeze:     "the owner's daemon stands still (SIGSTOP), and goes on (SIGCONT)",
	Partition:  "the owner is cut off, and comes back",
	OneWay:     "the owner hears nobody and is heard, and hears again",
	Service:    "the owner's web server is killed, and started again",
	Switchover: "a planned move, as the tool's manual has it",
	Restart:    "the owner's daemon is restarted",
	Loss:       "30 % of all frames are lost for 20 s",
}

// shape is a summary in a cell: min / median / max, in ms.
func (s Summary) shape() string {
	return fmt.Sprintf("%s / **%s** / %s", num(s.Min), num(s.Median), num(s.Max))
}

// paceTable has the tools side by side, and the scenarios as rows.
func (r Run) paceTable(pace string) string {
	tools := r.at(pace)
	t := table{head: []string{"scenario"}}
	for _, c := range tools {
		t.head = append(t.head, fmt.Sprintf("%s<br>%s", text(c.Tool.Name), text(c.Name)))
	}
	for _, scenario := range Scenarios {
		row, played := []string{fmt.Sprintf("**%s**<br><sub>%s</sub>", scenario, scenarioTold[scenario])}, false
		for _, c := range tools {
			res, ok := r.result(c, scenario)
			played = played || ok
			row = append(row, resultCell(res, ok))
		}
		if played {
			t.row(row...)
		}
	}
	return t.String()
}

// quietTold is what the tools did at a pace while nothing was asked for, in a sentence; empty where nobody looked.
func (r Run) quietTold(pace string) string {
	var told []string
	for _, c := range r.at(pace) {
		rest, atRest := r.quiet(c, Rest)
		busy, isBusy := r.quiet(c, Busy)
		var found []string
		if atRest {
			found = append(found, falseMoves(rest, true)+" at rest")
		}
		if isBusy {
			found = append(found, falseMoves(busy, true)+" busy")
		}
		if len(found) > 0 {
			told = append(told, text(c.Tool.Name)+" "+strings.Join(found, ", "))
		}
	}
	if len(told) == 0 {
		return ""
	}
	return "Moves that nobody asked for: " + strings.Join(told, "; ") + "."
}

// resultCell is the outage of a result, and below it what the ARP observer saw.
func resultCell(res Result, played bool) string {
	if !played {
		return dash
	}
	s, err := Summarize(each(res.moved(), outage))
	if err != nil && stayed(res) > 0 {
		return fmt.Sprintf("moved nothing<br><sub>n %d</sub>", len(res.Samples))
	}
	if err != nil {
		return "none: see below"
	}
	cell := fmt.Sprintf("%s<br><sub>n %d", s.shape(), s.N)
	if n, err := Summarize(each(res.moved(), none)); err == nil {
		cell += fmt.Sprintf(" · none %s to %s", num(n.Min), num(n.Max))
	}
	if n, err := Summarize(each(res.Samples, two)); err == nil {
		cell += " · two " + upTo(n)
	}
	cell += fmt.Sprintf(" · unwanted %d", unwanted(res.Samples))
	if n := stayed(res); n > 0 {
		cell += fmt.Sprintf(" · stayed %d", n)
	}
	cell += "</sub>"
	if res.Failed != "" {
		cell += "<br><sub>not all of them: see below</sub>"
	}
	return cell
}

// stayed is how many times the address did not move where it should have.
func stayed(res Result) (n int) {
	if res.Scenario == Restart || res.Scenario == Loss {
		return 0
	}
	for _, s := range res.Samples {
		if s.Moves == 0 {
			n++
		}
	}
	return n
}

// upTo is a range that mostly is nothing.
func upTo(s Summary) string {
	if s.Max == 0 {
		return "0"
	}
	return num(s.Min) + " to " + num(s.Max)
}

// demandsTable is what was asked for beside what was found.
func (r Run) demandsTable() string {
	t := table{head: []string{"of hbagent", "asked", "measured", "reached"}}
	for _, d := range r.Demands() {
		t.row(d.What, d.Asked, d.Measured, string(d.Verdict))
	}
	return t.String()
}

// toolsTable has the tools with their settings and configs.
func (r Run) toolsTable() string {
	t := table{head: []string{"tool", "version", "setting", "stands for", "heartbeat", "configs"}}
	for _, c := range r.all() {
		var links []string
		for _, name := range slices.Sorted(maps.Keys(c.Configs)) {
			links = append(links, fmt.Sprintf("[%s](<configs/%s/%s>)", text(name), c.dir(), strings.NewReplacer("<", "%3C", ">", "%3E", "\n", "%0A", "\r", "%0D", "|", "%7C", "%", "%25").Replace(name)))
		}
		paces := strings.Join(strings.Fields(c.Pace), ", ")
		t.row(text(c.Tool.Name), text(c.Tool.Version), text(c.Name), orDash(text(paces)), span(c.Heartbeat), orDash(strings.Join(links, ", ")))
	}
	return t.String()
}

func orDash(s string) string {
	if s == "" {
		return dash
	}
	return s
}

// powerOffTable has every setting: how fast it takes over, and what that costs in moves that nobody asked for.
func (r Run) powerOffTable() string {
	t := table{head: []string{"tool", "setting", "heartbeat", "n", "min", "median", "p95", "max", "false moves at rest", "false moves busy", "longest outage at rest", "... busy", "two answered"}}
	for _, c := range r.all() {
		res, _ := r.result(c, PowerOff)
		s, err := Summarize(each(res.Samples, outage))
		row := []string{text(c.Tool.Name), text(c.Name), span(c.Heartbeat)}
		if err != nil {
			row = append(row, "0", dash, dash, dash, dash)
		} else {
			p95 := dash
			if s.HasP95 {
				p95 = num(s.P95)
			}
			row = append(row, fmt.Sprint(s.N), num(s.Min), "**"+num(s.Median)+"**", p95, num(s.Max))
		}
		rest, atRest := r.quiet(c, Rest)
		busy, isBusy := r.quiet(c, Busy)
		if err != nil && !atRest && !isBusy {
			continue
		}
		row = append(row, falseMoves(rest, atRest), falseMoves(busy, isBusy), quietSpan(rest.Outage, atRest), quietSpan(busy.Outage, isBusy), quietSpan(max(rest.Two, busy.Two), atRest || isBusy))
		t.row(row...)
	}
	return t.String()
}

func falseMoves(q Quiet, ok bool) string {
	if !ok {
		return dash
	}
	return fmt.Sprintf("%d in %s", q.Moves, length(q.Seconds))
}

func quietSpan(ms float64, ok bool) string {
	if !ok {
		return dash
	}
	return num(ms)
}

// costsTable has a line for every node that was watched.
func (r Run) costsTable() string {
	t := table{head: []string{"tool", "setting", "groups", "node", "memory MB", "CPU % of a core", "packets/s", "bytes/s", "watched"}}
	for _, c := range r.all() {
		for _, k := range r.costs(c, func(int) bool { return true }) {
			node := text(k.Node)
			if k.Owner {
				node += " (owner)"
			}
			t.row(text(k.Tool), text(k.Setting), fmt.Sprint(k.Groups), node, fmt.Sprintf("%.1f", k.MemoryMB), fmt.Sprintf("%.2f", k.CPUPercent),
				fmt.Sprintf("%.1f", k.PacketsPerS), num(k.BytesPerS), length(k.Seconds))
		}
	}
	return t.String()
}

// batchesTable has the moves of many addresses.
func (r Run) batchesTable() string {
	t := table{head: []string{"tool", "setting", "addresses", "n", "first to last announcement", "the client's outage on the last address"}}
	for _, b := range r.Batches {
		spread, err := Summarize(b.Spread)
		shape := dash
		if err == nil {
			shape = spread.shape()
		}
		out, err := Summarize(b.Outage)
		outages := dash
		if err == nil {
			outages = out.shape()
		}
		t.row(text(b.Tool), text(b.Setting), fmt.Sprint(b.Addresses), fmt.Sprint(max(spread.N, out.N)), shape, outages)
	}
	return t.String()
}

// leftOut is what a run could have measured and was not asked to, or could not: tools, scenarios, times without a question, batches, costs.
func (r Run) leftOut() (out []string) {
	for _, t := range r.Tools {
		if t.Missing != "" {
			out = append(out, fmt.Sprintf("%s: %s", text(t.Name), text(t.Missing)))
		}
	}
	for _, name := range Known {
		if !slices.ContainsFunc(r.Tools, func(t Tool) bool { return t.Name == name }) {
			out = append(out, text(name)+": this run was not asked for it")
		}
	}
	var scenarios []string
	for _, name := range Scenarios {
		if !slices.ContainsFunc(r.Results, func(res Result) bool { return res.Scenario == name }) {
			scenarios = append(scenarios, text(name))
		}
	}
	if len(scenarios) > 0 {
		out = append(out, "scenarios: "+strings.Join(scenarios, ", "))
	}
	for _, load := range []string{Rest, Busy} {
		if !r.watchedAt(load) {
			out = append(out, "false moves, "+load)
		}
	}
	if len(r.Batches) == 0 {
		out = append(out, "many addresses in one move")
	}
	if len(r.Costs) == 0 {
		out = append(out, "cost at rest")
	}
	return out
}

// failures are what could not be measured, and why.
func (r Run) failures() (out []string) {
	for _, res := range r.Results {
		if res.Failed != "" {
			out = append(out, fmt.Sprintf("%s, %s, %s (%s): %s", text(res.Tool), text(res.Setting), text(res.Scenario), plural(len(res.Samples), "sample"), text(res.Failed)))
		}
	}
	for _, b := range r.Batches {
		if b.Failed != "" {
			out = append(out, fmt.Sprintf("%s, %s, %s: %s", text(b.Tool), text(b.Setting), fmt.Sprintf("%d addresses", b.Addresses), text(b.Failed)))
		}
	}
	for _, f := range r.Failures {
		out = append(out, text(f))
	}
	return out
}
