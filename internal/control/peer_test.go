package control

import (
	"errors"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	g := guard{
		self:  500,
		group: "hbagent",
		groupID: func(string) (string, error) {
			return "900", nil
		},
		groupsOf: func(uid string) (string, []string, error) {
			switch uid {
			case "1000":
				return "alice", []string{"1000", "900"}, nil
			case "1001":
				return "bob", []string{"1001", "90"}, nil
			}
			return "", nil, errors.New("unknown userid")
		},
	}
	noGroup := g
	noGroup.groupID = func(string) (string, error) { return "", errors.New("unknown group") }
	tests := []struct {
		name  string
		guard guard
		peer  peer
		no    string // what the refusal says; empty: allowed
	}{
		{"root", g, peer{UID: 0}, ""},
		{"the agent's own user", g, peer{UID: 500}, ""},
		{"member by user database", g, peer{UID: 1000, GID: 1000}, ""},
		{"member by primary group", g, peer{UID: 1001, GID: 900}, ""},
		{"stranger", g, peer{UID: 1001, GID: 1001}, "usermod -aG hbagent bob"},
		{"user without a name", g, peer{UID: 77777, GID: 77777}, "usermod -aG hbagent USER"},
		{"no such group", noGroup, peer{UID: 1000, GID: 1000}, "does not exist"},
		{"no such group, root", noGroup, peer{UID: 0}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.guard.allow(tt.peer)
			switch {
			case tt.no == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.no != "" && err == nil:
				t.Error("allowed")
			case tt.no != "" && (!errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), tt.no)):
				t.Errorf("got %q, want ErrPermission with %q", err, tt.no)
			}
		})
	}
}
