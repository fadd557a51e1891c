package doctor

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/config"
)

// user finds out as whom the agent runs, or would.
func (c *collector) user() {
	if c.Agent.Running && c.Agent.Process.PID != 0 {
		p := c.Agent.Process
		c.User = User{Name: strconv.Itoa(p.UID), UID: p.UID, Known: true, GIDs: append(slices.Clone(p.Groups), p.GID)}
		if u, ok := lookupUser(c.root, func(f []string) bool { return f[2] == strconv.Itoa(p.UID) }); ok {
			c.User.Name = u.Name
		}
		return
	}
	if c.Unit.File != "" {
		name := cmp.Or(c.Unit.Settings["User"], "root")
		u, ok := lookupUser(c.root, func(f []string) bool { return f[0] == name })
		if !ok {
			c.User = User{Name: name}
			return
		}
		c.User = u
		return
	}
	groups, _ := os.Getgroups()
	c.User = User{Name: strconv.Itoa(os.Geteuid()), UID: os.Geteuid(), Known: true, GIDs: append(groups, os.Getegid())}
}

// lookupUser reads etc/passwd and etc/group below the root. Users that come from elsewhere (LDAP) are not found.
func lookupUser(root fs.FS, match func(fields []string) bool) (User, bool) {
	var u User
	for _, f := range table(root, "etc/passwd", 4) {
		if match(f) {
			uid, err := strconv.Atoi(f[2])
			gid, err2 := strconv.Atoi(f[3])
			if err == nil && err2 == nil {
				u = User{Name: f[0], UID: uid, Known: true, GIDs: []int{gid}}
			}
			break
		}
	}
	if !u.Known {
		return u, false
	}
	for _, f := range table(root, "etc/group", 4) {
		if gid, err := strconv.Atoi(f[2]); err == nil && slices.Contains(strings.Split(f[3], ","), u.Name) {
			u.GIDs = append(u.GIDs, gid)
		}
	}
	return u, true
}

func table(root fs.FS, name string, fields int) [][]string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	var out [][]string
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= fields {
			out = append(out, f)
		}
	}
	return out
}

// files looks at everything that the config names.
func (c *collector) files() {
	state := cmp.Or(c.o.StateDir, c.Agent.Process.StateDir, c.o.DefaultState)
	c.Files.RunDir, c.Files.StateDir = lookDir(c.o.RunDir), lookDir(state)
	if c.Config == nil {
		return
	}
	c.Files.Config = look(c.Config.File, "")
	c.Files.Insecure = c.Config.Cluster.Insecure
	if key := c.Config.Cluster.KeyFile; key != "" {
		c.Files.Key = look(key, "[cluster] key_file")
		if _, err := config.ReadKeys(key); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, config.ErrKeyMode) {
			c.Files.KeyErr = err.Error()
		}
	}
	seen := map[string]bool{}
	program := func(list *[]File, path, what string) {
		if !seen[path] {
			seen[path] = true
			f := look(path, what)
			f.script()
			*list = append(*list, f)
		}
	}
	for _, g := range c.mine() {
		for _, hook := range slices.Concat(g.OnActive, g.OnStandby, g.OnFault) {
			program(&c.Files.Hooks, hook, "group "+g.Name)
		}
	}
	secret := func(path, what string) {
		if path != "" && !seen[path] {
			seen[path] = true
			c.Files.Secrets = append(c.Files.Secrets, look(path, what))
		}
	}
	for _, ch := range c.Config.ChecksFor(c.Node) {
		if len(ch.Command) > 0 {
			program(&c.Files.Commands, ch.Command[0], "check "+ch.Name)
		}
		secret(ch.DSNFile, "check "+ch.Name)
	}
	for _, g := range c.mine() {
		secret(g.MySQL.DSNFile, "group "+g.Name)
		secret(g.MySQL.ReplicationDSNFile, "group "+g.Name)
	}
}

// look reads owner and mode of a file and of the directories above it, following links.
func look(path, what string) File {
	f := File{Path: path, What: what}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	for dir := filepath.Dir(real); ; dir = filepath.Dir(dir) {
		if st, err := os.Stat(dir); err == nil {
			uid, gid := owner(st)
			f.Above = append([]Above{{dir, st.Mode(), uid, gid}}, f.Above...)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Missing = true
	case errors.Is(err, fs.ErrPermission):
		f.Err = fmt.Sprintf("user %d may not look at %s: run this command as root", os.Geteuid(), path)
	case err != nil:
		f.Err = err.Error()
	default:
		f.Mode = st.Mode()
		f.UID, f.GID = owner(st)
	}
	return f
}

func owner(st fs.FileInfo) (uid, gid int) {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid), int(s.Gid)
	}
	return -1, -1
}

// script reads the first line of a script, for its interpreter.
func (f *File) script() {
	if f.Missing || f.Err != "" {
		return
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return // not for us to read
	}
	defer file.Close()
	line, err := bufio.NewReaderSize(file, 256).ReadString('\n')
	text, ok := strings.CutPrefix(line, "#!")
	if !ok || err != nil {
		return
	}
	if words := strings.Fields(text); len(words) > 0 {
		f.Interpreter = words[0]
		_, err := os.Stat(words[0])
		f.InterpreterMissing = errors.Is(err, fs.ErrNotExist)
	}
}

// Given by linux/magic.h.
var fileSystems = map[int64]string{
	0x01021994: "tmpfs", 0x858458f6: "ramfs", 0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x794c7630: "overlay",
	0x6969: "nfs", 0x2fc12fc1: "zfs", 0xf2f52010: "f2fs",
}

func lookDir(path string) Dir {
	d := Dir{File: look(path, "")}
	var st unix.Statfs_t
	if d.Missing || d.Err != "" || unix.Statfs(path, &st) != nil {
		return d
	}
	d.FS = fileSystems[int64(st.Type)]
	if d.FS == "" {
		d.FS = fmt.Sprintf("a file system of type %#x", st.Type)
	}
	d.Free, d.Total = st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	return d
}
