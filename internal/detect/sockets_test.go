package detect

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// hexOf writes an address as /proc/net/tcp of this machine does.
func hexOf(s string) string {
	ap := netip.MustParseAddrPort(s)
	b := ap.Addr().AsSlice()
	var out strings.Builder
	for i := 0; i < len(b); i += 4 {
		fmt.Fprintf(&out, "%08X", binary.NativeEndian.Uint32(b[i:]))
	}
	return fmt.Sprintf("%s:%04X", out.String(), ap.Port())
}

const tcpHead = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func tcpLine(local, state, inode string) string {
	return fmt.Sprintf("   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %s 1 0 100 0 0 10 0\n", hexOf(local), state, inode)
}

// A process of a made-up /proc.
type proc struct {
	pid     int
	comm    string
	cgroup  string
	sockets []string // inodes
}

func procOf(tcp, tcp6, unix string, procs ...proc) fstest.MapFS {
	m := fstest.MapFS{
		"self/net/tcp":  {Data: []byte(tcpHead + tcp)},
		"self/net/tcp6": {Data: []byte(tcpHead + tcp6)},
		"self/net/unix": {Data: []byte("Num       RefCount Protocol Flags    Type St Inode Path\n" + unix)},
		"meminfo":       {Data: []byte("no process")},
	}
	for _, p := range procs {
		dir := fmt.Sprint(p.pid, "/")
		m[dir+"comm"] = &fstest.MapFile{Data: []byte(p.comm + "\n")}
		m[dir+"cgroup"] = &fstest.MapFile{Data: []byte(p.cgroup)}
		m[dir+"fd/0"] = &fstest.MapFile{Data: []byte("/dev/null"), Mode: fs.ModeSymlink}
		for i, inode := range p.sockets {
			m[fmt.Sprintf("%sfd/%d", dir, i+3)] = &fstest.MapFile{Data: []byte("socket:[" + inode + "]"), Mode: fs.ModeSymlink}
		}
	}
	return m
}

func TestSockets(t *testing.T) {
	tree := procOf(
		tcpLine("0.0.0.0:80", "0A", "100")+tcpLine("10.0.0.11:39000", "01", "101")+tcpLine("127.0.0.1:11211", "0A", "102")+"garbage\n"+
			tcpLine("0.0.0.0:111", "0A", "999"),
		tcpLine("[::]:443", "0A", "103")+tcpLine("[fd00::11]:8080", "0A", "104"),
		"0000000000000000: 00000002 00000000 00010000 0001 01 200 /run/mysqld/mysqld.sock\n"+
			"0000000000000000: 00000003 00000000 00000000 0001 03 201 /run/mysqld/mysqld.sock\n"+
			"0000000000000000: 00000002 00000000 00010000 0001 01 202 @abstract\n"+
			"0000000000000000: 00000002 00000000 00010000 0001 01 203\n",
		proc{70, "apache2", "0::/system.slice/apache2.service\n", []string{"100", "103"}},
		proc{71, "apache2", "0::/system.slice/apache2.service\n", []string{"100", "103"}}, // a child
		proc{80, "memcached", "1:name=systemd:/system.slice/system-memcached.slice/memcached@a.service\n0::/\n", []string{"102"}},
		proc{9, "mariadbd", "0::/system.slice/mariadb.service\n", []string{"200"}},
		proc{90, "node", "0::/user.slice/user-1000.slice/user@1000.service/app.service\n", []string{"104"}},
	)
	got, err := Sockets(tree)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort
	want := []Listener{
		{Addr: at("0.0.0.0:80"), PID: 70, Command: "apache2", Unit: "apache2.service"},
		{Addr: at("127.0.0.1:11211"), PID: 80, Command: "memcached", Unit: "memcached@a.service"},
		{Addr: at("0.0.0.0:111")}, // the kernel's own, or hidden
		{Addr: at("[::]:443"), PID: 70, Command: "apache2", Unit: "apache2.service"},
		{Addr: at("[fd00::11]:8080"), PID: 90, Command: "node"},
		{Path: "/run/mysqld/mysqld.sock", PID: 9, Command: "mariadbd", Unit: "mariadb.service"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSocketsWithoutProc(t *testing.T) {
	if got, err := Sockets(fstest.MapFS{}); err == nil {
		t.Errorf("got %v, want an error: nothing could be read", got)
	}
	only4 := procOf(tcpLine("0.0.0.0:80", "0A", "1"), "", "")
	delete(only4, "self/net/tcp6") // a kernel without IPv6
	if got, err := Sockets(only4); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// The real /proc can be read, and has a socket that this test opens.
func TestSocketsHere(t *testing.T) {
	l := listen(t)
	got, err := Sockets(os.DirFS("/proc"))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range got {
		if g.Addr == l {
			if g.PID != os.Getpid() || g.Command == "" {
				t.Errorf("it is ours, and got %+v (we are %d)", g, os.Getpid())
			}
			return
		}
	}
	t.Errorf("%v is not among %v", l, got)
}

func FuzzSockets(f *testing.F) {
	f.Add(tcpHead+tcpLine("0.0.0.0:80", "0A", "1"), "Num\n0: 2 0 00010000 0001 01 2 /x\n", "0::/system.slice/a.service")
	f.Fuzz(func(t *testing.T, tcp, unix, cgroup string) {
		tree := procOf("", "", "", proc{1, "x", cgroup, []string{"1", "2"}})
		tree["self/net/tcp"] = &fstest.MapFile{Data: []byte(tcp)}
		tree["self/net/unix"] = &fstest.MapFile{Data: []byte(unix)}
		got, _ := Sockets(tree)
		for _, l := range got {
			if l.Path == "" && !l.Addr.IsValid() || strings.ContainsAny(l.Unit, "/\n") {
				t.Errorf("%+v", l)
			}
		}
	})
}
