package control

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Given by a specification.
const (
	// maxSocketPath is what fits into sockaddr_un.sun_path with its final NUL (unix(7)).
	maxSocketPath = 107
)

// Chosen by us.
const (
	// socketMode lets everybody connect: reading the status is free, commands are judged by who asks.
	socketMode = 0o666
	// maxConnsPerUser keeps one user from taking every slot: root can always get through.
	maxConnsPerUser = 32
	// maxConns bounds the goroutines and descriptors that callers can cost the agent.
	maxConns = 256
	// probeTimeout is how long a possible other agent on the socket gets to accept. A living one
	// accepts in the kernel, without being scheduled.
	probeTimeout = time.Second
)

// ErrInUse says that another agent answers on the socket.
var ErrInUse = errors.New("another agent listens")

// listenSocket binds path. The socket of a predecessor that died is removed; a living one is ErrInUse.
// The caller holds the lock of the run directory, so that two starting agents do not both remove.
func listenSocket(path string) (*net.UnixListener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes and the kernel takes %d: choose a shorter run directory",
			path, len(path), maxSocketPath)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		l.Close()
		return nil, fmt.Errorf("open the socket to everybody: %w", err)
	}
	return l, nil
}

func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the socket: %w", err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way: it is not a socket; remove it", path)
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s: %w: stop it first, or choose another run directory", path, ErrInUse)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("is another agent alive? %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket of a dead predecessor: %w", err)
	}
	return nil
}

// listener accepts callers with their credentials, within the limits above.
type listener struct {
	*net.UnixListener
	logger *slog.Logger

	mu      sync.Mutex
	total   int
	perUser map[uint32]int
}

func newListener(l *net.UnixListener, logger *slog.Logger) *listener {
	return &listener{UnixListener: l, logger: logger, perUser: map[uint32]int{}}
}

// Accept returns the next caller that is within the limits. One that is not is hung up on: answering
// it would cost what the limit is there to save.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err != nil {
			l.logger.Warn("caller without credentials", "reason", err)
			c.Close()
			continue
		}
		if !l.take(p.UID) {
			l.logger.Debug("too many connections", "uid", p.UID, "pid", p.PID)
			c.Close()
			continue
		}
		return &conn{UnixConn: c, peer: p, release: sync.OnceFunc(func() { l.giveBack(p.UID) })}, nil
	}
}

func (l *listener) take(uid uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perUser[uid] >= maxConnsPerUser || (l.total >= maxConns && uid != 0) {
		return false
	}
	l.total++
	l.perUser[uid]++
	return true
}

func (l *listener) giveBack(uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.perUser[uid]--; l.perUser[uid] == 0 {
		delete(l.perUser, uid)
	}
}

// conn is a caller's connection, with who it is.
type conn struct {
	*net.UnixConn
	peer    peer
	release func()
}

// Close hangs up and gives the slot back, however often it is called.
func (c *conn) Close() error {
	defer c.release()
	return c.UnixConn.Close()
}

// peerOf asks the kernel who connected. It answers for the moment of connect(2), so a process that
// drops its privileges afterwards, or passes the descriptor on, acts as who it was.
func peerOf(c *net.UnixConn) (peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return peer{}, err
	}
	if credErr != nil {
		return peer{}, os.NewSyscallError("getsockopt SO_PEERCRED", credErr)
	}
	return peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}, nil
}
