package config

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadKeys(t *testing.T) {
	key := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	tests := map[string]struct {
		text string
		mode os.FileMode
		want []int // lengths
		err  error
		part string
	}{
		"generated":      {text: GenerateKey() + "\n", mode: 0o640, want: []int{32}},
		"several":        {text: "# new\n" + key(32) + "\n\n# old\n  " + key(16) + "\r\n" + key(24), mode: 0o600, want: []int{32, 16, 24}},
		"world-readable": {text: key(32), mode: 0o644, err: ErrKeyMode, part: "chmod 0640"},
		"world-writable": {text: key(32), mode: 0o602, err: ErrKeyMode, part: "chmod 0640"},
		"empty":          {text: "# none\n", mode: 0o600, err: ErrNoKey, part: "hbagent keygen"},
		"length":         {text: "#\n" + key(20), mode: 0o600, part: ":2: the key has 20 bytes"},
		"not base64":     {text: "secret word", mode: 0o600, part: ":1: not a key in base64"},
		"too many":       {text: strings.Repeat(key(16)+"\n", maxKeys+1), mode: 0o600, part: "more than 16"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gossip.key")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
			keys, err := ReadKeys(path)
			if tt.part != "" || tt.err != nil {
				if err == nil || (tt.err != nil && !errors.Is(err, tt.err)) || !strings.Contains(err.Error(), tt.part) {
					t.Fatalf("error %v, want %v with %q", err, tt.err, tt.part)
				}
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the error shows the key: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(keys) != len(tt.want) {
				t.Fatalf("%d keys, want %d", len(keys), len(tt.want))
			}
			for i, k := range keys {
				if len(k) != tt.want[i] {
					t.Errorf("key %d has %d bytes, want %d", i, len(k), tt.want[i])
				}
			}
		})
	}
	if _, err := ReadKeys(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file gives %v, want fs.ErrNotExist", err)
	}
	if _, err := ReadKeys(t.TempDir()); err == nil {
		t.Error("a directory was accepted")
	}
	if a, b := GenerateKey(), GenerateKey(); a == b {
		t.Error("two generated keys are equal")
	}
}

func TestReplaceKeyFile(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "gossip.key"), filepath.Join(dir, "link")
	for _, mode := range []os.FileMode{0o640, 0o600} {
		if err := os.WriteFile(path, []byte(GenerateKey()+"\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, link); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(path, 12, 34); err != nil {
				t.Fatal(err)
			}
		}
		key := GenerateKey()
		if err := ReplaceKeyFile(link, "# a comment\n"+key+"\n"); err != nil {
			t.Fatal(err)
		}
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != mode {
			t.Errorf("mode %v, want %v", st.Mode(), mode)
		}
		if sys := st.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && (sys.Uid != 12 || sys.Gid != 34) {
			t.Errorf("owner %d:%d, want 12:34", sys.Uid, sys.Gid)
		}
		if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
			t.Errorf("the link is gone: %v", err)
		}
		keys, err := ReadKeys(link)
		if err != nil || len(keys) != 1 || base64.StdEncoding.EncodeToString(keys[0]) != key {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		left, err := filepath.Glob(filepath.Join(dir, ".hbagent-key-*"))
		if err != nil || left != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	if err := ReplaceKeyFile(filepath.Join(dir, "missing"), "x"); err == nil {
		t.Error("a file that is not there was made")
	}
}
