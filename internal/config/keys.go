package config

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	newKeyBytes  = 32 // AES-256
	maxKeys      = 16 // a rotation needs two; each one is tried on every packet
	maxKeysBytes = 64 << 10
)

// Errors of ReadKeys.
var (
	// ErrKeyMode: everyone on the machine may read or write the file.
	ErrKeyMode = errors.New("the key is open to everyone on this machine")
	// ErrNoKey: the file has no key.
	ErrNoKey = errors.New("no key in the file")
)

// ReadKeys reads the cluster's keys from path: one in base64 a line, 16, 24 or 32
// bytes (AES-128, -192, -256); empty lines and lines that begin with # are skipped.
// The first key encrypts, all of them decrypt. No error contains any of a key.
func ReadKeys(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer f.Close()
	st, err := f.Stat() // of what was opened, not of what the path names by now
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read keys: %s is not a regular file", path)
	}
	if mode := st.Mode().Perm(); mode&0o007 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o: chmod 0640 %s, and make a new key if others have accounts here", ErrKeyMode, path, mode, path)
	}
	return parseKeys(path, io.LimitReader(f, maxKeysBytes))
}

func parseKeys(path string, r io.Reader) ([][]byte, error) {
	var keys [][]byte
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: not a key in base64: make one with `hbagent keygen`", path, number)
		}
		switch len(key) {
		case 16, 24, 32:
		default:
			return nil, fmt.Errorf("%s:%d: the key has %d bytes, not 16, 24 or 32: make one with `hbagent keygen`", path, number, len(key))
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("%s:%d: more than %d keys: delete the old ones", path, number, maxKeys)
		}
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read keys: %s: %w", path, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: %s: make one with `hbagent keygen`", ErrNoKey, path)
	}
	return keys, nil
}

// GenerateKey returns a new random key in the form of a line of the key file, without
// the end of the line.
func GenerateKey() string {
	key := make([]byte, newKeyBytes)
	rand.Read(key) // never fails, see crypto/rand
	return base64.StdEncoding.EncodeToString(key)
}

// ReplaceKeyFile puts a new content at path in one step, with the owner, group and mode of the file that is there, so that an
// agent that reads it meanwhile finds the one or the other. A symbolic link stays one.
func ReplaceKeyFile(path, content string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".hbagent-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(content)
	if err == nil && (int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid()) {
		err = f.Chown(int(st.Uid), int(st.Gid))
	}
	err = errors.Join(err, f.Chmod(fs.FileMode(st.Mode&0o777)), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
