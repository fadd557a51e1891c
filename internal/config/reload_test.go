package config

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	base := Example()
	tests := map[string]struct {
		new    string
		self   string
		want   []string
		voters VoterChange
		err    error
	}{
		"nothing":   {new: base + "# comment\n", want: []string{}},
		"check":     {new: replace(t, base, `"500ms"`, `"2s"`), want: []string{"check apache: interval 500ms -> 2s"}},
		"ttl":       {new: replace(t, base, `"1s"`, `"3s"`), want: []string{"lease: ttl 1s -> 3s (needs a restart)"}},
		"port":      {new: replace(t, base, "[lease]", "port = 7947\n[lease]"), want: []string{"cluster: port 7946 -> 7947 (needs a restart)"}},
		"other key": {new: replace(t, base, "gossip.key", "other.key"), want: []string{"cluster: key_file /etc/hbagent/gossip.key -> /etc/hbagent/other.key (needs a restart)"}},
		"insecure": {
			new: replace(t, base, `key_file = "/etc/hbagent/gossip.key"`, "insecure = true"),
			want: []string{
				"cluster: insecure false -> true (needs a restart)",
				"cluster: key_file /etc/hbagent/gossip.key -> (none) (needs a restart)",
			},
		},
		"own address": {
			new: replace(t, base, "10.0.0.11", "10.0.0.21"), self: "web1",
			want: []string{"node web1: address 10.0.0.11 -> 10.0.0.21 (needs a restart)"},
		},
		"address of another": {
			new: replace(t, base, "10.0.0.11", "10.0.0.21"), self: "web2",
			want: []string{"node web1: address 10.0.0.11 -> 10.0.0.21 (needs a restart)"},
		},
		"group": {
			new:  base + "\n[[group]]\nname = \"db\"\naddresses = [\"10.0.0.51/24\"]\ninterface = \"eth0\"\nnodes = [\"db1\"]\n",
			want: []string{"group db: added"},
		},
		"preference": {
			new:  replace(t, base, `nodes     = ["web1", "web2"]`, `nodes = ["web2", "web1"]`),
			want: []string{`group web: nodes ["web1", "web2"] -> ["web2", "web1"]`},
		},
		"role": {
			new: replace(t, base, `nodes     = ["web1", "web2"]`, "nodes = [\"web1\", \"web2\"]\nrole = \"mysql\"\nmysql = { dsn_file = \"/a\", replication_dsn_file = \"/b\" }"),
			want: []string{
				"group web: handover drain -> strict",
				"group web: mysql.apply_timeout 0s -> 30s (needs a restart)",
				"group web: mysql.demote_timeout 0s -> 5s (needs a restart)",
				"group web: mysql.dsn_file (none) -> /a (needs a restart)",
				"group web: mysql.max_lag 0s -> 10s (needs a restart)",
				"group web: mysql.replication_dsn_file (none) -> /b (needs a restart)",
				"group web: mysql.wait_for_last 0s -> 2m0s (needs a restart)",
				"group web: role (none) -> mysql (needs a restart)",
			},
		},
		"group with a role added": {
			new:  base + "\n[[group]]\nname = \"db\"\naddresses = [\"10.0.0.51/24\"]\ninterface = \"eth0\"\nnodes = [\"db1\"]\nrole = \"mysql\"\nmysql = { dsn_file = \"/a\", replication_dsn_file = \"/b\" }\n",
			want: []string{"group db: added (needs a restart)"},
		},
		"page": {
			new:  base + "\n[http]\nlisten = [\"[::1]:9746\", \"127.0.0.1:9746\"]\n",
			want: []string{"http: listen (none) -> 127.0.0.1:9746 [::1]:9746"},
		},
		"page per node": {
			new:  base + "\n[http]\nlisten = { web1 = \"10.0.0.11:80\", db1 = [\"127.0.0.1:9746\", \"10.0.0.13:9746\"] }\n",
			want: []string{"http: listen (none) -> db1=10.0.0.13:9746 127.0.0.1:9746, web1=10.0.0.11:80"},
		},
		"voter added": {
			new:    replace(t, base, "generation = 1", "generation = 2") + "\n[[node]]\nname = \"db2\"\naddress = \"10.0.0.14\"\n",
			want:   []string{"lease: generation 1 -> 2", "node db2: added (needs a restart)"},
			voters: VoterChange{Added: []string{"db2"}, Generation: 1},
		},
		"voter removed, same generation": {
			new:    replace(t, base, `address = "10.0.0.13"`, "address = \"10.0.0.13\"\nvoter = false"),
			want:   []string{"node db1: voter true -> false"},
			voters: VoterChange{Removed: []string{"db1"}},
			err:    ErrGeneration,
		},
		"voter renamed": {
			new:    replace(t, replace(t, base, `"db1"`, `"db9"`), "generation = 1", "generation = 2"),
			want:   []string{"lease: generation 1 -> 2", "node db1: removed (needs a restart)", "node db9: added (needs a restart)"},
			voters: VoterChange{Added: []string{"db9"}, Removed: []string{"db1"}, Generation: 1},
			err:    ErrVotersTooMany,
		},
		"generation leaps": {
			new:    replace(t, base, "generation = 1", "generation = 5"),
			want:   []string{"lease: generation 1 -> 5"},
			voters: VoterChange{Generation: 4},
			err:    ErrGeneration,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.self == "" {
				tt.self = "web1"
			}
			ch := Diff(mustParse(t, base), mustParse(t, tt.new))
			if diff := cmp.Diff(tt.want, ch.Lines(tt.self)); diff != "" {
				t.Errorf("Lines (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.voters, ch.Voters); diff != "" {
				t.Errorf("Voters (-want +got):\n%s", diff)
			}
			if err := ch.Voters.Check(); !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) {
				t.Errorf("Voters.Check() = %v, want %v", err, tt.err)
			}
			if ch.Empty() != (len(tt.want) == 0) || len(ch.Restart(tt.self))+len(ch.Live(tt.self)) != len(ch.All) {
				t.Errorf("Empty, Restart and Live do not add up: %+v", ch)
			}
		})
	}
}

