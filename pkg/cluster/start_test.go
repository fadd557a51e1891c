package cluster

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	floating := netip.MustParseAddr("10.0.0.50")
	for _, tc := range []struct {
		name   string
		change func(*Options)
		want   []string // all in the error
	}{
		{"no key", func(o *Options) { o.Keys = nil }, []string{"hbagent keygen", "key_file"}},
		{"short key", func(o *Options) { o.Keys = [][]byte{testKey, []byte("x")} }, []string{"key 2", "1 bytes", "16, 24 or 32"}},
		{"key and insecure", func(o *Options) { o.Insecure = true }, []string{"insecure"}},
		{"no cluster name", func(o *Options) { o.Cluster = "" }, []string{"cluster name"}},
		{"long cluster name", func(o *Options) { o.Cluster = strings.Repeat("x", 256) }, []string{"cluster name"}},
		{"no run id", func(o *Options) { o.RunID = "" }, []string{"run id"}},
		{"no handler", func(o *Options) { o.Handler = nil }, []string{"handler"}},
		{"no ttl", func(o *Options) { o.TTL = 0 }, []string{"ttl"}},
		{"no port", func(o *Options) { o.Port = 0 }, []string{"port 0"}},
		{"not configured", func(o *Options) { o.Node = "web7" }, []string{`"web7"`, "not among"}},
		{"name twice", func(o *Options) { o.Peers = append(o.Peers, Peer{"web2", floating}) }, []string{"web2 is listed twice"}},
		{"address twice", func(o *Options) { o.Peers = append(o.Peers, Peer{"web3", o.Peers[0].Address}) }, []string{"web1 and web3", "same address"}},
		{"name with slash", func(o *Options) { o.Peers = append(o.Peers, Peer{"we/b", floating}) }, []string{`"we/b"`}},
		{"wildcard", func(o *Options) { o.Peers[0].Address = netip.IPv4Unspecified() }, []string{"0.0.0.0"}},
		{"no address", func(o *Options) { o.Peers[1].Address = netip.Addr{} }, []string{"web2", "no address"}},
		{"link-local", func(o *Options) { o.Peers[1].Address = netip.MustParseAddr("fe80::1%eth0") }, []string{"link-local"}},
		{"floating", func(o *Options) { o.Forbidden = []netip.Addr{o.Peers[0].Address} }, []string{"web1", "floating address"}},
		{"not on this machine", func(o *Options) { o.Peers[0].Address = netip.MustParseAddr("192.0.2.77") },
			[]string{"192.0.2.77 is not on this machine", "[[node]] address", "this machine has"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nw := newNetwork(t, "web1", "web2")
			n, err := nw.tryStart("web1", tc.change)
			if err == nil {
				n.end(t, false)
				t.Fatal("started")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not say %q: %v", want, err)
				}
			}
		})
	}
}

func TestStartPortInUse(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	self := netip.AddrPortFrom(nw.address("web1"), testPort)
	for _, tc := range []struct {
		proto, tool string
		occupy      func() (interface{ Close() error }, error)
	}{
		{"TCP", "ss -lntp", func() (interface{ Close() error }, error) { return net.Listen("tcp", self.String()) }},
		{"UDP", "ss -lnup", func() (interface{ Close() error }, error) { return net.ListenPacket("udp", self.String()) }},
	} {
		l, err := tc.occupy()
		if err != nil {
			t.Fatal(err)
		}
		_, err = nw.tryStart("web1")
		_ = l.Close()
		if err == nil {
			t.Fatalf("%s: started on a port in use", tc.proto)
		}
		for _, want := range []string{tc.proto + " " + self.String(), tc.tool, "another agent"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error does not say %q: %v", want, err)
			}
		}
	}
	// Both were freed by the failed starts.
	nw.start("web1")
}

func TestRunOnceAndCloseTwice(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "web1", "web2")
	a, b := nw.start("web1"), nw.start("web2")
	nw.awaitMesh(a, b)
	if err := a.Run(t.Context()); err == nil {
		t.Error("Run ran twice")
	}
	for range 2 {
		if err := a.Close(true, patience); err != nil {
			t.Error(err)
		}
	}
	if _, err := a.Call(t.Context(), "web2", "x", nil); err == nil {
		t.Error("a closed cluster made a call")
	}
}
