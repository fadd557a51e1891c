package cli

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/detect"
)

// aMachine is web1 with an Apache.
func aMachine() detect.Machine {
	return detect.Machine{
		Hostname: "web1",
		Network: detect.Network{
			Links:    []detect.Link{{Name: "ens18", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.11/24")}}},
			Gateways: []detect.Gateway{{Interface: "ens18", Addr: netip.MustParseAddr("10.0.0.1")}},
		},
		Services: []detect.Service{
			{Name: "apache", Type: "apache", URL: "http://127.0.0.1/server-status?auto", Program: "apache2", Listens: "*:80", Anywhere: true, Said: "mod_status answers"},
			{Name: "mysql", Type: "mysql", Socket: "/run/my.sock", Program: "mariadbd", Listens: "/run/my.sock"},
		},
	}
}

// initApp is an app on that machine, with answers on its standard input.
func initApp(t *testing.T, answers string) (*app, func(args ...string) result) {
	t.Helper()
	a, run := testApp(t)
	a.stdin = strings.NewReader(answers)
	a.neighbors.init = initNeighbors{
		look: func(_ context.Context, o detect.Options) (detect.Machine, error) {
			m := aMachine()
			if o.SkipServices {
				m.Services = nil
			}
			return m, nil
		},
		stall: func(context.Context, time.Duration) time.Duration { return time.Millisecond },
		trips: func(_ context.Context, addrs []netip.Addr) []detect.Trip {
			trips := make([]detect.Trip, len(addrs))
			for i := range trips {
				trips[i] = detect.Trip{Addr: addrs[i], Answers: 5, Longest: time.Millisecond}
			}
			return trips
		},
		lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "web2" {
				return []netip.Addr{netip.MustParseAddr("127.0.1.1"), netip.MustParseAddr("10.0.0.12")}, nil
			}
			if a, err := netip.ParseAddr(host); err == nil { // as net.Resolver does
				return []netip.Addr{a}, nil
			}
			return nil, errors.New("no such host")
		},
	}
	return a, run
}

// threeNodes are the flags of the site of the guide.
var threeNodes = []string{"init", "--cluster", "shop", "--node", "web1=10.0.0.11", "--node", "web2=10.0.0.12", "--node", "db1=10.0.0.13", "--address", "10.0.0.50/24"}

func initFile(t *testing.T) string { return filepath.Join(t.TempDir(), "etc", "hbagent.toml") }

// names lists a directory, hidden files too.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestInitByFlags(t *testing.T) {
	file := initFile(t)
	_, run := initApp(t, "must not be read\n")
	got := run(append(threeNodes, "-c", file, "--yes")...)
	if got.code != exitOK {
		t.Fatalf("got %+v", got)
	}
	dir := filepath.Dir(file)
	golden(t, "init-next.txt", strings.ReplaceAll(got.stdout, dir, "/etc/hbagent"))
	golden(t, "init-said.txt", strings.ReplaceAll(got.stderr, dir, "/etc/hbagent"))
	golden(t, "init.toml", strings.ReplaceAll(readFile(t, file), dir, "/etc/hbagent"))
	cfg := load(t, file)
	if _, err := config.ReadKeys(cfg.Cluster.KeyFile); err != nil {
		t.Error(err)
	}
	if got := readFile(t, filepath.Join(dir, "mysql.dsn")); got != "hbagent@unix(/run/my.sock)/\n" {
		t.Errorf("mysql.dsn: %q", got)
	}
	for name, mode := range map[string]os.FileMode{"hbagent.toml": 0o644, "gossip.key": 0o640, "mysql.dsn": 0o640, ".": 0o750} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v (%v), want mode %o", name, fi.Mode(), err, mode)
		}
	}
	if got := names(t, dir); got != "gossip.key hbagent.toml mysql.dsn" {
		t.Errorf("left behind: %s", got)
	}
}

// The agent reads the key by its group.
func TestInitGivesTheKeyToTheAgent(t *testing.T) {
	gid := os.Getgid()
	if os.Geteuid() == 0 {
		gid = 54321 // only root can give to a group that it is not in
	}
	file := initFile(t)
	a, run := initApp(t, "")
	a.neighbors.groupOfAgent = func() int { return gid }
	if got := run(append(threeNodes, "-c", file, "--yes")...); got.code != exitOK || strings.Contains(got.stdout, "  chgrp hbagent "+filepath.Dir(file)) {
		t.Fatalf("got %+v", got)
	}
	for _, name := range []string{".", "gossip.key", "mysql.dsn"} {
		fi, err := os.Stat(filepath.Join(filepath.Dir(file), name))
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); int(st.Gid) != gid || int(st.Uid) != os.Geteuid() {
			t.Errorf("%s belongs to %d:%d, want %d:%d", name, st.Uid, st.Gid, os.Geteuid(), gid)
		}
	}
}

