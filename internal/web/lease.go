package web

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/words"
)

// Chosen by us: the plot's own units. The style sheet stretches it.
const (
	plotHeight = 40
	thinLease  = 4 // less than a quarter of the ttl left: a renewal or two more, and it would have lapsed
)

// NotKnown is in the place of what was left of a lease where this node did not see it: before its agent
// started, or because it has no vote.
const NotKnown = -1

// LeaseHealth is how close a group's lease came to its end. Its owner knows exactly; another node knows
// what is left of the promise of its own vote, which is about a tenth of the ttl more.
type LeaseHealth struct {
	Group string
	TTL   time.Duration
	Step  time.Duration // of each value
	LowMs []int32       // the least that was left within each step, oldest first, the last up to now; NotKnown
}

// leaseView is the plot of a lease, and what it says in words.
type leaseView struct {
	Known bool   // there is something to plot
	Says  string // "at least 690 ms of 1 s left in the last 5 min"
	Width int
	Area  template.HTMLAttr // d="..."
	Line  template.HTMLAttr
	Thin  []span // in which little was left
	None  []span // in which nobody had it
	TTL   string
}

// span is some steps of the plot.
type span struct{ At, Long int }

// extend adds a step to the last span, if it follows it.
func extend(spans []span, at int) []span {
	if n := len(spans); n > 0 && spans[n-1].At+spans[n-1].Long == at {
		spans[n-1].Long++
		return spans
	}
	return append(spans, span{at, 1})
}

// leaseOf draws what was left of a lease in each step, from 0 at the bottom to the ttl at the top.
func leaseOf(g control.Group, h LeaseHealth) leaseView {
	v := leaseView{Width: len(h.LowMs), TTL: words.Millis(float64(g.Lease.TTLMs))}
	ttl := h.TTL.Milliseconds()
	if ttl <= 0 {
		return v
	}
	var area, line strings.Builder
	least, begin := int32(-1), -1
	for i, low := range h.LowMs {
		if low == NotKnown {
			closePath(&area, i, &begin)
			continue
		}
		if least < 0 || low < least {
			least = low
		}
		switch {
		case low == 0:
			v.None = extend(v.None, i)
		case int64(low)*thinLease < ttl:
			v.Thin = extend(v.Thin, i)
		}
		// Half a unit of the plot: what is steady is drawn by few points.
		y := float64((plotHeight*2*(ttl-min(int64(low), ttl))+ttl/2)/ttl) / 2
		if begin < 0 {
			begin = i
			fmt.Fprintf(&area, "M%d %dV%g", i, plotHeight, y)
			fmt.Fprintf(&line, "M%d %g", i, y)
		} else {
			fmt.Fprintf(&area, "V%g", y)
			fmt.Fprintf(&line, "V%g", y)
		}
		fmt.Fprintf(&area, "H%d", i+1)
		fmt.Fprintf(&line, "H%d", i+1)
	}
	closePath(&area, len(h.LowMs), &begin)
	if least < 0 {
		return v
	}
	v.Known = true
	first := slices.IndexFunc(h.LowMs, func(low int32) bool { return low != NotKnown })
	seen := time.Duration(len(h.LowMs)-first) * h.Step
	over := "the last " + minutes(seen)
	switch {
	case least == 0:
		v.Says = "not held for a time in " + over
	default:
		v.Says = fmt.Sprintf("at least %s of %s left in %s", words.Millis(float64(least)), v.TTL, over)
	}
	v.Area, v.Line = template.HTMLAttr(`d="`+shorter(area.String())+`"`), template.HTMLAttr(`d="`+shorter(line.String())+`"`)
	return v
}

// closePath draws the area down to the ground.
func closePath(area *strings.Builder, at int, begin *int) {
	if *begin >= 0 {
		fmt.Fprintf(area, "V%dZ", plotHeight)
		*begin = -1
	}
}

// shorter joins steps of the same height: "V9H3V9H4" is "V9H4".
func shorter(path string) string {
	var out strings.Builder
	height, along := "", ""
	flush := func() {
		out.WriteString(along)
		along = ""
	}
	for _, piece := range pieces(path) {
		switch piece[0] {
		case 'V':
			if piece == height {
				continue
			}
			flush()
			height = piece
			out.WriteString(piece)
		case 'H':
			along = piece
		default:
			flush()
			height = ""
			if _, y, ok := strings.Cut(piece, " "); ok {
				height = "V" + y // where M has gone
			}
			out.WriteString(piece)
		}
	}
	flush()
	return out.String()
}

// pieces splits a path before each letter.
func pieces(path string) []string {
	var out []string
	begin := 0
	for i := 1; i <= len(path); i++ {
		if i == len(path) || path[i] >= 'A' {
			out = append(out, path[begin:i])
			begin = i
		}
	}
	return out
}

func minutes(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f min", d.Minutes())
}
