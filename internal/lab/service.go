package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Given by the systems we run on.
const nobody = 65534 // uid and gid of "nobody" on every Linux distribution (Linux Standard Base, overflowuid(5))

// Chosen by us.
const (
	versionWait = 5 * time.Second // for a program to say its version
	greetWait   = time.Second     // for a server that starts to answer; then it is asked again
)

// A Service is a server on a node: the distribution's own where it is installed, otherwise a small
// stand-in of the lab. It survives a power cut as installed software does: start it again.
type Service struct {
	Kind  string // what a check watches: apache, nginx, memcached, mysql, http
	Label string // for people: "Apache 2.4.62", or "built-in web server"
	Real  bool   // the distribution's server, not a stand-in
	// Program is its command line, where it is worth knowing: that of nginx, which is run again to check a
	// configuration and to reload it.
	Program []string
	Port    int

	node    *Node
	name    string
	hello   string // makes the server say something; empty if it speaks first
	command func() *exec.Cmd

	mu   sync.Mutex
	proc *Process
}

// Start runs the server and waits until it answers. An open port alone is no sign: the kernel accepts before
// the server has read its configuration to the end.
func (s *Service) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil && s.proc.Running() {
		return fmt.Errorf("%s on %s runs already", s.Label, s.node.Name)
	}
	cmd := s.command()
	dropPrivileges(cmd)
	p, err := s.node.Start(s.name, cmd)
	if err != nil {
		return err
	}
	s.proc = p
	return Poll(ctx, func() error {
		if !p.Running() {
			return fatal{fmt.Errorf("%s on %s ended: %s; its last words:\n%s", s.Label, s.node.Name, p.ending(), p.Tail(10))}
		}
		return s.node.Do(s.greet)
	})
}

// greet connects, on the node, and waits for the server's first byte.
func (s *Service) greet() error {
	c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), greetWait)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(greetWait)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, s.hello); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// Kill kills the server and its children with SIGKILL.
func (s *Service) Kill() error {
	p, err := s.running()
	if err != nil {
		return err
	}
	return p.Kill()
}

// Stop ends the server with SIGTERM.
func (s *Service) Stop(ctx context.Context) error {
	p, err := s.running()
	if err != nil {
		return err
	}
	return p.Stop(ctx)
}

// Signal sends a signal to the server and its children: SIGSTOP makes it hang with its port open.
func (s *Service) Signal(sig syscall.Signal) error {
	p, err := s.running()
	if err != nil {
		return err
	}
	return p.Signal(sig)
}

// Log is the file with what the server said.
func (s *Service) Log() string { return filepath.Join(s.node.Dir(), s.name+".log") }

func (s *Service) running() (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || !s.proc.Running() {
		return nil, fmt.Errorf("%s on %s does not run", s.Label, s.node.Name)
	}
	return s.proc, nil
}

// serviceDir makes an empty directory for a server, owned by the user it runs as.
func (n *Node) serviceDir(name string) (string, error) {
	dir := n.w.path(n.Name, name)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755), giveAway(dir)); err != nil {
		return "", err
	}
	return dir, nil
}

// dropPrivileges lets a server run as nobody: most refuse to be root. In a sandbox of real root that is
// plain setuid; where root is the only user there is (an ordinary user's sandbox), one more
// user namespace calls the same user by another number.
func dropPrivileges(cmd *exec.Cmd) {
	if hasUser(nobody) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}},
	}
}

// giveAway makes nobody the owner of everything under path, where nobody is a user of its own.
func giveAway(path string) error {
	if !hasUser(nobody) {
		return nil
	}
	return filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, nobody, nobody)
	})
}

// hasUser reports whether our user namespace knows this uid (user_namespaces(7)).
var hasUser = func() func(int) bool {
	uidMap := sync.OnceValue(func() string {
		b, err := os.ReadFile("/proc/self/uid_map")
		if err != nil {
			return "" // kernel without user namespaces: see below
		}
		return string(b)
	})
	return func(uid int) bool {
		m := uidMap()
		return m == "" || mapsUser(m, uid)
	}
}()

// mapsUser looks a uid up in the text of a uid_map: lines of inside, outside, length.
func mapsUser(uidMap string, uid int) bool {
	for line := range strings.Lines(uidMap) {
		var inside, outside, length int
		if _, err := fmt.Sscan(line, &inside, &outside, &length); err == nil && uid >= inside && uid-inside < length {
			return true
		}
	}
	return false
}

// lookProgram finds a server: also where an ordinary user's PATH does not lead.
func lookProgram(names ...string) (string, bool) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
		for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/libexec"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, true
			}
		}
	}
	return "", false
}

var versionNumber = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

// label is a server's name with the version it reports on `program flag`.
func label(name, program, flag string) string {
	ctx, cancel := context.WithTimeout(context.Background(), versionWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, flag).CombinedOutput()
	if v := versionNumber.Find(out); err == nil && v != nil {
		return name + " " + string(v)
	}
	return name // a version is an ornament: the server may still run
}

// Nice sets the nice value of the running server and its children; it lasts until the server ends.
func (s *Service) Nice(nice int) error {
	p, err := s.running()
	if err != nil {
		return err
	}
	return p.Nice(nice)
}
