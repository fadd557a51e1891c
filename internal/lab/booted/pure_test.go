package booted

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParentOf(t *testing.T) {
	for stat, want := range map[string]int{
		"12 (systemd) S 7 12 12 0":      7,
		"12 (a) b (c)) R 41 12 12 0 -1": 41,
		"12 (x":                         0,
		"":                              0,
	} {
		if got := parentOf([]byte(stat)); got != want {
			t.Errorf("%q: parent %d, want %d", stat, got, want)
		}
	}
}

func TestCgroup2Mount(t *testing.T) {
	const hybrid = `tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
`
	for mounts, want := range map[string]string{
		hybrid: "/sys/fs/cgroup/unified",
		"cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n":   "/sys/fs/cgroup",
		"cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\nx\n": "",
	} {
		if got, ok := cgroup2Mount(mounts); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", mounts, got, ok, want)
		}
	}
}

// Directories, as control groups are, and from below.
func TestRemoveGroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "group")
	for _, d := range []string{"a/b/c", "a/d", "e"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeGroup(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if err := removeGroup(dir); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
}
