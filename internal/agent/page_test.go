package agent

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// fakePage notes where it was told to listen.
type fakePage struct {
	mu     sync.Mutex
	listen []netip.AddrPort
	hosts  []string
}

func (p *fakePage) Run(context.Context) error { return nil }
func (p *fakePage) Problems() []string        { return nil }

func (p *fakePage) Set(listen []netip.AddrPort, hosts []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listen, p.hosts = listen, hosts
}

// The page goes where the new file says, without a restart and without a move.
func TestReloadMovesTheStatusPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, testConfig)
		text := testConfig + "\n[http]\nlisten = { web1 = \"10.0.0.11:9746\" }\nhosts = [\"Status.example.com\"]\n"
		for _, n := range []*testNode{web1, web2} {
			res, err := n.reload(t, text, false)
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "changed", res.Changed, []string{
				`http: hosts [] -> ["status.example.com"]`,
				"http: listen (none) -> web1=10.0.0.11:9746",
			})
		}
		page := func(n *testNode) *fakePage { return n.agent.page.(*fakePage) }
		if got := page(web1).listen; !slices.Equal(got, []netip.AddrPort{netip.MustParseAddrPort("10.0.0.11:9746")}) {
			t.Errorf("web1 listens on %v", got)
		}
		if got := page(web2).listen; len(got) != 0 {
			t.Errorf("web2 listens on %v", got)
		}
		for _, host := range []string{"status.example.com", "web1", "db1"} {
			if !slices.Contains(page(web1).hosts, host) {
				t.Errorf("%s is none of the names %v", host, page(web1).hosts)
			}
		}
		w.wait(2 * testTTL)
		w.owned("web1")
	})
}

func TestStatusTellsWhatThePageLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, web1, _, _ := settled(t, testConfig)
		const why = "the status page cannot listen on 127.0.0.1:9746"
		web1.look(func() {
			web1.pageProblems = func() []string { return []string{why} }
			if s := web1.status(); !slices.Contains(s.Warnings, why) || s.Severity() != 0 {
				t.Errorf("warnings %q, severity %v", s.Warnings, s.Severity())
			}
		})
	})
}
