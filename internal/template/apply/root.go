package apply

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// RootSocket is where hbagent-commands.socket listens.
const RootSocket = "/run/hbagent-commands.sock"

// Chosen by us.
const (
	dialWait = 5 * time.Second // systemd has to start the service, on a machine that is busy
	// answerGrace is what the answer may take beyond the command's timeout.
	answerGrace = 5 * time.Second
	maxRequest  = 1 << 10
	maxAnswer   = 8 * maxOutput // JSON may need six bytes for one of the text
)

// request is what the agent asks root for, one line of JSON.
type request struct {
	Template string `json:"template"`
	Command  Kind   `json:"command"`
}

// answer is what becomes of it, one line of JSON.
type answer struct {
	Error string `json:"error,omitempty"`
}

// AsRoot has the commands of templates with AsRoot run by root; the others it runs
// itself, and all of them if the agent is root.
type AsRoot struct {
	Socket string // RootSocket but in tests
	Direct Commands
	IsRoot bool
}

// Run implements Commands.
func (r AsRoot) Run(ctx context.Context, s Spec, kind Kind) error {
	if !s.AsRoot || r.IsRoot {
		return r.Direct.Run(ctx, s, kind)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout+dialWait+answerGrace)
	defer cancel()
	conn, err := (&net.Dialer{Timeout: dialWait}).DialContext(ctx, "unix", r.Socket)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("as_root: nobody listens at %s: systemctl enable --now hbagent-commands.socket", r.Socket)
	case err != nil:
		return fmt.Errorf("as_root: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // root kills the command then
	var line []byte
	var a answer
	if err = json.NewEncoder(conn).Encode(request{s.Name, kind}); err == nil {
		line, err = readLine(conn, maxAnswer)
	}
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("as_root: no answer from %s: %w", r.Socket, ctx.Err())
	case err != nil:
		return fmt.Errorf("as_root: no answer from %s, see `journalctl -u 'hbagent-commands@*'`: %w", r.Socket, err)
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// Serve answers one request at conn, as root: it runs the command that find's Spec
// has for the template. It ends, and kills the command, when the other side hangs
// up.
func Serve(ctx context.Context, conn net.Conn, find func(template string) (Spec, error)) error {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := conn.SetReadDeadline(time.Now().Add(dialWait)); err != nil {
		return err
	}
	line, err := readLine(conn, maxRequest)
	var req request
	if err == nil {
		err = json.Unmarshal(line, &req)
	}
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	go func() {
		_, _ = conn.Read(make([]byte, 1)) // nothing more is said: this is the end
		cancel()
	}()
	var a answer
	if err := serve(ctx, req, find); err != nil {
		a.Error = err.Error()
	}
	return json.NewEncoder(conn).Encode(a)
}

func serve(ctx context.Context, req request, find func(string) (Spec, error)) error {
	s, err := find(req.Template)
	if err != nil {
		return err
	}
	if !s.AsRoot {
		return fmt.Errorf("template %s does not say as_root = true in the config that root reads", s.Name)
	}
	if req.Command != Check && req.Command != Reload || len(s.argv(req.Command)) == 0 {
		return fmt.Errorf("template %s has no command %q in the config that root reads", s.Name, req.Command)
	}
	return Direct{}.Run(ctx, s, req.Command)
}

// readLine reads up to the end of a line, at most limit bytes.
func readLine(conn net.Conn, limit int) ([]byte, error) {
	line, err := bufio.NewReaderSize(conn, limit).ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("a line of more than %d bytes", limit)
	}
	return line, err
}

// OnlyRootMayWrite refuses a config that somebody else could write commands into.
func OnlyRootMayWrite(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != 0 || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s may be written by others than root (mode %04o): its commands are not run as root; chown root %s; chmod go-w %s",
			path, st.Mode().Perm(), path, path)
	}
	return nil
}
