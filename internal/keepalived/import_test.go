package keepalived

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/draft"
)

var update = flag.Bool("update", false, "write the golden files anew; read them before you commit them")

// inputs are the keepalived.conf of a directory of testdata.
func inputs(t *testing.T, dir string) []Input {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.conf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no configs in %s (%v)", dir, err)
	}
	var in []Input
	for _, f := range files {
		in = append(in, Input{Path: f})
	}
	return in
}

func options(in []Input, nodes ...string) Options {
	o := Options{Inputs: in, Cluster: "shop", KeyFile: "/etc/hbagent/gossip.key", Host: "here"}
	for _, n := range nodes {
		name, address, _ := strings.Cut(n, "=")
		o.Nodes = append(o.Nodes, draft.Node{Name: name, Address: address})
	}
	return o
}

// What real sites have, in their various styles: the config that comes of it, with the notes at its end.
func TestImport(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes   []string
		witness string
	}{
		"haproxy":     {},
		"nginx":       {nodes: []string{"web1=192.168.10.11", "web2=192.168.10.12", "db1=192.168.10.13"}},
		"kube":        {nodes: []string{"cp1=172.20.0.11", "cp2=172.20.0.12", "cp3=172.20.0.13"}},
		"router":      {witness: "10.9.0.254"},
		"lvs":         {nodes: []string{"lb1=10.2.0.5", "lb2=10.2.0.6"}},
		"dualstack":   {},
		"conditional": {},
		"database":    {nodes: []string{"web1=10.6.0.21"}},
		"odd":         {nodes: []string{"one=10.7.0.1", "two=10.7.0.2"}},
		"cloud":       {},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(inputs(t, name), tt.nodes...)
			if tt.witness != "" {
				o.Witness = netip.MustParseAddr(tt.witness)
			}
			d, notes, err := Import(Disk{}, o)
			if err != nil {
				t.Fatal(err)
			}
			text, cfg, err := d.Check("hbagent.toml")
			if err != nil {
				t.Fatalf("the result is not valid:\n%v\n%s", err, text)
			}
			for _, w := range cfg.Warnings {
				text += "\n# warning: " + w.Message + "\n"
			}
			for _, n := range notes {
				if n.Line == 0 || n.File == "" || n.Text == "" {
					t.Errorf("a note without a place: %+v", n)
				}
			}
			path := filepath.Join("testdata", name+".toml")
			if *update {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		})
	}
}

// memory is Files of a test.
type memory map[string]string

func (m memory) Read(path string, limit int) ([]byte, error) {
	text, ok := m[path]
	if !ok {
		return nil, os.ErrNotExist
	}
	if len(text) > limit {
		return nil, ErrTooMuch
	}
	return []byte(text), nil
}

func (m memory) Glob(pattern string) ([]string, error) {
	var found []string
	for path := range m {
		ok, err := filepath.Match(pattern, path)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, path)
		}
	}
	return found, nil
}

const minimal = "vrrp_instance a {\n interface eth0\n unicast_src_ip 10.0.0.1\n virtual_ipaddress {\n 10.0.0.5/24\n }\n}\n"

// doubling is a parameter of n levels, each of which is twice the one below on a line of its own: nothing comes of
// it, and it takes 2^n steps.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("$A0=\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "$A%d= \\\n${A%d} \\\n${A%d}\n", i, i-1, i-1)
	}
	fmt.Fprintf(&b, "${A%d}\n", n)
	return b.String()
}

