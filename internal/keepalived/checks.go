package keepalived

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/draft"
)

// Given by internal/config: what a check may say. A value beyond is brought to the bound, and noted.
const (
	minInterval, maxInterval = 50 * time.Millisecond, time.Hour
	minTimeout, maxTimeout   = time.Millisecond, 5 * time.Minute
	maxCount                 = 100
)

// commandOf splits a script as keepalived does: at spaces, with 'single quotes' around an argument that has some.
func commandOf(words []string) (raw string, command []string) {
	raw = strings.Join(words, " ")
	if len(words) > 1 {
		return raw, slices.Clone(words)
	}
	var b strings.Builder
	in, quoted := false, false
	for _, r := range raw {
		switch {
		case r == '\'':
			quoted, in = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n'):
			if in {
				command = append(command, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteRune(r)
			in = true
		}
	}
	if in {
		command = append(command, b.String())
	}
	return raw, command
}

// shellMarks are characters that a script without a shell has no use for.
const shellMarks = "|&;<>()`$*?"

// tcpTest is the usual way to ask whether a port is open.
var tcpTest = regexp.MustCompile(`</dev/tcp/([0-9a-zA-Z.:-]+)/([0-9]{1,5})\b`)

// unitOf recognises scripts that look for a process, and returns its unit. The agent's sandbox does not show it the
// processes of others, and it may send them no signal, not even 0.
func unitOf(command []string) (unit string, ok bool) {
	if len(command) < 2 {
		return "", false
	}
	last := command[len(command)-1]
	switch path.Base(command[0]) {
	case "killall", "pkill", "skill":
		if !slices.Contains(command, "-0") || last == "-0" {
			return "", false
		}
	case "pidof", "pgrep":
	case "systemctl":
		if command[1] != "is-active" && command[1] != "status" || len(command) < 3 {
			return "", false
		}
	default:
		return "", false
	}
	name := path.Base(last)
	if strings.HasPrefix(name, "-") || name == "." || name == "/" || strings.ContainsAny(name, shellMarks+" \t\n") || len(name) > 200 {
		return "", false
	}
	if !strings.Contains(name, ".") {
		name += ".service"
	}
	return name, true
}

// check makes a check of a script, and says what is another in it. ok is false if it has no command.
func (s *script) check(m *machine) (c draft.Check, ok bool) {
	note := func(format string, args ...any) {
		if !s.complains {
			m.note(s.pos, "vrrp_script %s: %s", s.name, fmt.Sprintf(format, args...))
		}
	}
	defer func() { s.complains = true }()
	if len(s.command) == 0 {
		note("no script: left away")
		return c, false
	}
	c.Comment = []string{fmt.Sprintf("vrrp_script %s, %s: %s", s.name, s.pos, s.raw)}
	if unit, is := unitOf(s.command); is {
		c.Type, c.Unit = "systemd", unit
		note("it looks for a process, which the agent may not see: it is a check of the unit %s instead; a check of the service itself (apache, nginx, mysql, http, tcp) tells more", unit)
	} else if t := tcpTest.FindStringSubmatch(s.raw); t != nil && !strings.Contains(t[1], ":") {
		c.Type, c.Address = "tcp", t[1]+":"+t[2]
	} else {
		c.Type, c.Command = "exec", s.program()
		user := ""
		if s.user != "" && s.user != "hbagent" {
			user = ", not as " + s.user
		}
		note("it runs as user hbagent in the agent's sandbox%s: try it with hbagent check (docs/hooks.md)", user)
	}
	c.Interval = bounded(s.interval, minInterval, maxInterval, func(d time.Duration) { note("interval %s: taken as %s", s.interval, d) })
	timeout := s.timeout
	if timeout == 0 {
		timeout = s.interval
	}
	c.Timeout = bounded(timeout, minTimeout, maxTimeout, func(d time.Duration) { note("timeout %s: taken as %s", timeout, d) })
	c.Fall = bounded(s.fall, 1, maxCount, func(n int) { note("fall %d: taken as %d", s.fall, n) })
	c.Rise = bounded(s.rise, 1, maxCount, func(n int) { note("rise %d: taken as %d", s.rise, n) })
	return c, true
}

func bounded[T int | time.Duration](v, low, high T, changed func(T)) T {
	b := min(max(v, low), high)
	if b != v {
		changed(b)
	}
	return b
}

// program is the script as an exec check takes it: an absolute path and arguments, without a shell unless it needs one.
func (s *script) program() []string {
	if strings.ContainsAny(s.raw, shellMarks) && path.Base(s.command[0]) != "sh" && path.Base(s.command[0]) != "bash" {
		return []string{"/bin/sh", "-c", s.raw}
	}
	if !path.IsAbs(s.command[0]) {
		return append([]string{"/usr/bin/env"}, s.command...)
	}
	return slices.Clone(s.command)
}

// reaction is what the failure of a tracked thing does to an instance of keepalived.
type reaction int

const (
	fault   reaction = iota // it lets go
	moves                   // another one gets the higher priority, and takes over
	nothing                 // the priority falls, and is still the highest
	unclear                 // the other machines' priorities are not known
	reverse                 // it is to fail
)

// react says what a weight does between the best and the second best machine. next is 0 if it is not known.
func react(weight int, reversed bool, best, next int) reaction {
	switch {
	case reversed:
		return reverse
	case weight == 0:
		return fault
	case next == 0:
		return unclear
	case weight < 0 && best+weight < next, weight > 0 && best < next+weight:
		return moves
	}
	return nothing
}

// weightNote is what a weight becomes.
func weightNote(r reaction, weight int, best, next int) string {
	switch r {
	case reverse:
		return "reverse: a check that must fail is not known here: left away"
	case moves:
		return fmt.Sprintf("weight %d: there are no priorities to add up: it moves the address by itself, as it did here (%d against %d)", weight, best, next)
	case unclear:
		return fmt.Sprintf("weight %d: there are no priorities to add up: it moves the address by itself; give the files of all machines, and it is worked out whether it did", weight)
	case nothing:
		return fmt.Sprintf("weight %d: it never moved the address (%d against %d), so it is only shown; name it in checks of the group to let it", weight, best, next)
	}
	return ""
}
