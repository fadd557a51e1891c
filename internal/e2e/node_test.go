package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// A machine that dies is replaced in about a ttl; what it had stays where it is when it returns.
func TestPowerOff(t *testing.T) {
	s := newSite(t, nil)

	t.Run("owner", func(t *testing.T) {
		began := time.Now()
		s.moves(t, "web2", promiseOwner, func(context.Context) error { return s.Node("web1").PowerOff() })
		for _, node := range []string{"web2", "db1"} {
			s.waitEvent(t, node, began, "dead owner", func(e control.Event) bool {
				return e.Kind == "owner" && e.From == "web1" && e.To == "web2" && e.Detail == "dead-owner"
			})
		}
		s.waitPeer(t, "db1", "web1", false)
		s.verb(t, "db1", "status").wants(t, 1, "degraded", "web1 is down")
	})
	t.Run("owner returns", func(t *testing.T) {
		s.stays(t, "web2", func(ctx context.Context) error {
			return errors.Join(s.boot(ctx, "web1"), s.WaitEligible(ctx, "web", "web1"))
		})
		s.waitStatus(t, "web2", func(st control.Status) string {
			if st.Severity() != control.SeverityOK {
				return fmt.Sprint(st.Problems())
			}
			return ""
		})
	})
	t.Run("voter", func(t *testing.T) {
		s.stays(t, "web2", func(context.Context) error { return s.Node("db1").PowerOff() })
	})
	t.Run("majority", func(t *testing.T) {
		// One of three may not have it, whatever it believes.
		must(t, s.Node("web1").PowerOff())
		must(t, s.WaitOnlyAt(within(t), floating4, ""))
		must(t, s.WaitOnlyAt(within(t), floating6, ""))
		s.waitPeer(t, "web2", "web1", false)
		s.waitPeer(t, "web2", "db1", false)
		s.verb(t, "web2", "status").wants(t, 2, "no owner", "web has no owner", "no quorum: web2 hears 1 of 3 voters and needs 2")
	})
	t.Run("majority returns", func(t *testing.T) {
		ctx := within(t)
		must(t, s.boot(ctx, "db1"))
		must(t, s.WaitOwner(ctx, "web", "web2"))
		must(t, s.client.WaitAnswer(ctx, time.Now(), "web2"))
	})
}

// An owner that is cut off lets go before the others take, and does not fight when it is back.
func TestIsolated(t *testing.T) {
	s := newSite(t, nil)
	s.needFaults(t)
	web1 := s.Node("web1")
	tests := []struct {
		name string
		cut  func(context.Context) error
	}{
		{"both ways", web1.Cut},
		{"deaf", func(ctx context.Context) error { return web1.CutOneWay(ctx, lab.In) }},
		{"mute", func(ctx context.Context) error { return web1.CutOneWay(ctx, lab.Out) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, began := within(t), time.Now()
			must(t, tt.cut(ctx))
			must(t, s.WaitOwner(ctx, "web", "web2"))
			must(t, s.client.WaitAnswer(ctx, time.Now(), "web2"))
			gap := s.client.LongestGap(began, time.Now()).Length()
			gone, taken := s.handover(t, began, "web1", "web2")
			t.Logf("outage %v; web1 let go %v before web2 took it", gap.Round(time.Millisecond), taken.Sub(gone).Round(time.Millisecond))
			if gap > slack*promiseOwner {
				t.Errorf("the client got no answer for %v; the promise is %v", gap, promiseOwner)
			}

			healed := time.Now()
			must(t, s.Heal(ctx))
			for _, pair := range [][2]string{{"web1", "web2"}, {"web1", "db1"}, {"web2", "web1"}, {"db1", "web1"}} {
				s.waitPeer(t, pair[0], pair[1], true)
			}
			s.waitStatus(t, "web1", func(st control.Status) string {
				if g := groupOf(st, "web"); g.Owner != "web2" {
					return fmt.Sprintf("owner %q", g.Owner)
				}
				return ""
			})
			pass(t, calm)
			for _, c := range s.cards.Changes() {
				if c.At.After(healed) {
					t.Errorf("healed, and then the address was at %v at %s", c.Nodes, clock(c.At))
				}
			}
			// Back for the next round.
			must(t, s.WaitEligible(ctx, "web", "web1"))
			s.verb(t, "db1", "switchover", "web", "--to", "web1").wants(t, 0)
			must(t, s.WaitOwner(ctx, "web", "web1"))
		})
	}
}

// handover finds the moments at which the old owner's address went and the new owner's came.
func (s *site) handover(t *testing.T, since time.Time, from, to string) (gone, taken time.Time) {
	t.Helper()
	for _, c := range s.cards.Changes() {
		if c.At.Before(since) {
			continue
		}
		if gone.IsZero() && !slices.Contains(c.Nodes, from) {
			gone = c.At
		}
		if taken.IsZero() && slices.Contains(c.Nodes, to) {
			taken = c.At
		}
	}
	if gone.IsZero() || taken.IsZero() || taken.Before(gone) {
		t.Errorf("gone from %s at %s, at %s from %s on: %+v", from, clock(gone), to, clock(taken), s.cards.Changes())
	}
	return gone, taken
}

// Two groups prefer different machines, and each returns to its own when that has been back for hold.
func TestFailback(t *testing.T) {
	const longHold = 3 * time.Second // long beside a boot: the wait must be seen
	shop := "10.77.0.51/24"
	s := newSite(t, func(s *site, c *lab.Config) {
		c.Groups[0].Failback, c.Groups[0].Hold = true, longHold.String()
		g := c.Groups[0]
		g.Name, g.Addresses, g.Nodes = "shop", []string{shop}, []string{"web2", "web1"}
		c.Groups = append(c.Groups, g)
	})
	s.watch(t, prefixes(t, lab.GroupConfig{Addresses: []string{shop}})[0].Addr())
	must(t, s.WaitOwner(within(t), "shop", "web2"))

	for _, dead := range []string{"web1", "web2"} {
		other := map[string]string{"web1": "web2", "web2": "web1"}[dead]
		t.Run(dead+" dies", func(t *testing.T) {
			must(t, s.Node(dead).PowerOff())
			must(t, s.WaitOwner(within(t), "web", other))
			must(t, s.WaitOwner(within(t), "shop", other))
		})
		t.Run(dead+" returns", func(t *testing.T) {
			ctx, began := within(t), time.Now()
			must(t, s.boot(ctx, dead))
			must(t, s.WaitOwner(ctx, "web", "web1"))
			must(t, s.WaitOwner(ctx, "shop", "web2"))
			group := map[string]string{"web1": "web", "web2": "shop"}[dead]
			e := s.waitEvent(t, dead, began, "failback", func(e control.Event) bool {
				return e.Kind == "owner" && e.Group == group && e.To == dead && e.Detail == "failback" &&
					e.Reason == dead+" is preferred and healthy again"
			})
			after := e.At.Sub(began).Round(time.Millisecond)
			t.Logf("%s is back at %s %v after it was switched on (hold %v)", group, dead, after, longHold)
			if after < longHold {
				t.Errorf("%s went back to %s after %v, want not before hold (%v)", group, dead, after, longHold)
			}
		})
	}
	t.Run("server fails and returns", func(t *testing.T) {
		s.moves(t, "web2", promiseService, func(context.Context) error { return s.web["web1"].Kill() })
		ctx, began := within(t), time.Now()
		must(t, s.web["web1"].Start(ctx))
		must(t, s.WaitOwner(ctx, "web", "web1"))
		if after := time.Since(began); after < longHold {
			t.Errorf("web went back after %v, want not before hold (%v)", after, longHold)
		}
	})
}
