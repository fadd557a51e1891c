package cli

import (
	"cmp"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

// serviceStale: a service is looked at twice a second, and told at least every two (chosen by us).
const serviceStale = 4 * time.Second

// servicesTable lists the services behind groups with a role: which node writes, who
// follows it, and how far behind.
func servicesTable(s control.Status) *table {
	t := &table{head: []string{"SERVICE", "NODE", "DOES", "LAG", "SEMI-SYNC", "NOTE"}}
	for _, g := range s.Groups {
		for _, n := range s.Nodes {
			if sv := n.Groups[g.Name].Service; sv != nil && n.Alive {
				t.add(text(g.Name), text(n.Name), doesCell(s.At, sv), text(lagText(sv)), text(orDash(sv.SemiSync)), text(orDash(noteOf(sv))))
			}
		}
	}
	return t
}

func doesCell(at time.Time, sv *control.Service) cell {
	switch {
	case sv.At.IsZero():
		return text("not seen yet")
	case sv.Down != "":
		return styled(bad, "down")
	case at.Sub(sv.At) >= serviceStale: // what it did then, it may not do any more
		return styled(uneasy, "not seen for "+ago(at, sv.At))
	case sv.Diverged != "", sv.Broken != "":
		return styled(bad, "read-only")
	case sv.Writable:
		return styled(good, "writes")
	case sv.Following != "" && sv.Connected:
		return text("follows " + sv.Following)
	case sv.Following != "":
		return styled(uneasy, "follows "+sv.Following+", not connected")
	}
	return text("read-only")
}

func lagText(sv *control.Service) string {
	switch {
	case sv.Writable || sv.Following == "":
		return "-"
	case sv.LagMs < 0:
		return "not known"
	}
	return (time.Duration(sv.LagMs) * time.Millisecond).Round(100 * time.Millisecond).String()
}

func noteOf(sv *control.Service) string {
	if sv.Diverged != "" {
		return "diverged: " + sv.Diverged
	}
	return cmp.Or(sv.Down, sv.Broken, sv.Warning, sv.Version)
}
