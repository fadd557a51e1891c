// Package chaos_test makes faults in sites that live long, with the real program, as built: scripted ones, alone and
// several at once, and loads that must move nothing. Random ones are for `make chaos`.
//
// Whatever is done, nobody must ever see two machines speak for an address, and when it is over one machine has
// it and keeps it. How long that takes is logged, and not asserted.
package chaos_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab/chaos"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.MainBuilt(m)) }

// A stage is a site with its judge.
type stage struct {
	*chaos.Site
	judge  *chaos.Judge
	guilty bool // broken promises are what the test wants
}

// newStage builds a site that ends with the test. What the judge finds and nobody has asked for fails it.
func newStage(t *testing.T, o chaos.Options) *stage {
	t.Helper()
	labtest.Need(t)
	o.Hbagent = labtest.Program()
	seen, end := context.WithCancel(context.Background())
	s, err := chaos.NewSite(seen, o)
	if err != nil {
		end()
		t.Fatal(err)
	}
	s.Calm = s.TTL + s.TTL/5 // who lost a lease would show
	st := &stage{Site: s, judge: chaos.NewJudge(s)}
	t.Cleanup(func() {
		_, before := st.judge.Violations()
		st.judge.Catch(context.Background())
		st.verdict(t, before)
		if t.Failed() {
			t.Log("the last words of the agents:\n" + s.Logs("agent", 20))
		}
		end()
		s.Wait()
		if err := s.Close(); err != nil {
			t.Error("close the site:", err)
		}
	})
	return st
}

// verdict reads what was seen up to a moment ago, and fails the test for each broken promise that is new. What comes
// later is for the next verdict; the last one is spoken when the test ends.
func (s *stage) verdict(t *testing.T, before int) {
	t.Helper()
	s.judge.Advance(time.Now().Add(-chaos.JudgeLag))
	found, all := s.judge.Violations()
	for i := min(before, len(found)); i < len(found) && !s.guilty; i++ {
		t.Errorf("%v", found[i])
	}
	if all > len(found) && all > before {
		t.Errorf("%d broken promises in all", all)
	}
}

var pass = labtest.Pass
