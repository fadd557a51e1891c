package doctor

import (
	"fmt"
	"io/fs"
	"slices"
)

// Permission bits of one class (stat(2)).
const (
	mayRead  fs.FileMode = 4
	mayWrite fs.FileMode = 2
	mayExec  fs.FileMode = 1
)

// may tells whether a user has a permission by owner, group and mode, as the kernel decides for who is not root.
func (u User) may(want, mode fs.FileMode, uid, gid int) bool {
	perm := mode.Perm()
	switch {
	case u.UID == 0:
		return want != mayExec || perm&0o111 != 0 || mode.IsDir()
	case u.UID == uid:
		return perm>>6&want == want
	case slices.Contains(u.GIDs, gid):
		return perm>>3&want == want
	}
	return perm&want == want
}

// blocked is the first directory above a file that the user cannot pass, or "".
func (f File) blocked(u User) string {
	for _, d := range f.Above {
		if !u.may(mayExec, d.Mode, d.UID, d.GID) {
			return d.Path
		}
	}
	return ""
}

// loose says who else may change a file, or put another in its place: "" for nobody but root and the agent's user.
func (f File) loose(u User) string {
	trusted := func(uid int) bool { return uid == 0 || uid == u.UID }
	switch {
	case f.Mode.Perm()&0o002 != 0:
		return "everybody may change it"
	case !trusted(f.UID):
		return fmt.Sprintf("user %d may change it", f.UID)
	}
	for _, d := range f.Above {
		if d.Mode.Perm()&0o002 != 0 && d.Mode&fs.ModeSticky == 0 {
			return fmt.Sprintf("everybody may replace it, in %s", d.Path)
		}
	}
	return ""
}

// unreadable says why the user cannot read a file, or "".
func (f File) unreadable(u User) string {
	if d := f.blocked(u); d != "" {
		return fmt.Sprintf("user %s cannot pass the directory %s", u.Name, d)
	}
	if !u.may(mayRead, f.Mode, f.UID, f.GID) {
		return fmt.Sprintf("user %s cannot read it (mode %04o, owner %d, group %d)", u.Name, f.Mode.Perm(), f.UID, f.GID)
	}
	return ""
}

func judgeFiles(s *sheet, f *Facts) {
	if !f.User.Known {
		s.problem("unit", f.User.Name, "systemd-sysusers, or install the package", "there is no user %s, as whom the agent would run", f.User.Name)
	}
	judgeConfigFile(s, f)
	judgeKeyFile(s, f)
	for _, file := range f.Files.Secrets {
		judgeSecret(s, f, "secret-file", file)
	}
	if len(f.Files.Secrets) == 0 {
		s.ok("secret-file", "", "nothing has a file with a password")
	}
}

func judgeConfigFile(s *sheet, f *Facts) {
	c := f.Files.Config
	const id = "config-mode"
	switch {
	case c.Err != "":
		s.skip(id, c.Path, c.Err)
	case c.loose(f.User) != "":
		s.problem(id, c.Path, fmt.Sprintf("chown root %s; chmod 0644 %s", c.Path, c.Path), "%s: %s, and with it the addresses and the hooks", c.Path, c.loose(f.User))
	case f.User.Known && c.unreadable(f.User) != "":
		s.problem(id, c.Path, fmt.Sprintf("chmod 0644 %s, and 0755 for the directory (or group hbagent)", c.Path), "%s: %s", c.Path, c.unreadable(f.User))
	default:
		s.ok(id, c.Path, "%s: owner and mode are good", c.Path)
	}
}

func judgeKeyFile(s *sheet, f *Facts) {
	const id = "key-file"
	k := f.Files.Key
	switch {
	case f.Files.Insecure:
		s.warn(id, "", "hbagent keygen -o /etc/hbagent/gossip.key, copy it to every node, and take insecure = true out of the config",
			"insecure = true: everybody on the network can move the addresses")
		return
	case k.Missing:
		s.problem(id, k.Path, fmt.Sprintf("on one node: hbagent keygen -o %s; then copy it to the others", k.Path), "%s does not exist", k.Path)
		return
	}
	judgeSecret(s, f, id, k)
	if f.Files.KeyErr != "" && !s.bad(id, k.Path) {
		s.problem(id, k.Path, "copy it from a node that works (after hbagent key write there), or make one for all: hbagent keygen", "%s", f.Files.KeyErr)
	}
}

// judgeSecret is about a file that the agent must read, and others must not.
func judgeSecret(s *sheet, f *Facts, id string, file File) {
	mend := fmt.Sprintf("chown root:hbagent %s; chmod 0640 %s", file.Path, file.Path)
	switch {
	case file.Missing:
		s.problem(id, file.Path, "write it", "%s, which %s names, does not exist", file.Path, file.What)
	case file.Err != "":
		s.skip(id, file.Path, file.Err)
	case file.Mode.Perm()&0o007 != 0:
		s.problem(id, file.Path, mend, "%s has mode %04o: every account here can read it", file.Path, file.Mode.Perm())
	case file.loose(f.User) != "":
		s.problem(id, file.Path, mend, "%s: %s", file.Path, file.loose(f.User))
	case f.User.Known && file.unreadable(f.User) != "":
		s.problem(id, file.Path, mend, "%s: %s", file.Path, file.unreadable(f.User))
	default:
		s.ok(id, file.Path, "%s: owner and mode are good", file.Path)
	}
}

// judgePrograms is about what the agent runs.
func judgePrograms(s *sheet, f *Facts) {
	for id, files := range map[string][]File{"hooks": f.Files.Hooks, "check-command": f.Files.Commands} {
		for _, file := range files {
			judgeProgram(s, f, id, file)
		}
		if len(files) == 0 {
			s.ok(id, "", "none on this node")
		}
	}
}

func judgeProgram(s *sheet, f *Facts, id string, p File) {
	dir := p.blocked(f.User)
	switch {
	case p.Missing:
		s.problem(id, p.Path, "install it, or take it out of the config", "%s, which %s names, does not exist", p.Path, p.What)
	case p.Err != "":
		s.skip(id, p.Path, p.Err)
	case !p.Mode.IsRegular():
		s.problem(id, p.Path, "name a program", "%s, which %s names, is not a file", p.Path, p.What)
	case p.Mode.Perm()&0o111 == 0:
		s.problem(id, p.Path, "chmod 0755 "+p.Path, "%s, which %s names, is not executable", p.Path, p.What)
	case f.User.Known && dir != "":
		s.problem(id, p.Path, "chmod o+x "+dir+", or move the program", "%s, which %s names: user %s cannot pass the directory %s", p.Path, p.What, f.User.Name, dir)
	case f.User.Known && !f.User.may(mayExec, p.Mode, p.UID, p.GID):
		s.problem(id, p.Path, "chmod 0755 "+p.Path, "%s, which %s names: user %s may not execute it (mode %04o)", p.Path, p.What, f.User.Name, p.Mode.Perm())
	case p.InterpreterMissing:
		s.problem(id, p.Path, "install it, or correct the first line", "%s, which %s names, begins with #!%s, which does not exist", p.Path, p.What, p.Interpreter)
	case p.loose(f.User) != "":
		s.warn(id, p.Path, fmt.Sprintf("chown root %s; chmod 0755 %s", p.Path, p.Path), "%s: %s, and the agent runs it", p.Path, p.loose(f.User))
	default:
		s.ok(id, p.Path, "%s can be run", p.Path)
	}
}
