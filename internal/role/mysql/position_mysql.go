package mysql

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// interval is a run of transaction numbers, both ends included.
type interval struct{ first, last uint64 }

// gtidSet is MySQL's set of transactions (MySQL 8.4 Reference Manual 19.1.3.1): for
// each source, which is a server's UUID with the tag of MySQL 8.3 if there is one,
// the intervals of transaction numbers, sorted, without overlap or touch.
type gtidSet map[string][]interval

// maxGNO is the largest number of a transaction (sql/rpl_gtid.h, GNO_END - 1).
const maxGNO = math.MaxInt64 - 1

func parseGTIDSet(s string) (gtidSet, error) {
	set, entries := gtidSet{}, 0
	for element := range strings.SplitSeq(s, ",") {
		element = strings.ToLower(strings.TrimSpace(element))
		if element == "" {
			continue
		}
		parts := strings.Split(element, ":")
		uuid := strings.TrimSpace(parts[0])
		if !isUUID(uuid) {
			return nil, fmt.Errorf("%.40q does not begin with the UUID of a server", element)
		}
		source, numbers := uuid, 0
		for i, part := range parts[1:] {
			part = strings.TrimSpace(part)
			if isTag(part) {
				if i > 0 && numbers == 0 {
					return nil, fmt.Errorf("no numbers in %.60q", element)
				}
				source, numbers = uuid+":"+part, 0
				continue
			}
			iv, err := parseInterval(part)
			if err != nil {
				return nil, err
			}
			if entries++; entries > maxEntries {
				return nil, fmt.Errorf("more than %d intervals in a position", maxEntries)
			}
			set[source] = append(set[source], iv)
			numbers++
		}
		if numbers == 0 {
			return nil, fmt.Errorf("no numbers in %.60q", element)
		}
	}
	for source, list := range set {
		set[source] = normal(list)
	}
	if len(set) == 0 {
		return nil, errors.New("an empty list of GTIDs")
	}
	return set, nil
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') {
			return false
		} else if !dash && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

func isTag(s string) bool {
	if s == "" || len(s) > 32 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9')
	})
}

func parseInterval(s string) (interval, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 63)
	b, err2 := strconv.ParseUint(last, 10, 63)
	if cmp.Or(err1, err2) != nil || a == 0 || a > b || b > maxGNO {
		return interval{}, fmt.Errorf("%.40q is not a range of transaction numbers", s)
	}
	return interval{a, b}, nil
}

// normal sorts and joins intervals.
func normal(list []interval) []interval {
	slices.SortFunc(list, func(a, b interval) int { return cmp.Compare(a.first, b.first) })
	out := list[:0]
	for _, iv := range list {
		if n := len(out); n > 0 && iv.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, iv.last)
			continue
		}
		out = append(out, iv)
	}
	return out
}

func (g gtidSet) String() string {
	parts := make([]string, 0, len(g))
	for _, source := range slices.Sorted(maps.Keys(g)) {
		var b strings.Builder
		b.WriteString(source)
		for _, iv := range g[source] {
			if iv.first == iv.last {
				fmt.Fprintf(&b, ":%d", iv.first)
			} else {
				fmt.Fprintf(&b, ":%d-%d", iv.first, iv.last)
			}
		}
		parts = append(parts, b.String())
	}
	return strings.Join(parts, ",")
}

func (g gtidSet) union(q gtidSet) gtidSet {
	if len(g)+len(q) == 0 {
		return nil
	}
	out := make(gtidSet, len(g)+len(q))
	for source, list := range g {
		out[source] = slices.Clone(list)
	}
	for source, list := range q {
		out[source] = normal(append(out[source], list...))
	}
	return out
}

func (g gtidSet) has(q gtidSet) bool { return len(q.without(g)) == 0 }

// without is what g has and q has not.
func (g gtidSet) without(q gtidSet) gtidSet {
	out := gtidSet{}
	for source, list := range g {
		if left := subtract(list, q[source]); len(left) > 0 {
			out[source] = left
		}
	}
	return out
}

// subtract takes the intervals of b out of those of a; both are normal.
func subtract(a, b []interval) []interval {
	var out []interval
	for _, iv := range a {
		first := iv.first
		for _, cut := range b {
			if cut.last < first {
				continue
			}
			if cut.first > iv.last {
				break
			}
			if cut.first > first {
				out = append(out, interval{first, cut.first - 1})
			}
			first = cut.last + 1
		}
		if first <= iv.last {
			out = append(out, interval{first, iv.last})
		}
	}
	return out
}

// count is the number of transactions, math.MaxUint64 if there are more.
func (g gtidSet) count() uint64 {
	var n uint64
	for _, list := range g {
		for _, iv := range list {
			size := iv.last - iv.first + 1
			if n > math.MaxUint64-size {
				return math.MaxUint64
			}
			n += size
		}
	}
	return n
}
