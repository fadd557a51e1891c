package apply

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hbagent/hbagent/internal/template"
)

func TestModeAndOwner(t *testing.T) {
	for name, tt := range map[string]struct {
		before fs.FileMode // 0: no file
		mode   fs.FileMode
		want   fs.FileMode
	}{
		"made":       {0, 0, 0o644},
		"made so":    {0, 0o640, 0o640},
		"kept":       {0o600, 0, 0o600},
		"kept open":  {0o664, 0, 0o664},
		"made other": {0o600, 0o644, 0o644},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "", false)
			if tt.before != 0 {
				b.write("old\n", tt.before)
			}
			b.spec.Mode = tt.mode
			old := syscall.Umask(0o077) // it must not show
			defer syscall.Umask(old)
			b.start()
			b.show(template.Current, "", "web1")
			st, err := os.Stat(b.spec.File)
			if err != nil || st.Mode().Perm() != tt.want {
				t.Errorf("mode %v (%v), want %v", st.Mode(), err, tt.want)
			}
		})
	}
}

// What stands in the way is named, and left alone.
func TestNotAFile(t *testing.T) {
	b := newBench(t, "", false)
	target := filepath.Join(t.TempDir(), "target")
	if err := errors.Join(os.WriteFile(target, []byte("x"), 0o644), os.Symlink(target, b.spec.File)); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.show(template.Faulty, "is a symbolic link", "web1")
	if text, err := os.ReadFile(target); string(text) != "x" {
		t.Errorf("the target says %q (%v)", text, err)
	}
	if err := errors.Join(os.Remove(b.spec.File), os.Mkdir(b.spec.File, 0o755)); err != nil {
		t.Fatal(err)
	}
	b.show(template.Faulty, "is not a regular file", "web1", "web2")
	if err := os.Remove(b.spec.File); err != nil {
		t.Fatal(err)
	}
	b.show(template.Current, "", "web1")

	b = newBench(t, "", false)
	b.spec.File = filepath.Join(filepath.Dir(b.spec.File), "none", "list.conf")
	b.start()
	b.show(template.Faulty, "no such file or directory", "web1")
}
