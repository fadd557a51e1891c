package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// What `hbagent status` says of a database on each node.
func TestServicesTable(t *testing.T) {
	seen := controltest.Now.Add(-300 * time.Millisecond)
	for name, tt := range map[string]struct {
		service control.Service
		want    string // the columns DOES, LAG, SEMI-SYNC, NOTE
	}{
		"not yet":       {control.Service{LagMs: -1}, "not seen yet - - -"},
		"master":        {control.Service{At: seen, Writable: true, LagMs: -1, SemiSync: "on", Version: "MariaDB 10.11"}, "writes - on MariaDB 10.11"},
		"replica":       {control.Service{At: seen, Following: "db1", Connected: true, LagMs: 1234, Version: "MariaDB 10.11"}, "follows db1 1.2s - MariaDB 10.11"},
		"not connected": {control.Service{At: seen, Following: "db1", LagMs: -1}, "follows db1, not connected not known - -"},
		"nobody's":      {control.Service{At: seen, LagMs: -1}, "read-only - - -"},
		"broken":        {control.Service{At: seen, Following: "db1", LagMs: -1, Broken: "error 1062"}, "read-only not known - error 1062"},
		"diverged":      {control.Service{At: seen, LagMs: -1, Diverged: "3 transactions"}, "read-only - - diverged: 3 transactions"},
		"down":          {control.Service{At: seen, LagMs: -1, Down: "connection refused"}, "down - - connection refused"},
		"of the dead":   {control.Service{At: controltest.Now.Add(-7 * time.Second), Writable: true, LagMs: -1}, "not seen for 7s - - -"},
	} {
		t.Run(name, func(t *testing.T) {
			s := control.Status{At: controltest.Now, Groups: []control.Group{{Name: "db"}, {Name: "web"}}, Nodes: []control.Node{
				{Name: "db1", Alive: true, Groups: map[string]control.NodeGroup{"db": {Service: &tt.service}}},
				{Name: "db2", Groups: map[string]control.NodeGroup{"db": {Service: &tt.service}}}, // down
				{Name: "web1", Alive: true, Groups: map[string]control.NodeGroup{"web": {}}},
			}}
			var out bytes.Buffer
			if err := servicesTable(s).write(&out, screen{width: 120}, 0); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if got := strings.Join(strings.Fields(lines[len(lines)-1]), " "); len(lines) != 2 || got != "db db1 "+tt.want {
				t.Errorf("got %q of\n%s", got, &out)
			}
		})
	}
}
