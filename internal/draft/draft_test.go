package draft

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func shop() Draft {
	return Draft{
		Intro:   []string{"hbagent.toml: the same file on every node."},
		Cluster: "shop", KeyFile: "/etc/hbagent/gossip.key",
		TTL: time.Second, TTLWhy: "a dead owner costs about this much",
		Nodes: []Node{{"web1", "10.0.0.11", "this machine"}, {"web2", "10.0.0.12", ""}, {"db1", "10.0.0.13", ""}},
		Checks: []Check{
			{Name: "apache", Type: "apache", URL: "http://127.0.0.1/", Interval: 500 * time.Millisecond, Nodes: []string{"web1", "web2"}},
			{Name: "cache", Type: "memcached", Address: "127.0.0.1:11211", Optional: true, Comment: []string{"Seen on web1."}},
			{Name: "php", Type: "systemd", Unit: "php-fpm.service", Off: true, Comment: []string{"Also seen:"}},
		},
		Groups: []Group{{Name: "web", Addresses: []string{"10.0.0.50/24"}, Nodes: []string{"web1", "web2"}, Checks: []string{"apache"},
			Interfaces: map[string]string{"web1": "eth0", "web2": "ens3"}}},
		Outro: []string{"the end"},
	}
}

const shopText = `# hbagent.toml: the same file on every node.

[cluster]
name     = "shop"
key_file = "/etc/hbagent/gossip.key" # the same key on every node

[lease]
ttl        = "1s" # a dead owner costs about this much
generation = 1    # raise by one when the list of voters changes, one node at a time

[[node]]
name    = "web1"
address = "10.0.0.11" # this machine

[[node]]
name    = "web2"
address = "10.0.0.12"

[[node]]
name    = "db1"
address = "10.0.0.13"

[[check]]
name     = "apache"
type     = "apache"
url      = "http://127.0.0.1/"
interval = "500ms"
nodes    = ["web1", "web2"]

# Seen on web1.
[[check]]
name     = "cache"
type     = "memcached"
address  = "127.0.0.1:11211"
required = false # shown and counted, moves nothing

# Also seen:
# [[check]]
# name = "php"
# type = "systemd"
# unit = "php-fpm.service"

[[group]]
name      = "web"
addresses = ["10.0.0.50/24"]
interface = { "web1" = "eth0", "web2" = "ens3" }
nodes     = ["web1", "web2"]
checks    = ["apache"]

# the end
`

func TestRender(t *testing.T) {
	d := shop()
	text, cfg, err := d.Check("shop.toml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shopText, text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(cfg.Warnings) > 0 || len(cfg.Checks) != 2 || cfg.Groups[0].InterfaceOn("web2") != "ens3" {
		t.Errorf("read back: %+v", cfg)
	}
}

// What other people wrote stands in the file as a value or a comment, and nothing of it becomes a key.
func TestRenderHostile(t *testing.T) {
	const evil = "x\"\n[cluster]\x00\\\x1b[2J\u2028 = 1\n#off\n"
	d := shop()
	d.Intro, d.Outro = []string{evil}, []string{evil, ""}
	d.Checks[1].Comment = []string{evil}
	d.Nodes[1].Comment = evil
	d.Checks[0].Type, d.Checks[0].URL, d.Checks[0].Command = "exec", "", []string{"/bin/true", evil, `\`}
	_, cfg, err := d.Check("shop.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Checks[0].Command; got[1] != evil || got[2] != `\` {
		t.Errorf("read back: %q", got)
	}
	if len(cfg.Checks) != 2 || cfg.Cluster.Name != "shop" {
		t.Errorf("read back: %+v", cfg)
	}
}

func TestCheckRefuses(t *testing.T) {
	d := shop()
	d.Nodes[2].Address = "10.0.0.12"
	_, _, err := d.Check("shop.toml")
	if err == nil || !strings.Contains(err.Error(), "two nodes have the address 10.0.0.12") {
		t.Errorf("got %v", err)
	}
}

func TestWitness(t *testing.T) {
	d := shop()
	d.Nodes, d.Witness = d.Nodes[:2], netip.MustParseAddr("10.0.0.1")
	d.Generation, d.Port = 7, 4242
	_, cfg, err := d.Check("shop.toml")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Lease.Witness != d.Witness || cfg.Lease.Generation != 7 || cfg.Cluster.Port != 4242 {
		t.Errorf("read back: %+v", cfg)
	}
}

// FuzzRender: whatever stands in a value or a comment, the file can be read, and has the same value.
func FuzzRender(f *testing.F) {
	f.Add("x\"\n[cluster]\\", "# \x1b\u2028")
	f.Fuzz(func(t *testing.T, word, note string) {
		if !utf8.ValidString(word) {
			return // TOML has no form for it
		}
		d := shop()
		d.Checks[0].Type, d.Checks[0].URL, d.Checks[0].Command = "exec", "", []string{"/bin/true", word}
		d.Nodes[2].Comment, d.Outro = note, []string{note}
		cfg, err := d.Parsed("shop.toml")
		if err != nil {
			if len(word) > 4000 || strings.ContainsRune(word, 0) {
				return // config has its bounds
			}
			t.Fatal(err)
		}
		if got := cfg.Checks[0].Command[1]; got != word {
			t.Errorf("wrote %q, read %q", word, got)
		}
	})
}
