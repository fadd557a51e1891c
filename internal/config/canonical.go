package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// entry is one fact of a configuration. A Config is the same as another if its
// entries are: Hash and Diff both look at nothing else.
type entry struct{ section, name, key, value string }

// canonical returns the facts of c with the defaults filled in, sorted. The order of
// tables and keys, comments, and the order of lists that have no order (where a check
// runs, which checks and addresses a group has) do not show. The order of a group's
// nodes does: it is the preference.
func canonical(c *Config) []entry {
	var all []entry
	section, name := "", ""
	put := func(key string, value any) {
		all = append(all, entry{section, name, key, canonicalValue(value)})
	}

	section = "cluster"
	put("name", c.Cluster.Name)
	put("key_file", c.Cluster.KeyFile)
	put("insecure", c.Cluster.Insecure)
	put("port", c.Cluster.Port)
	section = "lease"
	put("ttl", c.Lease.TTL)
	put("generation", c.Lease.Generation)
	put("witness", c.Lease.Witness)
	put("gate", c.Lease.Gate)

	section = "http"
	put("listen", canonicalListen(c.HTTP))
	put("hosts", slices.Sorted(slices.Values(c.HTTP.Hosts)))

	section = "node"
	for _, n := range c.Nodes {
		name = n.Name
		put("address", n.Address)
		put("voter", n.Voter)
	}
	section = "check"
	for _, ch := range c.Checks {
		name = ch.Name
		put("type", ch.Type)
		put("url", ch.URL)
		put("address", ch.Address)
		put("dsn_file", ch.DSNFile)
		put("command", ch.Command)
		put("unit", ch.Unit)
		put("interface", ch.Interface)
		put("target", ch.Target)
		put("body", ch.Body)
		put("status", ch.Status)
		put("saturated", ch.Saturated)
		put("max_busy", ch.MaxBusy)
		put("max_active", ch.MaxActive)
		put("max_dropped", ch.MaxDropped)
		put("max_lag", ch.MaxLag)
		put("max_threads", ch.MaxThreads)
		put("read_only", ch.ReadOnly)
		put("interval", ch.Interval)
		put("timeout", ch.Timeout)
		put("fall", ch.Fall)
		put("rise", ch.Rise)
		put("required", ch.Required)
		put("nodes", slices.Sorted(slices.Values(ch.Nodes)))
	}
	section = "group"
	for _, g := range c.Groups {
		name = g.Name
		put("addresses", g.Addresses)
		put("interface", canonicalInterface(g))
		put("nodes", g.Nodes)
		put("checks", slices.Sorted(slices.Values(g.Checks)))
		put("failback", g.Failback)
		put("hold", g.Hold)
		put("handover", g.Handover)
		put("drain", g.Drain)
		put("max_moves", g.MaxMoves)
		put("on_active", g.OnActive)
		put("on_standby", g.OnStandby)
		put("on_fault", g.OnFault)
		put("hook_timeout", g.HookTimeout)
		put("role", g.Role)
		put("mysql.dsn_file", g.MySQL.DSNFile)
		put("mysql.replication_dsn_file", g.MySQL.ReplicationDSNFile)
		put("mysql.max_lag", g.MySQL.MaxLag)
		put("mysql.apply_timeout", g.MySQL.ApplyTimeout)
		put("mysql.demote_timeout", g.MySQL.DemoteTimeout)
		put("mysql.wait_for_last", g.MySQL.WaitForLast)
	}
	section = "template"
	for _, t := range c.Templates {
		name = t.Name
		put("source", t.Source)
		put("file", t.File)
		put("check", t.Check)
		put("reload", t.Reload)
		put("as_root", t.AsRoot)
		put("nodes", slices.Sorted(slices.Values(t.Nodes)))
		put("mode", canonicalMode(t.Mode))
		put("owner", t.Owner)
		put("interval", t.Interval)
		put("timeout", t.Timeout)
	}
	slices.SortFunc(all, compareEntries)
	return all
}

func compareEntries(a, b entry) int {
	return cmp.Or(cmp.Compare(a.section, b.section), cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key))
}

func canonicalInterface(g Group) string {
	if g.Interfaces == nil {
		return g.Interface
	}
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(g.Interfaces)) {
		parts = append(parts, node+"="+g.Interfaces[node])
	}
	return strings.Join(parts, ", ")
}

// canonicalListen is like canonicalInterface; nothing at all if there is nothing to listen on.
func canonicalListen(h HTTP) string {
	list := func(on []netip.AddrPort) string {
		var out []string
		for _, ap := range on {
			out = append(out, ap.String())
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	if h.ListenNodes == nil {
		return list(h.Listen)
	}
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(h.ListenNodes)) {
		parts = append(parts, node+"="+list(h.ListenNodes[node]))
	}
	return strings.Join(parts, ", ")
}

// canonicalMode is the form of the file.
func canonicalMode(mode fs.FileMode) string {
	if mode == 0 {
		return ""
	}
	return fmt.Sprintf("%04o", mode)
}

// canonicalValue writes a value so that two different ones never look the same.
func canonicalValue(v any) string {
	switch v := v.(type) {
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case []netip.Prefix:
		list := make([]string, len(v))
		for i, p := range v {
			list[i] = p.String()
		}
		return canonicalValue(slices.Sorted(slices.Values(list)))
	case netip.Addr:
		if !v.IsValid() {
			return ""
		}
		return v.String()
	}
	return fmt.Sprint(v)
}

// hash is the first 12 hex digits of the SHA-256 of the canonical content: enough to
// tell the files of a cluster apart, short enough to read aloud.
func hash(c *Config) string {
	h := sha256.New()
	for _, e := range canonical(c) {
		fmt.Fprintf(h, "%q %q %q %q\n", e.section, e.name, e.key, e.value)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}
