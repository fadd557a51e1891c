package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/config"
)

const pairOfKeepalived = "../keepalived/testdata/haproxy/"

func TestConfigImport(t *testing.T) {
	args := []string{"config", "import", pairOfKeepalived + "lb1.conf", "second=" + pairOfKeepalived + "lb2.conf", "--node", "db1=10.1.0.23", "--cluster", "shop"}
	got := run(t, args...)
	cfg, err := config.Parse("x", []byte(got.stdout))
	if got.code != exitOK || err != nil {
		t.Fatalf("got %+v (%v)", got, err)
	}
	if len(cfg.Nodes) != 3 || cfg.Nodes[0].Name != "lb1" || cfg.Nodes[1].Name != "second" || cfg.Cluster.Name != "shop" || len(cfg.Warnings) > 0 ||
		strings.Join(cfg.Groups[0].Nodes, " ") != "lb1 second" {
		t.Errorf("got %+v", cfg)
	}
	if !strings.Contains(got.stderr, pairOfKeepalived+"lb1.conf:25: authentication: not needed") {
		t.Errorf("no place: %s", got.stderr)
	}

	file := filepath.Join(t.TempDir(), "hbagent.toml")
	if got := run(t, append(args, "-o", file)...); got.code != exitOK || got.stdout != "" || !strings.Contains(got.stderr, "3 nodes, 1 group; 5 notes above") {
		t.Errorf("got %+v", got)
	}
	if got := run(t, "config", "check", file); got.code != exitOK {
		t.Errorf("got %+v", got)
	}
	before := readFile(t, file)
	if got := run(t, append(args, "-o", file)...); got.code != exitFailed || !strings.Contains(got.stderr, "--force replaces it") {
		t.Errorf("got %+v", got)
	}
	if got := run(t, append(args, "-o", file, "--cluster", "other", "--force")...); got.code != exitOK || readFile(t, file) == before {
		t.Errorf("got %+v", got)
	}
}

func TestConfigImportFails(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.conf")
	if err := os.WriteFile(bad, []byte("vrrp_instance a {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lb1 := pairOfKeepalived + "lb1.conf"
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no file given":   {nil, exitUsage, "requires at least 1 arg"},
		"no such file":    {[]string{filepath.Join(dir, "none")}, exitFailed, "no such file"},
		"a bad file":      {[]string{bad}, exitFailed, bad + ":1: the block of vrrp_instance is not closed"},
		"a bad node":      {[]string{lb1, "--node", "web1"}, exitUsage, "--node web1: write NAME=ADDRESS"},
		"a bad witness":   {[]string{lb1, "--witness", "gateway"}, exitUsage, "--witness gateway"},
		"witness of 3":    {[]string{lb1, "--node", "a=10.1.0.7", "--node", "b=10.1.0.8", "--witness", "10.1.0.1"}, exitFailed, "would not be valid, so nothing is written: a witness decides"},
		"a bad cluster":   {[]string{lb1, "--cluster", "a b"}, exitFailed, "is not a name"},
		"cannot write it": {[]string{lb1, "-o", filepath.Join(dir, "no", "dir")}, exitFailed, "write the config"},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, append([]string{"config", "import"}, tt.args...)...)
			if got.code != tt.code || got.stdout != "" || !strings.Contains(got.stderr, tt.want) {
				t.Errorf("got %+v, want code %d and %q", got, tt.code, tt.want)
			}
		})
	}
}
