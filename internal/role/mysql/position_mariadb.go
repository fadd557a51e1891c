package mysql

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// stream is what MariaDB numbers transactions by: a replication domain, and the
// server that wrote them first.
type stream struct{ domain, server uint32 }

// mariaSet has the last transaction of each stream (MariaDB documentation, "Global
// Transaction ID": domain-server-sequence). That is the form of @@gtid_binlog_state.
//
// Within a domain, every server applies the transactions in one order, and their
// sequence numbers grow in it (gtid_strict_mode). Who has the last one of a stream
// therefore has all before it, and who has a transaction at the head of a domain has
// everything that came before that in the history that it belongs to.
type mariaSet map[stream]uint64

func parseMariaSet(s string) (mariaSet, error) {
	set := mariaSet{}
	for entry := range strings.SplitSeq(s, ",") {
		entry = strings.TrimSpace(entry)
		parts := strings.Split(entry, "-")
		if len(parts) != 3 {
			return nil, fmt.Errorf("%.40q is not a GTID of the form domain-server-sequence", entry)
		}
		domain, err1 := strconv.ParseUint(parts[0], 10, 32)
		server, err2 := strconv.ParseUint(parts[1], 10, 32)
		seq, err3 := strconv.ParseUint(parts[2], 10, 64)
		if err := cmp.Or(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("%.40q is not a GTID of the form domain-server-sequence", entry)
		}
		if seq == 0 {
			continue // "nothing yet", as in 0-0-0
		}
		k := stream{uint32(domain), uint32(server)}
		set[k] = max(set[k], seq)
		if len(set) > maxEntries {
			return nil, fmt.Errorf("more than %d GTIDs in a position", maxEntries)
		}
	}
	if len(set) == 0 {
		return nil, nil
	}
	return set, nil
}

func compareStreams(a, b stream) int {
	return cmp.Or(cmp.Compare(a.domain, b.domain), cmp.Compare(a.server, b.server))
}

func (m mariaSet) String() string { return m.text(slices.SortedFunc(maps.Keys(m), compareStreams)) }

func (m mariaSet) text(of []stream) string {
	parts := make([]string, 0, len(of))
	for _, k := range of {
		parts = append(parts, fmt.Sprintf("%d-%d-%d", k.domain, k.server, m[k]))
	}
	return strings.Join(parts, ",")
}

// heads is the last transaction of each domain: the form of @@gtid_slave_pos, which
// a replica tells its master. Of two streams that claim the same number the larger
// server is taken; they belong to two histories, and no master has both.
func (m mariaSet) heads() string { return m.text(m.headStreams()) }

func (m mariaSet) headStreams() []stream {
	var out []stream
	for _, k := range slices.SortedFunc(maps.Keys(m), compareStreams) {
		if n := len(out); n > 0 && out[n-1].domain == k.domain {
			if m[k] >= m[out[n-1]] {
				out[n-1] = k
			}
			continue
		}
		out = append(out, k)
	}
	return out
}

func (m mariaSet) union(q mariaSet) mariaSet {
	if len(m)+len(q) == 0 {
		return nil
	}
	out := make(mariaSet, len(m)+len(q))
	maps.Copy(out, m)
	for k, seq := range q {
		out[k] = max(out[k], seq)
	}
	return out
}

// has reports whether m has every transaction of q.
func (m mariaSet) has(q mariaSet) bool {
	for k, seq := range q {
		if !m.hasUpTo(k, seq, q) {
			return false
		}
	}
	return true
}

// hasUpTo reports whether m has transaction seq of a stream of q. A server that was
// made from a backup knows the head of a domain only, and nothing of other streams;
// if q knows that head too, and seq comes before it, both share the history in which
// it does. In doubt it is not there: that keeps a server out, which a person can mend.
func (m mariaSet) hasUpTo(k stream, seq uint64, q mariaSet) bool {
	if last, known := m[k]; known {
		return last >= seq
	}
	head, ok := m.head(k.domain)
	return ok && m[head] > seq && q[head] >= m[head]
}

func (m mariaSet) head(domain uint32) (head stream, ok bool) {
	for k, seq := range m {
		if k.domain == domain && (!ok || seq > m[head] || seq == m[head] && k.server > head.server) {
			head, ok = k, true
		}
	}
	return head, ok
}

// lacks counts the transactions of q that m has not: in each domain those from the
// point where the two histories part. The number is exact where every number of the
// domain was used.
func (m mariaSet) lacks(q mariaSet) (n uint64, detail string) {
	var parts []string
	add := func(k stream, after, last uint64) {
		n += last - after
		part := fmt.Sprintf("%d-%d-%d", k.domain, k.server, last)
		if last > after+1 {
			part = fmt.Sprintf("%d-%d-%d to ", k.domain, k.server, after+1) + part
		}
		parts = append(parts, part)
	}
	for _, head := range q.headStreams() {
		if m.hasDomain(q, head.domain) {
			continue
		}
		if fork := m.common(q, head.domain); q[head] > fork {
			add(head, fork, q[head])
			continue
		}
		// Both have the head of the domain, and not what comes before it: no history is
		// like that, unless numbers were used twice.
		for _, k := range slices.SortedFunc(maps.Keys(q), compareStreams) {
			if k.domain == head.domain && !m.hasUpTo(k, q[k], q) {
				add(k, m[k], q[k])
			}
		}
	}
	return n, strings.Join(parts, ", ")
}

// hasDomain is has for the streams of one domain.
func (m mariaSet) hasDomain(q mariaSet, domain uint32) bool {
	for k, seq := range q {
		if k.domain == domain && !m.hasUpTo(k, seq, q) {
			return false
		}
	}
	return true
}

// common is the last number in a domain up to which both have the same.
func (m mariaSet) common(q mariaSet, domain uint32) uint64 {
	var last uint64
	for k, seq := range q {
		if k.domain == domain {
			last = max(last, min(seq, m[k]))
		}
	}
	return last
}
