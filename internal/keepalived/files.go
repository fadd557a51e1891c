package keepalived

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Disk is the Files of this machine.
type Disk struct{}

// Read refuses what is no regular file: an include of a device would never end.
func (Disk) Read(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooMuch, limit)
	}
	return b, err
}

// Glob is filepath.Glob.
func (Disk) Glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }
