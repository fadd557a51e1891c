package checks

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// dsn writes a DSN file.
func dsn(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mysql.dsn")
	write(t, path, text, mode)
	return path
}

func TestMySQLDSNFile(t *testing.T) {
	none := refused(t)
	const form = ": not a DSN: want user:password@*"
	for name, tt := range map[string]struct {
		path, want string // %s is the path
	}{
		"missing":        {"/nonexistent/mysql.dsn", "dsn_file: open %s: no such file or directory"},
		"a directory":    {t.TempDir(), "dsn_file %s is not a regular file"},
		"world-readable": {dsn(t, "u:geheim@tcp("+none+")/", 0o644), "dsn_file %s is open to everyone (mode 0644): chmod 0640 %s"},
		"world-writable": {dsn(t, "u:geheim@tcp("+none+")/", 0o642), "dsn_file %s is open to everyone (mode 0642): chmod 0640 %s"},
		"group-readable": {dsn(t, "u:geheim@tcp("+none+")/\n", 0o640), "connection refused at " + none},
		"too long":       {dsn(t, strings.Repeat("x", maxDSN+1), 0o600), "dsn_file %s is longer than 4096 bytes"},
		"empty":          {dsn(t, "\n", 0o600), "dsn_file %s" + form},
		"no slash":       {dsn(t, "u:geheim@tcp(h:1)", 0o600), "dsn_file %s" + form},
		"slashes":        {dsn(t, "u:p@tcp(h:1)/ge%heim", 0o600), "dsn_file %s" + form},
		"wrong value":    {dsn(t, "u:p@tcp(h:1)/?parseTime=geheim", 0o600), "dsn_file %s" + form},
		"wrong network":  {dsn(t, "u:p@geheim/", 0o600), "dsn_file %s" + form},
	} {
		t.Run(name, func(t *testing.T) {
			got := probe(t, mustNew(t, Spec{Type: "mysql", DSNFile: tt.path}), patience)
			check(t, got, false, strings.ReplaceAll(tt.want, "%s", tt.path))
			if strings.Contains(got.Message, "geheim") {
				t.Errorf("the message tells the password: %q", got.Message)
			}
		})
	}
}

func TestMySQLBadServers(t *testing.T) {
	for name, tt := range map[string]struct {
		address string
		timeout time.Duration
		want    string // %s is the address
	}{
		"hung":             {address: serve(t, hang), timeout: short, want: "no answer within 200ms"},
		"not accepting":    {address: deaf(t), timeout: short, want: "no answer within 200ms"},
		"another protocol": {address: serve(t, endless("HTTP/1.1 400 Bad Request\r\n\r\n")), timeout: patience, want: "%s*"},
		"a huge packet":    {address: serve(t, endless("\xff\xff\xff\x00")), timeout: patience, want: "%s*"},
		"slow":             {address: serve(t, drip("\x4a\x00\x00\x00\x0a8.0")), timeout: short, want: "no answer within 200ms"},
		"hangs up": {address: serve(t, func(c net.Conn) {}), timeout: patience,
			want: "%s closed the connection before its answer was complete"},
		// 1040: ER_CON_COUNT_ERROR instead of a handshake. It quotes the password back.
		"refuses politely": {address: serve(t, func(c net.Conn) {
			text := "\xff\x10\x04Too many connections geheim\x1b[31m"
			c.Write(append([]byte{byte(len(text)), 0, 0, 0}, text...))
		}), timeout: patience, want: "error 1040: Too many connections *** [31m"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := dsn(t, "hb:geheim@tcp("+tt.address+")/", 0o600)
			got := probe(t, mustNew(t, Spec{Type: "mysql", DSNFile: file}), tt.timeout)
			check(t, got, false, strings.ReplaceAll(tt.want, "%s", tt.address))
			if strings.Contains(got.Message, "geheim") {
				t.Errorf("the message tells the password: %q", got.Message)
			}
		})
	}
}

// A server that announces the largest packet there is finds nobody to read it.
func TestMySQLReadsLittle(t *testing.T) {
	sent := make(chan int, 1)
	address := serve(t, func(c net.Conn) {
		n, _ := c.Write([]byte("\xff\xff\xff\x00\x0a"))
		for filler := make([]byte, 64<<10); ; {
			m, err := c.Write(filler)
			if n += m; err != nil {
				sent <- n
				return
			}
		}
	})
	got := probe(t, mustNew(t, Spec{Type: "mysql", DSNFile: dsn(t, "hb@tcp("+address+")/", 0o600)}), patience)
	if got.OK {
		t.Errorf("%+v", got)
	}
	select {
	case n := <-sent:
		if n >= 1<<24 { // what it holds beyond our limit is in the kernel's buffers
			t.Errorf("read all of a packet of %d bytes", n)
		}
	case <-time.After(patience):
		t.Error("the connection stays open")
	}
}

func TestReadDSN(t *testing.T) {
	cfg, err := readDSN(dsn(t, "u:p@tcp(h:1)/?allowAllFiles=true&multiStatements=true", 0o600))
	must(t, err)
	if _, silent := cfg.Logger.(*mysql.NopLogger); !silent || cfg.AllowAllFiles || cfg.MultiStatements {
		t.Errorf("not fit for a probe: %+v", cfg)
	}
}