func TestInitByAnswers(t *testing.T) {
	file := initFile(t)
	_, run := initApp(t, strings.Join([]string{
		"my shop", "shop", // cluster: a bad answer and a good one
		"",                                                  // first node: this machine
		"10.0.0.12",                                         // an address is no name
		"web2",                                              // looked up
		"db1=10.0.0.300", "web1=10.0.0.13", "db1=10.0.0.13", // two bad ones
		"",           // no fourth
		"10.0.0.50",  // the length is known
		"",           // no second address
		"",           // group: web
		"web1,web2x", // owners: a bad answer
		"",           // web1 web2
		"",           // interface: ens18
		"web1 web2",  // apache, as proposed
		"-",          // no mysql
		"cache=memcached@web1,web2", "nothing", "",
		"500ms",
		"perhaps", "yes",
	}, "\n")+"\n")
	got := run("init", "--ask", "-c", file)
	if got.code != exitOK {
		t.Fatalf("got %+v", got)
	}
	for _, want := range []string{
		`"my shop" is not a name`, "First machine [web1=10.0.0.11]:", "web2 is 10.0.0.12", `"10.0.0.12" is not a node`, `"10.0.0.300" is not an address`, `node "web1" is defined twice`,
		`did you mean "web2"?`, "[web1 web2]:", "Interface of the floating address on these machines [ens18]:", "moves the address; on (- for none) [web1 web2]:", "answer yes or no",
		`"nothing" is not a check`, "Lease time: a dead owner costs about this much [1s]:",
	} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("it did not say %q:\n%s", want, got.stderr)
		}
	}
	cfg := load(t, file)
	if g := cfg.Groups[0]; len(cfg.Nodes) != 3 || g.Addresses[0].String() != "10.0.0.50/24" || g.Interface != "ens18" || cfg.Lease.TTL != 500*time.Millisecond ||
		strings.Join(g.Checks, " ") != "apache cache" || len(cfg.Checks) != 2 {
		t.Errorf("got %+v", cfg)
	}
}

