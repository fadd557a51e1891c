package detect

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Given by the kernel: the state of a listening socket in /proc/net (include/net/tcp_states.h, and
// __SO_ACCEPTCON of include/linux/net.h for Unix sockets).
const (
	tcpListen  = "0A"
	unixAccept = 1 << 16
)

// Chosen by us: a machine with more than that is none that this is for.
const (
	maxListeners = 4096
	maxFiles     = 1 << 20 // of all processes
)

// A Listener is a socket that waits for clients, and the program behind it. What cannot be seen is empty: the
// processes of others are, without root.
type Listener struct {
	Addr    netip.AddrPort // TCP; the zero value for a Unix socket
	Path    string         // Unix socket
	PID     int
	Command string // as in /proc/PID/comm: at most 15 characters
	Unit    string // the systemd unit, for example "apache2.service"
}

// Anywhere tells whether it takes connections to every address of the machine, floating ones too.
func (l Listener) Anywhere() bool { return l.Addr.Addr().IsUnspecified() }

// Sockets reads who listens where from proc, which is /proc (os.DirFS("/proc")). A process that opens several sockets
// is there several times.
func Sockets(proc fs.FS) ([]Listener, error) {
	byInode := map[string]*Listener{}
	var all []*Listener
	add := func(inode string, l Listener) {
		if byInode[inode] == nil && len(all) < maxListeners {
			byInode[inode] = &l
			all = append(all, &l)
		}
	}
	var errs []error
	for _, name := range []string{"tcp", "tcp6"} {
		err := lines(proc, "self/net/"+name, func(f []string) {
			if len(f) > 9 && f[3] == tcpListen {
				if ap, ok := hexAddr(f[1]); ok {
					add(f[9], Listener{Addr: ap})
				}
			}
		})
		errs = append(errs, err)
	}
	errs = append(errs, lines(proc, "self/net/unix", func(f []string) {
		if len(f) < 8 || !strings.HasPrefix(f[7], "/") {
			return // no name, or an abstract one
		}
		if flags, err := strconv.ParseUint(f[3], 16, 32); err == nil && flags&unixAccept != 0 {
			add(f[6], Listener{Path: f[7]})
		}
	}))
	if len(all) == 0 && errors.Join(errs...) != nil {
		return nil, fmt.Errorf("read the listening sockets: %w", errors.Join(errs...))
	}
	findOwners(proc, byInode)
	out := make([]Listener, len(all))
	for i, l := range all {
		out[i] = *l
	}
	return out, nil
}

// lines calls f with the fields of each line but the first.
func lines(proc fs.FS, name string, f func(fields []string)) error {
	file, err := proc.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	for first := true; s.Scan(); first = false {
		if !first {
			f(strings.Fields(s.Text()))
		}
	}
	return s.Err()
}

// hexAddr reads an address as /proc/net/tcp has it: words of 32 bits in the order of this machine's bytes.
func hexAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	p, errPort := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || errPort != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), ok
}

// findOwners looks through the open files of all processes that it may look into. Of several processes that have a
// socket, the one that was first counts: the parent.
func findOwners(proc fs.FS, byInode map[string]*Listener) {
	entries, err := fs.ReadDir(proc, ".")
	if err != nil {
		return
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	left := maxFiles
	for _, pid := range pids {
		dir := path.Join(strconv.Itoa(pid), "fd")
		files, err := fs.ReadDir(proc, dir)
		if err != nil {
			continue // not ours to see, or gone
		}
		for _, f := range files {
			if left--; left < 0 {
				return
			}
			target, err := fs.ReadLink(proc, path.Join(dir, f.Name()))
			if err != nil {
				continue
			}
			inode, ok := strings.CutPrefix(target, "socket:[")
			if l := byInode[strings.TrimSuffix(inode, "]")]; ok && l != nil && l.PID == 0 {
				l.PID = pid
				l.Command = firstLine(proc, path.Join(strconv.Itoa(pid), "comm"))
				l.Unit = unitOf(proc, pid)
			}
		}
	}
}

func firstLine(proc fs.FS, name string) string {
	b, err := fs.ReadFile(proc, name)
	if err != nil {
		return ""
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return string(line)
}

// unitOf returns the service that a process belongs to: the last part of its control group that is one. Those of a
// user or a container are not the machine's.
func unitOf(proc fs.FS, pid int) string {
	b, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		// 0::/system.slice/apache2.service, and with version 1: 1:name=systemd:/system.slice/apache2.service
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 || parts[1] != "" && parts[1] != "name=systemd" || !strings.HasPrefix(parts[2], "/system.slice/") {
			continue
		}
		for _, p := range strings.Split(parts[2], "/") {
			if strings.HasSuffix(p, ".service") {
				return p
			}
		}
	}
	return ""
}
