package config

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// equate compares configurations: addresses by value.
var equate = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.IgnoreUnexported(Place{}),
}

func mustParse(t testing.TB, text string) *Config {
	t.Helper()
	cfg, err := Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// replace is strings.Replace that fails if there is nothing to replace.
func replace(t testing.TB, text, old, new string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("no %q in the text", old)
	}
	return strings.Replace(text, old, new, 1)
}

func TestExample(t *testing.T) {
	cfg := mustParse(t, Example())
	want := &Config{
		File:    "test.toml",
		Hash:    cfg.Hash,
		Cluster: Cluster{Name: "shop", KeyFile: "/etc/hbagent/gossip.key", Port: 7946},
		Lease:   Lease{TTL: time.Second, Generation: 1, Gate: GateNFT},
		Nodes: []Node{
			{Name: "web1", Address: netip.MustParseAddr("10.0.0.11"), Voter: true},
			{Name: "web2", Address: netip.MustParseAddr("10.0.0.12"), Voter: true},
			{Name: "db1", Address: netip.MustParseAddr("10.0.0.13"), Voter: true},
		},
		Checks: []Check{
			{
				Name: "apache", Type: "apache", URL: "http://127.0.0.1/", Saturated: 10 * time.Second,
				Interval: 500 * time.Millisecond, Timeout: 2 * time.Second, Fall: 2, Rise: 2, Required: true, Nodes: []string{"web1", "web2"},
			},
			{
				Name: "memcached", Type: "memcached", Address: "127.0.0.1:11211",
				Interval: time.Second, Timeout: 2 * time.Second, Fall: 2, Rise: 2, Nodes: []string{"web1", "web2"},
			},
		},
		Groups: []Group{{
			Name: "web", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.50/24")}, Interface: "eth0",
			Nodes: []string{"web1", "web2"}, Checks: []string{"apache"},
			Hold: 10 * time.Second, Handover: HandoverDrain, Drain: 30 * time.Second,
			MaxMoves: Budget{Count: 4, Per: 10 * time.Minute}, HookTimeout: 10 * time.Second,
		}},
	}
	if diff := cmp.Diff(want, cfg, equate); diff != "" {
		t.Errorf("Parse(Example()) (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(cfg.Hash) {
		t.Errorf("Hash = %q, want 12 hex digits", cfg.Hash)
	}
}

func TestReferenceParses(t *testing.T) {
	cfg := mustParse(t, Reference())
	if len(cfg.Warnings) != 0 {
		t.Errorf("warnings = %v, want none", cfg.Warnings)
	}
}

// TestReferenceIsComplete: every key of the schema is in reference.toml, below its
// table, set or as a line `# key =`, with a comment before it.
func TestReferenceIsComplete(t *testing.T) {
	documented := map[string]bool{}
	header := regexp.MustCompile(`^\[+([a-z.]+)\]+`)
	key := regexp.MustCompile(`^(?:# )?([a-z_]+) += `)
	table, comment := "", false
	for line := range strings.Lines(Reference()) {
		if m := header.FindStringSubmatch(line); m != nil {
			table = m[1]
			documented[table] = true
		} else if m := key.FindStringSubmatch(line); m != nil && comment {
			documented[table+"."+m[1]] = true
		}
		// Aligned keys that follow one another (on_active, on_standby) share a comment.
		comment = strings.HasPrefix(line, "#") || comment && strings.TrimSpace(line) != ""
	}
	for table, keys := range schema {
		for _, k := range keys {
			full := strings.TrimPrefix(table+"."+k, ".")
			if !documented[full] {
				t.Errorf("reference.toml does not explain %s", full)
			}
		}
	}
	if n := len(schema["check"]); n < 18 {
		t.Errorf("the schema has %d keys of a check: is it still read from the raw structs?", n)
	}
}

// TestReferenceDefaults: a "Default: x" of the reference is what Parse fills in.
func TestReferenceDefaults(t *testing.T) {
	cfg := mustParse(t, `
[cluster]
name = "shop"
key_file = "/k"
[[node]]
name = "a"
address = "10.0.0.1"
[[check]]
name = "c"
type = "apache"
url = "http://127.0.0.1/"
[[group]]
name = "g"
addresses = ["10.0.0.9/24"]
interface = "eth0"
nodes = ["a"]
[[group]]
name = "h"
addresses = ["10.0.0.10/24"]
interface = "eth0"
nodes = ["a"]
role = "mysql"
mysql = { dsn_file = "/a", replication_dsn_file = "/b" }
[[template]]
name = "t"
source = "/s"
file = "/f"
`)
	defaults := map[string]string{}
	for _, e := range canonical(cfg) {
		defaults[e.section+"."+e.key] = e.value
	}
	key := regexp.MustCompile(`^(?:# )?([a-z_]+) += `)
	def := regexp.MustCompile(`Default: ("[^"]+"|[0-9]+|true|false)\.(?:\s|$)`)
	table, stated, compared := "", "", 0
	for line := range strings.Lines(Reference()) {
		line = strings.TrimSpace(line)
		if m := regexp.MustCompile(`^\[+([a-z.]+)\]+`).FindStringSubmatch(line); m != nil {
			table, stated = m[1], ""
		} else if m := key.FindStringSubmatch(line); m != nil && stated != "" {
			got, ok := defaults[table+"."+m[1]]
			want := strings.Trim(stated, `"`)
			if dur, err := time.ParseDuration(want); err == nil && want != "0" && strings.HasPrefix(stated, `"`) {
				want = dur.String()
			}
			if !ok || got != want {
				t.Errorf("reference.toml says %s.%s has the default %s, and Parse gives %q", table, m[1], stated, got)
			}
			compared++
			stated = ""
		} else if m := def.FindStringSubmatch(line); m != nil {
			stated = m[1]
		} else if line == "" {
			stated = ""
		}
	}
	if compared < 15 {
		t.Errorf("%d defaults found in reference.toml, want at least 15: has their form changed?", compared)
	}
}

func TestDeployExamples(t *testing.T) {
	dir := filepath.Join("..", "..", "deploy", "examples")
	names, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil || len(names) < 2 {
		t.Fatalf("%d files in %s (%v), want at least 2", len(names), dir, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			cfg, err := Load(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range cfg.Warnings {
				t.Errorf("an example warns:\n%s", w.Error())
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.toml")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "hbagent init") {
		t.Errorf("a missing file gives %v, want fs.ErrNotExist and what to do", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory was accepted")
	}
	large := filepath.Join(dir, "large.toml")
	if err := os.WriteFile(large, []byte(strings.Repeat("# nothing\n", maxFileBytes/10+1)), 0o644); err != nil {
		t.Fatal(err)
	}
	var problems Problems
	if _, err := Load(large); !errors.As(err, &problems) || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("a file above 1 MiB gives %v, want Problems that say so", err)
	}
}

// TestManyTables: limits of the number of tables, and that a large site is accepted.
func TestManyTables(t *testing.T) {
	group := func(i int) string {
		name := "g" + string(rune('a'+i/676)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26))
		addr := netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(1 + i%250)})
		return "\n[[group]]\nname = \"" + name + "\"\naddresses = [\"" + addr.String() + "/16\"]\ninterface = \"eth0\"\nnodes = [\"web1\", \"web2\"]\n"
	}
	text := Example()
	for i := range maxTables - 1 {
		text += group(i)
	}
	if cfg := mustParse(t, text); len(cfg.Groups) != maxTables {
		t.Errorf("%d groups, want %d", len(cfg.Groups), maxTables)
	}
	if _, err := Parse("test.toml", []byte(text+group(maxTables))); err == nil || !strings.Contains(err.Error(), "too many tables") {
		t.Errorf("one group more gives %v, want a refusal", err)
	}
}

// TestOtherForms: the same content in other TOML is the same configuration.
func TestOtherForms(t *testing.T) {
	const inline = `
cluster = { name = "shop", key_file = "/etc/hbagent/gossip.key" }
node = [ { name = "web1", address = "10.0.0.11" }, # inline tables in a list
         { name = "web2", address = "10.0.0.12" }, { name = "db1", address = "10.0.0.13" } ]
[[check]]
name = "apache"
type = "apache"
"url" = 'http://127.0.0.1/'
interval = """500ms"""
nodes = ["web1", "web2"]
[[check]]
name = "memcached"
type = "memcached"
address = "127.0.0.1:11211"
nodes = ["web1", "web2"]
required = false
[[group]]
name = "web"
addresses = ["10.0.0.50/24"]
nodes = ["web1", "web2"]
checks = ["apache"]
[group.interface]
web1 = "eth0"
web2 = "eth0"
`
	one := replace(t, Example(), `interface = "eth0"`, `interface = { web2 = "eth0", web1 = "eth0" }`)
	if ch := Diff(mustParse(t, one), mustParse(t, inline)); !ch.Empty() {
		t.Errorf("the two forms differ: %v", ch.Lines(""))
	}
}

func TestAccessors(t *testing.T) {
	text := replace(t, Example(), `address = "10.0.0.13"`, "address = \"10.0.0.13\"\nvoter = false")
	text = replace(t, text, `interface = "eth0"`, `interface = { web1 = "eth0", web2 = "ens3" }`)
	cfg := mustParse(t, text)
	if diff := cmp.Diff([]string{"web1", "web2"}, cfg.Voters()); diff != "" {
		t.Errorf("Voters (-want +got):\n%s", diff)
	}
	if got := cfg.ChecksFor("db1"); len(got) != 0 {
		t.Errorf("ChecksFor(db1) = %v, want none", got)
	}
	if got := cfg.ChecksFor("web2"); len(got) != 2 || got[0].Name != "apache" {
		t.Errorf("ChecksFor(web2) = %v, want apache and memcached", got)
	}
	for node, want := range map[string]string{"web1": "eth0", "web2": "ens3", "db1": ""} {
		if got := cfg.Groups[0].InterfaceOn(node); got != want {
			t.Errorf("InterfaceOn(%s) = %q, want %q", node, got, want)
		}
	}
}

func TestHash(t *testing.T) {
	base := mustParse(t, Example()).Hash
	same := map[string]string{
		"comment":       Example() + "# a comment\n",
		"default given": replace(t, Example(), "[lease]", "port = 7946\n[lease]"),
		"other unit":    replace(t, Example(), `"500ms"`, `"0.5s"`),
		"key order":     replace(t, Example(), "type     = \"apache\"\nurl      = \"http://127.0.0.1/\"\n", "url = 'http://127.0.0.1/'\ntype = \"apache\"\n"),
		"set order":     replace(t, Example(), `nodes    = ["web1", "web2"]            # where`, `nodes = ["web2", "web1"] # where`),
	}
	for name, text := range same {
		if got := mustParse(t, text).Hash; got != base {
			t.Errorf("%s: hash %s, want the same as before, %s", name, got, base)
		}
	}
	different := map[string]string{
		"preference": replace(t, Example(), `nodes     = ["web1", "web2"]`, `nodes = ["web2", "web1"]`),
		"interval":   replace(t, Example(), `"500ms"`, `"501ms"`),
		"interface":  replace(t, Example(), `"eth0"`, `{ web1 = "eth0", web2 = "eth0" }`),
		"length":     replace(t, Example(), `10.0.0.50/24`, `10.0.0.50/25`),
	}
	for name, text := range different {
		if got := mustParse(t, text).Hash; got == base {
			t.Errorf("%s: the hash does not show the difference", name)
		}
	}
}