func TestBadFiles(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"not closed":         {"global_defs {\n}\nvrrp_instance a {\n state BACKUP\n", "x.conf:3: the block of vrrp_instance is not closed"},
		"closed twice":       {minimal + "}\n", "x.conf:8: a } too many"},
		"nameless block":     {"{\n}\n", "x.conf:1: a block without a name"},
		"two blocks":         {"global_defs {\n} {\n}\n", "x.conf:2: a block without a name"},
		"open quote":         {"vrrp_script a {\n script \"/bin/true\n}\n", "x.conf:2: a quotation mark is not closed"},
		"deep":               {strings.Repeat("a {\n", 40), "deep"},
		"words":              {strings.Repeat("a ", 400), "x.conf:1: more than"},
		"a long line":        {strings.Repeat("a", 20<<10), "x.conf:1: the line is longer"},
		"includes itself":    {"include x.conf\n", "does one include itself?"},
		"endless parameter":  {"$A=${A}\n${A}\n", "parameters within parameters"},
		"doubling parameter": {"$A=${A}${A}\n${A}\n", "longer"},
		"many empty lines":   {doubling(18), "with those of parameters"},
		"growing parameter":  {"$A=aaaaaaaaaa\n$B=${A}${A}${A}${A}${A}${A}${A}${A}\n$C=${B}${B}${B}${B}${B}${B}${B}${B}\n$D=${C}${C}${C}${C}${C}${C}${C}${C}\n$E=${D}${D}${D}${D}\n${E}\n", "longer"},
		"too large":          {strings.Repeat("a\n", maxFileBytes), "more than a site's config"},
		"nothing":            {"", "nothing to carry over"},
		"no address":         {"vrrp_instance a {\n interface eth0\n virtual_ipaddress {\n 10.0.0.5\n }\n}\n", "give --node x=ADDRESS"},
		"no instance":        {"virtual_server 10.0.0.1 80 {\n}\n", "nothing to carry over"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Import(memory{"x.conf": tt.text}, options([]Input{{Path: "x.conf"}}))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, _, err := Import(memory{}, options([]Input{{Path: "x.conf"}})); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := (Disk{}).Read("/dev/zero", 10); err == nil {
		t.Error("a device was read")
	}
}

func TestLex(t *testing.T) {
	for in, want := range map[string]string{
		`a b	c`:                  "a|b|c",
		`abcd" efg h jkl "mnop`:  "abcd efg h jkl mnop",
		`abcd "efg h jkl" mnop`:  "abcd|efg h jkl|mnop",
		`"it's" 'a "b"'`:         `it's|a "b"`,
		`a{b}c`:                  "a|{|b|}|c",
		`"a{b}" ${X} $X`:         "a{b}|${X}|$X",
		`"\x41\101\n\q\"" \x4g`:  "AA\nq\"|\x04g",
		`"" x`:                   "|x",
		`\`:                      "",
		`"a\` + "\x00" + `b" \{`: "a\x00b|{",
	} {
		tokens, err := lex(line{text: in})
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		var got []string
		for _, tok := range tokens {
			got = append(got, tok.text)
		}
		if g := strings.Join(got, "|"); g != want {
			t.Errorf("%q: got %q, want %q", in, g, want)
		}
	}
}

func TestReact(t *testing.T) {
	for _, tt := range []struct {
		weight     int
		reversed   bool
		best, next int
		want       reaction
	}{
		{0, false, 100, 90, fault},
		{-20, false, 100, 90, moves},
		{-10, false, 100, 90, nothing},
		{-2, false, 100, 90, nothing},
		{2, false, 101, 100, moves},
		{2, false, 150, 100, nothing},
		{-20, false, 100, 0, unclear},
		{-20, true, 100, 90, reverse},
	} {
		if got := react(tt.weight, tt.reversed, tt.best, tt.next); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

func TestUnitOf(t *testing.T) {
	for in, want := range map[string]string{
		"killall -0 haproxy":                     "haproxy.service",
		"/usr/bin/killall -0 /usr/sbin/nginx":    "nginx.service",
		"pkill -0 mysqld":                        "mysqld.service",
		"pkill -HUP mysqld":                      "",
		"killall -0":                             "",
		"pidof apache2":                          "apache2.service",
		"/usr/bin/pgrep -x unbound":              "unbound.service",
		"systemctl is-active --quiet php.socket": "php.socket",
		"systemctl is-active":                    "",
		"systemctl restart nginx":                "",
		"/usr/local/bin/check nginx":             "",
		"pidof":                                  "",
		"":                                       "",
	} {
		_, command := commandOf([]string{in})
		if got, _ := unitOf(command); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzParse: whatever the file holds, it is refused, or what comes of it is a valid config.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.conf")
	if err != nil || len(files) < 8 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := options([]Input{{Path: "a.conf"}, {Path: "b.conf"}}, "a=10.99.0.1", "b=10.99.0.2", "c=10.99.0.3")
		d, notes, err := Import(memory{"a.conf": text, "b.conf": strings.ReplaceAll(text, "MASTER", "BACKUP")}, o)
		if err != nil {
			return
		}
		if text, _, err := d.Check("hbagent.toml"); err != nil {
			t.Errorf("%v\n%s\n%v", err, text, notes)
		}
	})
}
