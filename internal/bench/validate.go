package bench

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Validate returns everything in a run that cannot be, each with the place where it stands.
func (r Run) Validate() error {
	v := newValidator()
	v.head(r.Format, r.Began, r.Commit, r.Seconds, r.Machine)
	v.tools(r.Tools)
	for _, res := range r.Results {
		v.result(res)
	}
	for _, q := range r.Quiet {
		v.quiet(q)
	}
	for _, c := range r.Costs {
		v.cost(c)
	}
	for _, b := range r.Batches {
		v.batch(b)
	}
	return errors.Join(v.problems...)
}

// A validator collects problems. Settings are the pairs of tool and setting that there are, seen what must not come
// twice.
type validator struct {
	problems []error
	settings map[[2]string]bool
	seen     map[string]bool
}

func newValidator() *validator {
	return &validator{settings: map[[2]string]bool{}, seen: map[string]bool{}}
}

// head is what every file begins with.
func (v *validator) head(format int, began time.Time, commit string, seconds float64, m Machine) {
	if format != Format {
		v.bad("format", "is %d; this program reads %d", format, Format)
	}
	if began.IsZero() {
		v.bad("began", "is missing")
	}
	if commit == "" {
		v.bad("commit", "is missing")
	}
	v.number("seconds", seconds)
	v.number("machine: load_before", m.LoadBefore)
	v.number("machine: load_after", m.LoadAfter)
	v.count("machine: cores", m.Cores)
	v.count("machine: memory_mb", m.MemoryMB)
}

func (v *validator) bad(where, format string, args ...any) {
	v.problems = append(v.problems, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

// once complains when a place comes a second time.
func (v *validator) once(where string) {
	if v.seen[where] {
		v.bad(where, "is there twice")
	}
	v.seen[where] = true
}

func (v *validator) number(where string, f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
		v.bad(where, "is %v; a finite number, 0 or above, is wanted", f)
	}
}

func (v *validator) numbers(where string, fs []float64) {
	for _, f := range fs {
		v.number(where, f)
	}
}

func (v *validator) count(where string, n int) {
	if n < 0 {
		v.bad(where, "is %d; 0 or above is wanted", n)
	}
}

func (v *validator) oneOf(where, what string, allowed []string) {
	if !slices.Contains(allowed, what) {
		v.bad(where, "%q is none of %s", what, strings.Join(allowed, ", "))
	}
}

func (v *validator) tools(tools []Tool) {
	for _, t := range tools {
		where := "tool " + t.Name
		if slug(t.Name) == "" {
			v.bad("tool", "%q is no name", t.Name)
		}
		v.once("tool " + slug(t.Name))
		if t.Missing == "" && len(t.Settings) == 0 {
			v.bad(where, "has no settings, and is not called missing")
		}
		paces := map[string]bool{}
		for _, s := range t.Settings {
			where := where + ", setting " + s.Name
			if slug(s.Name) == "" {
				v.bad(where, "%q is no name", s.Name)
			}
			v.once("setting " + slug(t.Name) + "-" + slug(s.Name)) // the directory of its configs
			v.number(where+": heartbeat_ms", s.Heartbeat)
			for pace := range strings.FieldsSeq(s.Pace) {
				v.oneOf(where+": pace", pace, Paces)
				if paces[pace] {
					v.bad(where, "is a second one with pace %q", pace)
				}
				paces[pace] = true
			}
			for name := range s.Configs {
				if !filepath.IsLocal(name) || filepath.Base(name) != name || name == "." || strings.ContainsFunc(name, unicode.IsControl) {
					v.bad(where+": configs", "%q is no name of a file", name)
				}
			}
			v.settings[[2]string{t.Name, s.Name}] = true
		}
	}
}

// known complains about a tool and setting that the list of tools does not have.
func (v *validator) known(where, tool, setting string) {
	if !v.settings[[2]string{tool, setting}] {
		v.bad(where, "no tool %q with a setting %q is among the tools", tool, setting)
	}
}

func (v *validator) result(r Result) {
	where := fmt.Sprintf("result of %s, %s, %s", r.Tool, r.Setting, r.Scenario)
	v.known(where, r.Tool, r.Setting)
	v.once(where)
	v.oneOf(where+": scenario", r.Scenario, Scenarios)
	if len(r.Samples) == 0 && r.Failed == "" {
		v.bad(where, "has no samples, and does not say why (failed)")
	}
	for i, s := range r.Samples {
		where := fmt.Sprintf("%s, sample %d", where, i+1)
		v.number(where+": outage_ms", s.Outage)
		v.number(where+": two_ms", s.Two)
		v.number(where+": none_ms", s.None)
		v.count(where+": moves", s.Moves)
		v.count(where+": unwanted", s.Unwanted)
		if s.Unwanted > s.Moves {
			v.bad(where, "%d of %d moves were unwanted", s.Unwanted, s.Moves)
		}
	}
}

func (v *validator) quiet(q Quiet) {
	where := fmt.Sprintf("quiet of %s, %s, %s", q.Tool, q.Setting, q.Load)
	v.known(where, q.Tool, q.Setting)
	v.once(where)
	v.oneOf(where+": load", q.Load, []string{Rest, Busy})
	v.number(where+": seconds", q.Seconds)
	v.number(where+": outage_ms", q.Outage)
	v.number(where+": two_ms", q.Two)
	v.count(where+": moves", q.Moves)
}

func (v *validator) cost(c Cost) {
	where := fmt.Sprintf("cost of %s, %s, %d groups, %s", c.Tool, c.Setting, c.Groups, c.Node)
	v.known(where, c.Tool, c.Setting)
	v.once(where)
	v.count(where+": groups", c.Groups)
	v.number(where+": memory_mb", c.MemoryMB)
	v.number(where+": cpu_percent", c.CPUPercent)
	v.number(where+": packets_per_s", c.PacketsPerS)
	v.number(where+": bytes_per_s", c.BytesPerS)
	v.number(where+": seconds", c.Seconds)
}

func (v *validator) batch(b Batch) {
	where := fmt.Sprintf("batch of %s, %s, %d addresses", b.Tool, b.Setting, b.Addresses)
	v.known(where, b.Tool, b.Setting)
	v.once(where)
	v.count(where+": addresses", b.Addresses)
	if len(b.Spread)+len(b.Outage) == 0 && b.Failed == "" {
		v.bad(where, "has no samples, and does not say why (failed)")
	}
	v.numbers(where+": spread_ms", b.Spread)
	v.numbers(where+": outage_ms", b.Outage)
}

// slug makes a name of a directory from one of a tool or a setting: "advert_int 0.05" becomes "advert_int-0.05".
func slug(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-.")
}
