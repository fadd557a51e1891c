package cluster

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"strings"
)

// logAdapter turns memberlist's log lines into slog records of the same level, and
// those that mean a known problem into Problems. memberlist has no other way to
// say them. A line that became a Problem is logged at debug level, because it may
// come with every packet.
//
// Write is called with the log.Logger's lock held and often under memberlist's
// node lock: it only logs and queues.
type logAdapter struct {
	logger *slog.Logger
	report func(Problem)
	byAddr func(netip.Addr) string // configured name or ""
	self   string
	// unreadable counts what a node has sent and no key opened.
	unreadable func(node string)
}

// stdlib is what memberlist writes to.
func (a *logAdapter) stdlib() *log.Logger { return log.New(a, "", 0) }

func (a *logAdapter) Write(line []byte) (int, error) {
	level, text := splitLevel(strings.TrimSpace(string(line)))
	if m, ok := classify(text); ok {
		level = slog.LevelDebug
		if m.kind != 0 {
			p := a.problem(m, text)
			if m.kind == WrongKey {
				a.unreadable(p.Node)
			}
			a.report(p)
		}
	}
	a.logger.Log(context.Background(), level, "memberlist", "text", text)
	return len(line), nil
}

// problem adds who it is about and what to do.
func (a *logAdapter) problem(m logMeaning, text string) Problem {
	p := Problem{Kind: m.kind, Addr: fromAddress(text)}
	if p.Addr.IsValid() {
		p.Node = a.byAddr(p.Addr.Addr())
	}
	if p.Node == "" && m.nodeAfter != "" {
		p.Node = wordAfter(text, m.nodeAfter)
	}
	p.Detail = problemDetail(p, text, a.self)
	return p
}

// logLevels are memberlist's; it writes both forms of error.
var logLevels = []struct {
	prefix string
	level  slog.Level
}{
	{"[DEBUG] ", slog.LevelDebug},
	{"[INFO] ", slog.LevelInfo},
	{"[WARN] ", slog.LevelWarn},
	{"[ERR] ", slog.LevelError},
	{"[ERROR] ", slog.LevelError},
}

// splitLevel takes "[WARN] memberlist: text" apart. Lines without a level exist
// ("Err: Could not set the deadline") and are warnings.
func splitLevel(line string) (slog.Level, string) {
	level := slog.LevelWarn
	for _, l := range logLevels {
		if rest, ok := strings.CutPrefix(line, l.prefix); ok {
			level, line = l.level, rest
			break
		}
	}
	return level, strings.TrimPrefix(line, "memberlist: ")
}

// logMeaning is what a line of memberlist's log means to us.
type logMeaning struct {
	contains  string
	kind      ProblemKind // 0: reported elsewhere, only too frequent to log
	nodeAfter string      // the node's name follows this, where no address is given
}

// logMeanings lists the lines of memberlist v0.7.0 (net.go, state.go, security.go)
// that we know. Order matters: the first match counts.
var logMeanings = []logMeaning{
	{contains: "failed to join "}, // the joiner has the error itself
	{contains: "ignoring alive message for "},
	{contains: "Refuting "}, // this node, restarted or late, puts right what others say of it
	{contains: "no installed keys could decrypt", kind: WrongKey},
	{contains: "Decrypt packet failed", kind: WrongKey},
	{contains: "encryption is configured but remote state is not encrypted", kind: WrongKey},
	{contains: "remote state is encrypted and encryption is not configured", kind: WrongKey},
	{contains: "unacceptable label", kind: WrongCluster},
	{contains: "protocol version(s) are wrong", kind: VersionMismatch, nodeAfter: "alive message for "},
	{contains: "is incompatible", kind: VersionMismatch, nodeAfter: "Node "},
	{contains: "over TCP but UDP probes failed", kind: UDPBlocked, nodeAfter: "able to connect to "},
	{contains: "handler queue full", kind: Overload},
}

func classify(text string) (logMeaning, bool) {
	for _, m := range logMeanings {
		if strings.Contains(text, m.contains) {
			return m, true
		}
	}
	return logMeaning{}, false
}

// classifyJoin does the same for the error of a join, whose address is known.
func classifyJoin(text string) (logMeaning, bool) {
	for _, m := range logMeanings {
		if m.kind != 0 && strings.Contains(text, m.contains) {
			return m, true
		}
	}
	return logMeaning{}, false
}

// problemDetail is the sentence for people.
func problemDetail(p Problem, text, self string) string {
	who := "a peer"
	switch {
	case p.Node != "" && p.Addr.IsValid():
		who = fmt.Sprintf("%s (%s)", p.Node, p.Addr.Addr())
	case p.Node != "":
		who = p.Node
	case p.Addr.IsValid():
		who = p.Addr.Addr().String()
	}
	switch p.Kind {
	case WrongKey:
		return fmt.Sprintf("%s sends with a key that is not %s's: they do not hear each other. Was one of them off while the key was rotated? "+
			"Copy the file that [cluster] key_file names from a node that works (there: hbagent key write), and restart", who, self)
	case WrongCluster:
		return fmt.Sprintf("%s belongs to cluster %q: make [cluster] name the same on both, or take one of them out of the configuration",
			who, quotedAfter(text, "label "))
	case VersionMismatch:
		return fmt.Sprintf("%s speaks another protocol version: bring hbagent to the same version on both (%s)", who, text)
	case UDPBlocked:
		return fmt.Sprintf("%s answers TCP but not UDP, which leases need: a firewall between %s and it lets only TCP pass", who, self)
	case Overload:
		return "messages arrive faster than this machine handles them, and some were dropped: is it short of CPU?"
	}
	return text
}

// fromAddress finds the "from=1.2.3.4:5" that memberlist's LogAddress adds.
func fromAddress(text string) netip.AddrPort {
	_, rest, ok := strings.Cut(text, "from=")
	if !ok {
		return netip.AddrPort{}
	}
	if i := strings.IndexByte(rest, ' '); i >= 0 {
		rest = rest[:i]
	}
	ap, err := netip.ParseAddrPort(rest)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func wordAfter(text, marker string) string {
	_, rest, _ := strings.Cut(text, marker)
	word, _, _ := strings.Cut(rest, " ")
	return strings.Trim(word, "'")
}

// quotedAfter returns what stands in double quotes behind marker.
func quotedAfter(text, marker string) string {
	_, rest, _ := strings.Cut(text, marker+`"`)
	word, _, _ := strings.Cut(rest, `"`)
	return word
}
