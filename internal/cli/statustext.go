package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hbagent/hbagent/internal/control"
)

// Chosen by us.
const (
	maxAddresses = 3 // of a group, in the overview
	timeLayout   = "2006-01-02 15:04:05 MST"
)

// verdict is the first line: the worst in words, and how much more there is. whole tells that nothing
// was left out.
func verdict(s control.Status, width int) (line string, whole bool) {
	problems := s.Problems()
	if len(problems) == 0 {
		return fmt.Sprintf("%s: %s owned, %s up",
			control.SeverityOK, count(len(s.Groups), "group"), count(len(s.Nodes), "node")), true
	}
	line, whole = worst(problems, width)
	return line, whole && len(problems) == 1
}

// worst says the first problem, with its detail if that fits.
func worst(problems []control.Problem, width int) (line string, whole bool) {
	prefix, suffix := "", ""
	if problems[0].Severity == control.SeverityDegraded {
		prefix = control.SeverityDegraded.String() + ": "
	}
	if more := len(problems) - 1; more > 0 {
		suffix = fmt.Sprintf(" (and %d more)", more)
	}
	line = prefix + clean(problems[0].String()) + suffix
	if utf8.RuneCountInString(line) <= width {
		return line, true
	}
	return prefix + clean(problems[0].Text) + suffix, false
}

func severityStyle(s control.Severity) style {
	switch s {
	case control.SeverityOK:
		return good
	case control.SeverityDegraded:
		return uneasy
	default:
		return bad
	}
}

// writeStatus prints the overview.
func (a *app) writeStatus(w io.Writer, s control.Status, verbose bool) error {
	p := &page{w: w, screen: a.screen}
	line, whole := verdict(s, a.screen.width)
	p.line(a.screen.paint(severityStyle(s.Severity()), line))
	p.wrapped("", faint, fmt.Sprintf("cluster %s as %s sees it, %s; %d of %d voters heard",
		s.Cluster, s.Node, s.At.In(a.zone).Format(timeLayout), s.Quorum.Seen, s.Quorum.Voters))
	if verbose && s.Gate != "" {
		p.wrapped("", faint, fmt.Sprintf("gate in the kernel of %s: %s", s.Node, s.Gate))
	}
	p.problems(s, whole)
	p.table(groupsTable(s), 0)
	if t := servicesTable(s); len(t.rows) > 0 {
		p.table(t, 0)
	}
	p.table(nodesTable(s), 0)
	for _, t := range []*table{checksTable(s, verbose), templatesTable(s)} {
		if len(t.rows) > 0 {
			p.table(t, 0)
		}
	}
	return p.err
}

// page writes blocks with an empty line between them and remembers the first error.
type page struct {
	w      io.Writer
	screen screen
	err    error
}

func (p *page) line(text string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, text)
	}
}

func (p *page) table(t *table, indent int) {
	p.line("")
	if p.err == nil {
		p.err = t.write(p.w, p.screen, indent)
	}
}

// problems prints what is wrong and for how long, each with what to do, and the warnings. If the verdict
// has said it all, only what to do is left.
func (p *page) problems(s control.Status, said bool) {
	problems := s.Problems()
	if len(problems) > 0 && !(said && problems[0].Hint == "") {
		p.line("")
	}
	for _, pr := range problems {
		if !said {
			if !pr.Since.IsZero() {
				pr.Text += " (for " + ago(s.At, pr.Since) + ")"
			}
			p.wrapped("! ", severityStyle(pr.Severity), pr.String())
		}
		if pr.Hint != "" {
			p.wrapped("  > ", plain, pr.Hint)
		}
	}
	if len(s.Warnings) > 0 {
		p.line("")
	}
	for _, warning := range s.Warnings {
		p.wrapped("note: ", plain, warning)
	}
}

func (p *page) wrapped(mark string, st style, text string) {
	for i, line := range wrap(clean(text), p.screen.width-len(mark)) {
		if i == 1 {
			mark = strings.Repeat(" ", len(mark))
		}
		p.line(mark + p.screen.paint(st, line))
	}
}

func groupsTable(s control.Status) *table {
	t := &table{head: []string{"GROUP", "OWNER", "STATE", "FOR", "ADDRESSES", "WHY"}}
	for _, g := range s.Groups {
		owner := text(g.Owner)
		if g.Owner == "" {
			owner = styled(bad, "nobody")
		}
		addresses := slices.Clone(g.Addresses)
		if more := len(addresses) - maxAddresses; more > 0 {
			addresses = append(addresses[:maxAddresses], fmt.Sprintf("and %d more", more))
		}
		t.add(text(g.Name), owner, stateCell(g.State), text(ago(s.At, g.Since)),
			styled(plain, addresses...), text(g.Reason))
	}
	return t
}

func stateCell(state control.State) cell {
	switch state {
	case control.StateActive:
		return styled(good, string(state))
	case control.StateFault, control.StateUnowned:
		return styled(bad, string(state))
	case control.StateAcquiring, control.StateDraining, control.StateMaintenance:
		return styled(uneasy, string(state))
	}
	return text(string(state))
}