func TestSelf(t *testing.T) {
	cfg := mustParse(t, Example())
	addrs := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	tests := map[string]struct {
		flag, host string
		local      []netip.Addr
		want       string
		err        string // part of it
	}{
		"flag":                  {flag: "db1", host: "web1", want: "db1"},
		"flag unknown":          {flag: "db9", host: "web1", err: "--node db9"},
		"host name":             {host: "web2", local: addrs("10.0.0.11"), want: "web2"},
		"host name with domain": {host: "web2.example.com", want: "web2"},
		"host name in capitals": {host: "WEB2", want: "web2"},
		"address":               {host: "localhost", local: addrs("127.0.0.1", "10.0.0.13"), want: "db1"},
		"mapped address":        {host: "localhost", local: addrs("::ffff:10.0.0.13"), want: "db1"},
		"floating address":      {host: "localhost", local: addrs("10.0.0.50"), err: "web1 (10.0.0.11), web2 (10.0.0.12), db1 (10.0.0.13)"},
		"none":                  {host: "mail", err: `host name "mail"`},
		"two":                   {host: "mail", local: addrs("10.0.0.11", "10.0.0.12"), err: "of web1 and of web2"},
		"no host name":          {host: "", local: addrs("10.0.0.12"), want: "web2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n, err := cfg.Self(tt.flag, tt.host, tt.local)
			if n.Name != tt.want {
				t.Errorf("Self = %q, %v; want %q", n.Name, err, tt.want)
			}
			if tt.want == "" && (!errors.Is(err, ErrNotAMember) || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want ErrNotAMember with %q", err, tt.err)
			}
		})
	}
}
