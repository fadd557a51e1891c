package agent

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hbagent/hbagent/pkg/checks"
)

// Opening all groups of a node takes longer than a lease lasts: those that are open are renewed in between.
func TestManyGroupsAreOpenedInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups = 60
		text := testConfig
		for i := range groups {
			text += strings.NewReplacer("NAME", fmt.Sprintf("many%d", i), "ADDRESS", fmt.Sprintf("10.0.0.%d/24", 100+i)).Replace(`
[[group]]
name = "NAME"
addresses = ["ADDRESS"]
interface = "eth0"
nodes = ["web1", "web2"]
`)
		}
		w := newWorld(t, text)
		web1, web2, _ := w.boot("web1"), w.boot("web2"), w.boot("db1")
		for _, n := range []*testNode{web1, web2} {
			n.addrs.mu.Lock()
			n.addrs.openTook = testTTL / 30 // twice a ttl for all
			n.addrs.mu.Unlock()
		}
		web1.check("web", checks.Passing, "")
		web2.check("web", checks.Passing, "")
		w.wait(10 * testTTL)
		for i := range groups {
			if got := w.holders(fmt.Sprintf("many%d", i)); len(got) != 1 {
				t.Errorf("%v have group many%d open", got, i)
			}
		}
		for _, n := range []*testNode{web1, web2} {
			n.look(func() {
				if s := n.machine.Stats(); s.Lapsed > 0 || s.Superseded > 0 {
					t.Errorf("%s lost leases while it opened others: %d lapsed, %d superseded", n.node, s.Lapsed, s.Superseded)
				}
			})
		}
	})
}
