package control

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
)

// DefaultGroup is the group whose members may command the agent.
const DefaultGroup = "hbagent"

// peer is who is on the other end of a connection.
type peer struct {
	PID      int32
	UID, GID uint32
}

// guard decides who may command. Supplementary groups are looked up in the user database at each
// command rather than taken from the calling process, so that joining the group counts at once,
// without a new login.
type guard struct {
	self     uint32 // the uid of this process
	group    string
	groupID  func(name string) (string, error)
	groupsOf func(uid string) (name string, gids []string, err error)
}

func newGuard(group string) guard {
	return guard{
		self:  uint32(os.Geteuid()),
		group: group,
		groupID: func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		},
		groupsOf: func(uid string) (string, []string, error) {
			u, err := user.LookupId(uid)
			if err != nil {
				return "", nil, err
			}
			gids, err := u.GroupIds()
			return u.Username, gids, err
		},
	}
}

// allow returns nil if p may command, else a CodeForbidden that says how to get there. A user database
// that cannot be read is a no, never a yes.
func (g guard) allow(p peer) error {
	if p.UID == 0 || p.UID == g.self {
		return nil
	}
	uid := strconv.FormatUint(uint64(p.UID), 10)
	gid, err := g.groupID(g.group)
	if err != nil {
		return Errorf(CodeForbidden, "user %s may not command the agent: use sudo (the group %s, whose members may, does not exist here)",
			uid, g.group)
	}
	if gid == strconv.FormatUint(uint64(p.GID), 10) {
		return nil
	}
	name, gids, err := g.groupsOf(uid)
	if err == nil && slices.Contains(gids, gid) {
		return nil
	}
	if name == "" {
		name = "USER"
	}
	return Errorf(CodeForbidden, "user %s may not command the agent: use sudo, or join the group: %s",
		uid, fmt.Sprintf("usermod -aG %s %s", g.group, name))
}