func TestInitBadUsage(t *testing.T) {
	base := threeNodes
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no terminal":    {base, "standard input is no terminal"},
		"no nodes":       {[]string{"init", "--yes"}, "--node is missing"},
		"one node":       {[]string{"init", "--yes", "--node", "a=10.0.0.1"}, "--node is there once, and 2 are needed"},
		"no address":     {base[:9], "--address is missing"},
		"bad node":       {append(base[:9:9], "--node", "web3=web3"), "--node web3=web3:"},
		"bad address":    {append(base, "--address", "10.0.0.12/24"), "--address 10.0.0.12/24: "},
		"bad check":      {append(base, "--check", "x=y@web1"), "--check x=y@web1: "},
		"bad watch":      {append(base, "--watch", "x"), "--watch x: "},
		"bad owners":     {append(base, "--owners", "web1,web3"), "--owners web1,web3: "},
		"bad ttl":        {append(base, "--ttl", "3"), "--ttl 3: "},
		"witness of 3":   {append(base, "--witness", "10.0.0.1"), "--witness 10.0.0.1: "},
		"bad interface":  {append(base, "--interface", "web1=a"), "--interface web1=a: "},
		"positional":     {append(base, "x"), "unknown command"},
		"misspelled":     {append(base, "--adress", "x"), "did you mean --address?"},
		"key is a node?": {append(base, "--group", "a b"), "--group a b: "},
	} {
		t.Run(name, func(t *testing.T) {
			file := initFile(t)
			args := append([]string{}, tt.args...)
			if name != "no terminal" {
				args = append(args, "--yes")
			}
			_, run := initApp(t, "")
			got := run(append(args, "-c", file)...)
			if got.code != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, tt.want) {
				t.Errorf("got %+v, want code 2 and %q", got, tt.want)
			}
			if left := names(t, filepath.Dir(file)); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

func TestInitExisting(t *testing.T) {
	file := initFile(t)
	dir := filepath.Dir(file)
	again := func(answers string, args ...string) result {
		t.Helper()
		_, run := initApp(t, answers)
		return run(append(append([]string{}, threeNodes...), append(args, "-c", file)...)...)
	}
	if got := again("", "--yes"); got.code != exitOK {
		t.Fatalf("got %+v", got)
	}
	before, key := readFile(t, file), readFile(t, filepath.Join(dir, "gossip.key"))

	t.Run("the same again", func(t *testing.T) {
		if got := again("", "--yes"); got.code != exitOK || !strings.Contains(got.stderr, "is so already") || !strings.Contains(got.stderr, "gossip.key: kept") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("another, with defaults only", func(t *testing.T) {
		got := again("", "--yes", "--group", "shop")
		if got.code != exitFailed || readFile(t, file) != before || !strings.Contains(got.stderr, "group shop: added") || !strings.Contains(got.stderr, "--force replaces it") {
			t.Errorf("got %+v", got)
		}
		if cfg := load(t, file+".new"); cfg.Groups[0].Name != "shop" {
			t.Errorf("got %+v", cfg)
		}
	})
	t.Run("another, answered no", func(t *testing.T) {
		got := again(strings.Repeat("\n", 12), "--ask", "--group", "shop")
		if got.code != exitFailed || readFile(t, file) != before || !strings.Contains(got.stderr, "Replace it, and keep the old one as hbagent.toml.old? [no]:") {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("another, forced", func(t *testing.T) {
		got := again("", "--yes", "--group", "shop", "--force")
		if got.code != exitOK || readFile(t, file+".old") != before || load(t, file).Groups[0].Name != "shop" || !strings.Contains(got.stdout, "hbagent reload") {
			t.Errorf("got %+v", got)
		}
		if readFile(t, filepath.Join(dir, "gossip.key")) != key {
			t.Error("the key was replaced")
		}
	})
	t.Run("one that is not valid", func(t *testing.T) {
		if err := os.WriteFile(file, []byte("[clutser]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := again("", "--yes"); got.code != exitFailed || !strings.Contains(got.stderr, "is not valid") || readFile(t, file) != "[clutser]\n" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("a key that is none", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(dir, "gossip.key"), []byte("secret\n"), 0o640); err != nil {
			t.Fatal(err)
		}
		if got := again("", "--yes", "--force"); got.code != exitFailed || !strings.Contains(got.stderr, "cannot be used") || readFile(t, file) != "[clutser]\n" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestInitPrint(t *testing.T) {
	file := initFile(t)
	_, run := initApp(t, "")
	got := run(append(threeNodes, "-c", file, "--print")...)
	if _, err := config.Parse("x", []byte(got.stdout)); got.code != exitOK || err != nil {
		t.Errorf("got %+v (%v)", got, err)
	}
	if left := names(t, filepath.Dir(file)); left != "" {
		t.Errorf("left behind: %s", left)
	}
	_, run = initApp(t, "")
	if got := run(append(threeNodes, "-c", file, "--print", "--no-detect")...); got.code != exitOK || strings.Contains(got.stdout, "\n[[check]]") {
		t.Errorf("--no-detect: got %+v", got)
	}
}

func TestInitTwoMachines(t *testing.T) {
	file := initFile(t)
	_, run := initApp(t, "")
	args := append(append([]string{}, threeNodes[:7]...), threeNodes[9:]...)
	if got := run(append(args, "-c", file, "--yes")...); got.code != exitOK || load(t, file).Lease.Witness.String() != "10.0.0.1" {
		t.Errorf("got %+v", got)
	}
	_, run = initApp(t, "")
	if got := run(append(args, "-c", initFile(t), "--yes", "--witness", "-")...); got.code != exitOK || !strings.Contains(got.stderr, "warning: two voters without a witness never fail over") {
		t.Errorf("got %+v", got)
	}
}

// The end of the input, and an interrupt at a question, leave nothing.
func TestInitInterrupted(t *testing.T) {
	t.Run("end of input", func(t *testing.T) {
		file := initFile(t)
		_, run := initApp(t, "shop\n\n")
		if got := run("init", "--ask", "-c", file); got.code != exitFailed || !strings.Contains(got.stderr, "the input has ended") || names(t, filepath.Dir(file)) != "" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("interrupt", func(t *testing.T) {
		file := initFile(t)
		a, _ := initApp(t, "")
		r, w := io.Pipe()
		defer w.Close()
		a.stdin = r
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, _ = io.WriteString(w, "shop\n") // and then comes no more
			cancel()
		}()
		if code := a.run(ctx, []string{"init", "--ask", "-c", file}); code != exitFailed || names(t, filepath.Dir(file)) != "" {
			t.Errorf("code %d, left behind: %s", code, names(t, filepath.Dir(file)))
		}
	})
	t.Run("always wrong", func(t *testing.T) {
		_, run := initApp(t, strings.Repeat("two words\n", 100))
		if got := run("init", "--ask", "-c", initFile(t)); got.code != exitFailed || !strings.Contains(got.stderr, "none would do") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestInitCannotWrite(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{filepath.Join(base, "no", "such", "hbagent.toml"), filepath.Join(file, "hbagent.toml")} {
		_, run := initApp(t, "")
		if got := run(append(threeNodes, "-c", c, "--yes")...); got.code != exitFailed || got.stdout != "" || got.stderr == "" {
			t.Errorf("%s: got %+v", c, got)
		}
	}
	if left := names(t, base); left != "file" {
		t.Errorf("left behind: %s", left)
	}
}
