package apply

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/hbagent/hbagent/internal/template"
)

// defaultMode is for a file that is made anew (chosen by us: services that have
// given up root must be able to read it).
const defaultMode = 0o644

// Names beside the file. They begin with a dot and do not end as the file does.
func beside(file, suffix string) string {
	return filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+suffix)
}
func candidate(file string) string { return beside(file, ".hbagent-new") }
func kept(file string) string      { return beside(file, ".hbagent-old") }  // the content before a check in place
func absent(file string) string    { return beside(file, ".hbagent-none") } // there was none before

// read returns what the file says.
func read(file string) (content string, exists bool, err error) {
	if err := regular(file); err != nil {
		return "", false, err
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, template.MaxContent+1))
	return string(b), err == nil, err
}

// regular refuses what a rename would replace by something else.
func regular(file string) error {
	st, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link: write the name of the file itself", file)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", file)
	}
	return nil
}

// stage writes the new content beside the file, on the disk.
func stage(s Spec, content string) error {
	path := candidate(s.File)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// 0600 until it is complete, and exclusively: a link that somebody has put
	// there must not be written through.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, dress(s, f), f.Sync(), f.Close())
	if err != nil {
		os.Remove(path)
	}
	return err
}

// dress gives the new file the mode and the owner that were asked for, or those of
// the old one: of these, the owner as far as the agent may.
func dress(s Spec, f *os.File) error {
	mode, uid, gid := fs.FileMode(defaultMode), -1, -1
	if old, err := os.Lstat(s.File); err == nil {
		mode = old.Mode().Perm()
		if st, ok := old.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	if s.Mode != 0 {
		mode = s.Mode
	}
	if s.Owner != "" {
		u, g, err := lookup(s.Owner)
		if err != nil {
			return err
		}
		if err := f.Chown(u, g); err != nil {
			return fmt.Errorf("owner %s: %w", s.Owner, err)
		}
	} else if uid != os.Geteuid() || gid != os.Getegid() {
		if err := f.Chown(uid, gid); err != nil {
			_ = f.Chown(-1, gid) // the group alone, where the agent is in it
		}
	}
	return f.Chmod(mode) // after chown, which takes away set-id bits
}

// lookup finds the numbers of "user:group"; -1 for what is not named.
func lookup(owner string) (uid, gid int, err error) {
	name, group, _ := strings.Cut(owner, ":")
	uid, gid = -1, -1
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return 0, 0, err
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			return 0, 0, err
		}
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return 0, 0, err
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return 0, 0, err
		}
	}
	return uid, gid, nil
}

// keep remembers what the file was, so that undo can put it back.
func keep(file string) error {
	_, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(absent(file), nil, 0o600)
	} else if err == nil {
		err = os.Link(file, kept(file))
	}
	return errors.Join(err, syncDir(file))
}

// undo puts back what was kept; there may be nothing.
func undo(file string) error {
	err := os.Rename(kept(file), file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Lstat(absent(file)); err == nil {
			if err = os.Remove(file); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		} else if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(forget(file), syncDir(file))
}

// forget lets go of what was kept.
func forget(file string) error {
	for _, path := range []string{kept(file), absent(file)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func syncDir(file string) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// explain says what to do about an error of the file system.
func explain(s Spec, err error) error {
	var who string
	if u, uerr := user.Current(); uerr == nil {
		who = "user " + u.Username
	} else {
		who = fmt.Sprintf("user %d", os.Geteuid())
	}
	dir := filepath.Dir(s.File)
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: the unit of the agent keeps %s read-only: write to /var/lib/hbagent, or see docs/templates.md", err, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s must be allowed to write in %s (docs/templates.md)", err, who, dir)
	}
	return err
}

// Present returns what the file of a template says now.
func Present(s Spec) (content string, exists bool, err error) { return read(s.File) }