func nodesTable(s control.Status) *table {
	t := &table{head: []string{"NODE", "STATE", "FOR", "VERSION", "RTT", "CONFIG", "ADDRESS"}}
	for _, n := range s.Nodes {
		config, rtt := text("same"), text("-")
		switch {
		case !n.Alive || n.ConfigHash == "":
			config = text("-")
		case s.Differs(n):
			config = styled(uneasy, "differs")
		}
		if n.Alive && n.RTTMs > 0 {
			rtt = text(millis(n.RTTMs))
		}
		name, address := n.Name, n.Address
		if n.Self {
			name += " (here)"
		}
		if !n.Voter {
			address += " (no vote)"
		}
		t.add(text(name), nodeCell(n), text(ago(s.At, n.Since)), text(orDash(n.Version)), rtt, config, text(address))
	}
	return t
}

func nodeCell(n control.Node) cell {
	switch {
	case !n.Alive && n.Since.IsZero():
		return styled(bad, "not heard")
	case !n.Alive:
		return styled(bad, "down")
	case n.Maintenance != "":
		return styled(uneasy, "maintenance")
	}
	return styled(good, "up")
}

// checksTable lists all checks, or those that do not pass and are not among the problems: on a node in
// maintenance, or without an answer yet.
func checksTable(s control.Status, all bool) *table {
	t := &table{head: []string{"CHECK", "NODE", "STATUS", "FOR", "MESSAGE"}}
	for _, n := range s.Nodes {
		for _, c := range n.Checks {
			told := c.Status == control.CheckPassing || (c.Status == control.CheckFailing && n.Judged())
			if !n.Alive || (told && !all) {
				continue
			}
			name := c.Name
			if !c.Required {
				name += " (optional)"
			}
			t.add(text(name), text(n.Name), checkCell(c.Status), text(ago(s.At, c.Since)), text(orDash(c.Message)))
		}
	}
	return t
}

// templatesTable lists the files that follow the cluster on the nodes that live.
func templatesTable(s control.Status) *table {
	t := &table{head: []string{"TEMPLATE", "NODE", "STATE", "FOR", "WHY"}}
	for _, n := range s.Nodes {
		for _, tpl := range n.Templates {
			why := text(orDash(tpl.Message))
			if tpl.Status == control.TemplateFailing {
				why = text("see above")
			}
			if n.Alive {
				t.add(text(tpl.Name), text(n.Name), templateCell(tpl.Status), text(ago(s.At, tpl.Since)), why)
			}
		}
	}
	return t
}

func checkCell(status control.CheckStatus) cell {
	switch status {
	case control.CheckPassing:
		return styled(good, string(status))
	case control.CheckFailing:
		return styled(bad, string(status))
	}
	return styled(uneasy, string(status))
}

// groupVerdict is the first line about the one group that is left in s.
func groupVerdict(s control.Status, width int) string {
	g, problems := s.Groups[0], s.Problems()
	if g.Owner == "" {
		return clean(fmt.Sprintf("%s has no owner for %s: %s", g.Name, ago(s.At, g.Since), g.Reason))
	}
	line := clean(fmt.Sprintf("%s is owned by %s, %s for %s", g.Name, g.Owner, g.State, ago(s.At, g.Since)))
	if len(problems) > 0 {
		rest, _ := worst(problems, width-utf8.RuneCountInString(line)-len("; "))
		line += "; " + rest
	}
	return line
}

// writeGroupStatus prints the one group that is left in s.
func (a *app) writeGroupStatus(w io.Writer, s control.Status) error {
	g := s.Groups[0]
	p := &page{w: w, screen: a.screen}
	p.line(a.screen.paint(severityStyle(s.Severity()), groupVerdict(s, a.screen.width)))
	p.problems(s, g.Owner == "" && len(s.Problems()) == 1)
	p.line("")
	lease := fmt.Sprintf("none; ttl %s", millis(float64(g.Lease.TTLMs)))
	if g.Lease.Valid {
		lease = fmt.Sprintf("valid, %s of %s left", millis(float64(g.Lease.LeftMs)), millis(float64(g.Lease.TTLMs)))
	}
	next := "nobody is ready to take over"
	if g.NextOwner != "" {
		next = g.NextOwner + " would take over"
	}
	since := "-"
	if !g.Since.IsZero() {
		since = g.Since.In(a.zone).Format(timeLayout)
	}
	for _, f := range [][2]string{
		{"why", orDash(g.Reason)},
		{"since", since},
		{"addresses", strings.Join(g.Addresses, " ") + " on " + g.Interface},
		{"in kernel", orDash(strings.Join(g.Holding, " ")) + " (on " + s.Node + ")"},
		{"lease", fmt.Sprintf("%s; epoch %d", lease, g.Epoch)},
		{"next", next},
		{"moves", fmt.Sprint(g.Moves)},
	} {
		p.wrapped(fmt.Sprintf("%-11s", f[0]), plain, f[1])
	}
	t := &table{head: []string{"NODE", "STATE", "FOR", "ELIGIBLE", "WHY"}}
	for _, n := range s.Nodes {
		ng, may := n.Groups[g.Name]
		switch {
		case !n.Alive:
			t.add(text(n.Name), nodeCell(n), text(ago(s.At, n.Since)), text("-"), text("-"))
		case may:
			eligible := styled(uneasy, "no")
			if ng.Eligible {
				eligible = styled(good, "yes")
			}
			t.add(text(n.Name), stateCell(ng.State), text(ago(s.At, ng.Since)), eligible, text(orDash(ng.Reason)))
		}
	}
	p.table(t, 0)
	if t := servicesTable(s); len(t.rows) > 0 {
		p.table(t, 0)
	}
	return p.err
}
