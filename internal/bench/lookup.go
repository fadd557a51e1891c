package bench

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A chosen is one setting of one tool that ran.
type chosen struct {
	Tool Tool
	Setting
}

// dir is the directory of its configs, below configs.
func (c chosen) dir() string { return slug(c.Tool.Name) + "-" + slug(c.Name) }

// all are the settings of every tool that ran, in the order of the file.
func (r Run) all() (out []chosen) {
	for _, t := range r.Tools {
		if t.Missing != "" {
			continue
		}
		for _, s := range t.Settings {
			out = append(out, chosen{t, s})
		}
	}
	return out
}

// at are the settings that stand for a pace, one a tool at most.
func (r Run) at(pace string) []chosen {
	return slices.DeleteFunc(r.all(), func(c chosen) bool { return !c.Is(pace) })
}

// result returns what a setting did in a scenario; false where that was not played.
func (r Run) result(c chosen, scenario string) (Result, bool) {
	i := slices.IndexFunc(r.Results, func(res Result) bool {
		return res.Tool == c.Tool.Name && res.Setting == c.Name && res.Scenario == scenario
	})
	if i < 0 {
		return Result{}, false
	}
	return r.Results[i], true
}

// outages summarizes the client's outages; false where there are none.
func (r Run) outages(c chosen, scenario string) (Summary, bool) {
	res, _ := r.result(c, scenario)
	s, err := Summarize(each(res.moved(), outage))
	return s, err == nil
}

func (r Run) quiet(c chosen, load string) (Quiet, bool) {
	i := slices.IndexFunc(r.Quiet, func(q Quiet) bool { return q.Tool == c.Tool.Name && q.Setting == c.Name && q.Load == load })
	if i < 0 {
		return Quiet{}, false
	}
	return r.Quiet[i], true
}

// costs are those of a setting with so many groups, the owner's node first.
func (r Run) costs(c chosen, groups func(int) bool) (out []Cost) {
	for _, k := range r.Costs {
		if k.Tool == c.Tool.Name && k.Setting == c.Name && groups(k.Groups) {
			out = append(out, k)
		}
	}
	slices.SortStableFunc(out, func(a, b Cost) int {
		if c := cmp.Compare(a.Groups, b.Groups); c != 0 || a.Owner == b.Owner {
			return c
		}
		if a.Owner {
			return -1
		}
		return 1
	})
	return out
}

// few and many are the sites whose costs are compared.
func few(groups int) bool  { return groups == 1 }
func many(groups int) bool { return groups == 100 }

// duration reads the time in a setting's name: "ttl 300ms", "ttl 1 s". False where it has none.
func duration(setting, key string) (time.Duration, bool) {
	rest, ok := strings.CutPrefix(setting, key+" ")
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(strings.ReplaceAll(rest, " ", ""))
	return d, err == nil
}

// withTTL is hbagent at a ttl, by the name of the setting.
func (r Run) withTTL(ttl time.Duration) (chosen, bool) {
	for _, c := range r.all() {
		if d, ok := duration(c.Name, "ttl"); ok && c.Tool.Name == HBAgent && d == ttl {
			return c, true
		}
	}
	return chosen{}, false
}

// withHeartbeat is a tool at a heartbeat, in ms; where two settings have it, the first.
func (r Run) withHeartbeat(tool string, ms float64) (chosen, bool) {
	for _, c := range r.all() {
		if c.Tool.Name == tool && c.Heartbeat == ms {
			return c, true
		}
	}
	return chosen{}, false
}
