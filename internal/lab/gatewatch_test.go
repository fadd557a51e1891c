package lab_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// Proves that the watch of the gates can fail, and that a gate which ends by itself is seen to end.
func TestGateWatch(t *testing.T) {
	w := labtest.New(t, lab.Options{Nodes: []string{"a", "b"}})
	needNft(t, w)
	ctx := labtest.Within(t, patience)
	begin := time.Now()
	gates := w.WatchGate(ctx, "web", time.Millisecond)
	nft := func(n *lab.Node, rules string) {
		t.Helper()
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if _, err := n.Output(ctx, cmd); err != nil {
			t.Fatal(err)
		}
	}
	wait := func(nodes ...string) {
		t.Helper()
		if err := gates.WaitOwners(ctx, nodes...); err != nil {
			t.Error(err)
		}
	}
	a, b := w.Node("a"), w.Node("b")
	const tables = `add table inet hbagent
add set inet hbagent live-web { type nf_proto; flags timeout; }
add table arp hbagent
add set arp hbagent live-web { type ether_type; flags timeout; }
`
	nft(a, tables)
	nft(b, tables)
	wait()
	nft(a, "add element arp hbagent live-web { arp timeout 10m }")
	wait("a")
	nft(b, "add element inet hbagent live-web { ipv4 timeout 300ms }")
	wait("a", "b")
	wait("a") // the kernel ends it
	if err := a.PowerOff(); err != nil {
		t.Fatal(err)
	}
	wait()
	want := [][]string{nil, {"a"}, {"a", "b"}, {"a"}, nil}
	var got [][]string
	for _, c := range gates.Changes() {
		got = append(got, c.Nodes)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("open gates (-want +got):\n%s", diff)
	}
	if two := gates.OwnersOverlap(begin, time.Now()); len(two) != 1 || gates.Err() != nil {
		t.Errorf("%d overlaps, want 1 (%v)", len(two), gates.Err())
	}
	if err := a.PowerOn(ctx); err != nil { // another namespace under the same name
		t.Fatal(err)
	}
	nft(a, tables+"add element arp hbagent live-web { arp timeout 10m }")
	wait("a")
}
