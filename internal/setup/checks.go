package setup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/detect"
	"github.com/hbagent/hbagent/internal/draft"
)

// Chosen by us: a web server's answer costs nothing, so it is asked twice a second.
const webInterval = 500 * time.Millisecond

// A Choice is a check that goes into the config.
type Choice struct {
	draft.Check
	// Moves: the group lists it, and leaves a node where it fails.
	Moves bool
	// Anywhere: what was found takes connections to floating addresses, or that is not known.
	Anywhere bool
}

// Propose makes checks of what was found on this machine: the owners are taken to be alike. What serves on the floating
// address moves it; the rest is watched. What would be a guess is a comment.
func (s *Setup) Propose() []Choice {
	self := s.Self()
	if self == "" {
		return nil // somebody else's services
	}
	var all []Choice
	for _, found := range s.Machine.Services {
		if slices.ContainsFunc(s.Checks, func(c Choice) bool { return replaces(c, found) }) {
			continue
		}
		all = append(all, s.propose(self, found))
	}
	return all
}

// replaces tells whether a check that was asked for is about the same service.
func replaces(c Choice, found detect.Service) bool {
	own := found.Type == "apache" || found.Type == "nginx" || found.Type == "mysql" || found.Type == "memcached"
	return c.Name == found.Name || own && c.Type == found.Type
}

func (s *Setup) propose(self string, found detect.Service) Choice {
	c := Choice{Anywhere: found.Anywhere}
	c.Name, c.Type = found.Name, found.Type
	c.URL, c.Address = found.URL, found.Address
	c.Nodes = []string{self}
	isOwner := slices.Contains(s.Owners, self)
	what := found.Name
	if found.Program != "" {
		what = found.Program
	}
	c.Comment = []string{fmt.Sprintf("On %s %s listens at %s.", self, what, found.Listens)}
	if found.Said != "" {
		c.Comment[0] = strings.TrimSuffix(c.Comment[0], ".") + "; " + found.Said + "."
	}
	switch found.Type {
	case "systemd":
		c.Unit, c.Off = found.Unit, true
		if isOwner {
			c.Nodes = s.Owners
		}
		c.Comment = append(c.Comment, "Take the marks away to watch its unit; name it in checks of the group to move with it.")
	case "mysql":
		c.DSNFile, c.Optional = s.DSNFile, true
	case "memcached":
		c.Optional = true
		if isOwner {
			c.Nodes = s.Owners
		}
	default:
		if found.Type != "tcp" {
			c.Interval = webInterval
		}
		c.Moves = isOwner && found.Anywhere
		c.Optional = !c.Moves
		if c.Moves {
			c.Nodes = s.Owners
		}
		if !found.Anywhere && !found.Here {
			c.Comment = append(c.Comment, "It does not take connections to the floating address.")
		}
		if found.Type == "tcp" {
			c.Comment = append(c.Comment, "A page that answers well would tell more than a connection: type = \"http\", url = \"...\".")
		}
	}
	if found.Here {
		c.Off, c.Moves = true, false
		c.Comment = append(c.Comment, "It listens on an address of this machine only, so clients of the floating address do not",
			"reach it, and this check would be wrong on every other node: let it listen everywhere.")
	}
	if c.Moves && len(c.Nodes) > 1 {
		c.NodesWhy = "seen on " + self + "; the others are taken to be alike"
	}
	return c
}

// AddCheck takes a check in the form NAME=TYPE[:TARGET][@NODE,NODE...]. With moves it belongs to the group's if it runs
// on every owner; otherwise, and without moves, it is watched only.
func (s *Setup) AddCheck(text string, moves bool) error {
	c, err := s.parseCheck(text)
	if err != nil {
		return err
	}
	c.Moves = moves && !slices.ContainsFunc(s.Owners, func(o string) bool { return !slices.Contains(c.Nodes, o) })
	c.Optional = !c.Moves
	return s.TakeCheck(c)
}

// TakeCheck takes a choice, perhaps changed.
func (s *Setup) TakeCheck(c Choice) error {
	return s.try(func(n *Setup) error {
		n.Checks = append(slices.Clone(s.Checks), c)
		return nil
	})
}

const checkForm = "write NAME=TYPE@NODE,NODE, as in apache=apache@web1,web2 or app=http:http://127.0.0.1:8080/health@web1"

func (s *Setup) parseCheck(text string) (Choice, error) {
	c := Choice{Anywhere: true}
	name, rest, ok := strings.Cut(strings.TrimSpace(text), "=")
	if !ok {
		return c, fmt.Errorf("%q is not a check: %s", text, checkForm)
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		c.Nodes = List(rest[i+1:])
		rest = rest[:i]
		if len(c.Nodes) == 0 {
			return c, fmt.Errorf("%q names no node after @: %s", text, checkForm)
		}
	}
	typ, target, _ := strings.Cut(rest, ":")
	c.Name, c.Type = name, typ
	if !slices.Contains(config.CheckTypes(), typ) {
		return c, fmt.Errorf("%q is no type of check: there are %s", typ, strings.Join(config.CheckTypes(), ", "))
	}
	if len(c.Nodes) == 0 {
		c.Nodes = s.Owners
	}
	if target == "" {
		target = map[string]string{"apache": "http://127.0.0.1/", "nginx": "http://127.0.0.1/", "http": "http://127.0.0.1/",
			"mysql": s.DSNFile, "memcached": "127.0.0.1:11211"}[typ]
	}
	switch typ {
	case "apache", "nginx", "http":
		c.URL, c.Interval = target, webInterval
	case "mysql":
		c.DSNFile = target
	case "memcached", "tcp":
		c.Address = target
	case "exec":
		c.Command = strings.Fields(target)
	case "systemd":
		c.Unit = target
		if target != "" && !strings.Contains(target, ".") {
			c.Unit += ".service"
		}
	case "link":
		c.Interface = target
	case "arp":
		c.Target = target
	}
	return c, nil
}
