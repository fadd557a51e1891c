package lab

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Chosen by us: the stand-ins serve a lab, and say no to more.
const (
	maxItem     = 1 << 20 // bytes of one value, as in memcached (-I)
	maxItems    = 10_000
	maxLine     = 2048 // memcached's own limit of a command line
	headerLimit = 5 * time.Second
)

// BuiltinWeb prepares the stand-in that [Node.Web] uses where no Apache is installed: where machines come and go by the
// hundred, a server that starts at once.
func (n *Node) BuiltinWeb() *Service { return n.builtinWeb() }

func (n *Node) builtinWeb() *Service {
	return n.builtin("web", &Service{Kind: "http", Label: "built-in web server", Port: webPort, hello: getRoot})
}

func (n *Node) builtinMemcached() *Service {
	return n.builtin("memcached", &Service{Kind: "memcached", Label: "built-in memcached", Port: memcachedPort, hello: askVersion})
}

// builtin prepares a stand-in: this program in another role.
func (n *Node) builtin(role string, s *Service) *Service {
	s.node, s.name = n, role
	s.command = func() *exec.Cmd {
		cmd := exec.Command(selfExe, "-listen", ":"+strconv.Itoa(s.Port), "-name", n.Name)
		cmd.Args[0] = rolePrefix + role
		return cmd
	}
	return s
}

// standIn runs serve on the port asked for until SIGTERM.
func standIn(role string, args []string, serve func(l net.Listener, name string) error) int {
	fs := flag.NewFlagSet(role, flag.ContinueOnError)
	listen := fs.String("listen", "", "address")
	name := fs.String("name", "", "name of the node")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() { l.Close() })
	if err := serve(l, *name); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func webMain(args []string) int {
	return standIn("web", args, func(l net.Listener, name string) error {
		srv := &http.Server{
			ReadHeaderTimeout: headerLimit,
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) }),
		}
		return srv.Serve(l)
	})
}

func memcachedMain(args []string) int {
	return standIn("memcached", args, func(l net.Listener, _ string) error {
		store := &memStore{items: make(map[string]memItem), started: time.Now()}
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer c.Close()
				_ = store.serve(c) // a client that goes away is no news
			}()
		}
	})
}

// A memStore speaks the part of memcached's text protocol (protocol.txt) that checks and small clients use:
// version, get, set, delete, stats, quit. Nothing expires.
type memStore struct {
	mu      sync.Mutex
	items   map[string]memItem
	started time.Time
}

type memItem struct {
	flags string
	value []byte
}

func (s *memStore) serve(c io.ReadWriter) error {
	r := bufio.NewReaderSize(c, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err // also a line that is too long: memcached closes then, too
		}
		words := strings.Fields(string(line))
		if len(words) == 0 {
			words = []string{""}
		}
		if words[0] == "quit" {
			return nil
		}
		answer, err := s.command(words, r)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return err
		}
	}
}

// command runs one command; r gives the data block of a set.
func (s *memStore) command(words []string, r io.Reader) (string, error) {
	switch {
	case words[0] == "version":
		return "VERSION 1.6.0-lab\r\n", nil
	case words[0] == "stats":
		return s.stats(), nil
	case (words[0] == "get" || words[0] == "gets") && len(words) > 1:
		return s.get(words[1:]), nil
	case words[0] == "set" && len(words) == 5:
		return s.set(words[1], words[2], words[4], r)
	case words[0] == "delete" && len(words) == 2:
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.items[words[1]]; !ok {
			return "NOT_FOUND\r\n", nil
		}
		delete(s.items, words[1])
		return "DELETED\r\n", nil
	}
	return "ERROR\r\n", nil
}

func (s *memStore) stats() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("STAT pid %d\r\nSTAT uptime %d\r\nSTAT version 1.6.0-lab\r\nSTAT curr_items %d\r\nEND\r\n",
		os.Getpid(), int(time.Since(s.started).Seconds()), len(s.items))
}

func (s *memStore) get(keys []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, key := range keys {
		if item, ok := s.items[key]; ok {
			fmt.Fprintf(&b, "VALUE %s %s %d\r\n%s\r\n", key, item.flags, len(item.value), item.value)
		}
	}
	b.WriteString("END\r\n")
	return b.String()
}

func (s *memStore) set(key, flags, size string, r io.Reader) (string, error) {
	k, err := strconv.Atoi(size)
	if err != nil || k < 0 || k > maxItem {
		return "", fmt.Errorf("set: size %q", size) // the stream cannot be followed any more
	}
	block := make([]byte, k+2)
	if _, err := io.ReadFull(r, block); err != nil {
		return "", err
	}
	if !bytes.HasSuffix(block, []byte("\r\n")) {
		return "CLIENT_ERROR bad data chunk\r\n", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.items[key]; !known && len(s.items) >= maxItems {
		return "SERVER_ERROR out of memory storing object\r\n", nil
	}
	s.items[key] = memItem{flags, block[:k]}
	return "STORED\r\n", nil
}
