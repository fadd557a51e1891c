package scale_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
	"github.com/hbagent/hbagent/internal/lab/scale"
)

// Every group has one owner, also after the node that owned most has lost its power, and nothing that an agent had to tell was
// too large or too much. `make scale` measures larger ones.
func TestClusters(t *testing.T) {
	for _, p := range []scale.Plan{
		{Nodes: 3, Voters: 3, Groups: 100, Candidates: 3},
		{Nodes: 25, Voters: 5, Groups: 1, Candidates: 25},
	} {
		t.Run(fmt.Sprintf("%d nodes, %d groups", p.Nodes, p.Groups), func(t *testing.T) {
			w := labtest.New(t, lab.Options{Nodes: p.Names(), Wide: true})
			ctx := labtest.Within(t, 90*time.Second)
			s, err := scale.Start(ctx, w, p)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.OwnedOnce(); err != nil {
				t.Fatal(err)
			}
			took, err := s.Takeover(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if took.Groups < 1 || took.Two > 0 {
				t.Errorf("%d groups were taken over, %d of them by two nodes", took.Groups, took.Two)
			}
			for _, line := range s.Complaints() {
				t.Error(line)
			}
		})
	}
}
