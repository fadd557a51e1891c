package mysql

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hbagent/hbagent/internal/role"
)

func parsed(t testing.TB, s string) Position {
	t.Helper()
	p, err := ParsePosition(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "4350f323-7565-4e59-8763-4b1b83a0ce0e"
)

func TestPositions(t *testing.T) {
	for name, tt := range map[string]struct {
		have, want string
		lacks      uint64
		detail     string
	}{
		"nothing of nothing":     {"", "", 0, ""},
		"nothing of something":   {"0-1-5", "", 0, ""},
		"all":                    {"0-1-5", "0-1-5", 0, ""},
		"more":                   {"0-1-7", "0-1-5", 0, ""},
		"less":                   {"0-1-5", "0-1-7", 2, "0-1-6 to 0-1-7"},
		"one less":               {"0-1-5", "0-1-6", 1, "0-1-6"},
		"everything":             {"", "0-1-7", 7, "0-1-1 to 0-1-7"},
		"the next master's":      {"0-1-100", "0-1-100,0-2-110", 10, "0-2-101 to 0-2-110"},
		"the tail of the old":    {"0-1-100,0-2-110", "0-1-105", 5, "0-1-101 to 0-1-105"},
		"the same number twice":  {"0-1-100,0-2-105", "0-1-105", 5, "0-1-101 to 0-1-105"},
		"a long tail":            {"0-1-100,0-2-101", "0-1-5000", 4900, "0-1-101 to 0-1-5000"},
		"back and forth":         {"0-1-100,0-2-110,0-1-120", "0-2-110,0-1-100", 0, ""},
		"another domain":         {"0-1-5", "0-1-5,1-1-3", 3, "1-1-1 to 1-1-3"},
		"made from a backup":     {"0-1-500", "0-1-500,0-2-300", 0, ""},
		"a backup, behind":       {"0-1-500", "0-1-510,0-2-300", 10, "0-1-501 to 0-1-510"},
		"a backup, another line": {"0-1-500", "0-2-300", 300, "0-2-1 to 0-2-300"},
		"a tail below a head":    {"0-1-100,0-2-110", "0-1-105,0-2-110", 5, "0-1-101 to 0-1-105"},
		"MySQL all":              {uuidA + ":1-5", uuidA + ":1-5", 0, ""},
		"MySQL less":             {uuidA + ":1-5", uuidA + ":1-7", 2, uuidA + ":6-7"},
		"MySQL a hole":           {uuidA + ":1-3:5", uuidA + ":1-7", 3, uuidA + ":4:6-7"},
		"MySQL another source":   {uuidA + ":1-5", uuidA + ":1-5," + uuidB + ":3", 1, uuidB + ":3"},
		"MySQL a tag":            {uuidA + ":1-5", uuidA + ":1-5:backup:1-2", 2, uuidA + ":backup:1-2"},
		"MySQL as printed":       {uuidA + ":1-5,\n" + uuidB + ":1", strings.ToUpper(uuidB) + ":1,\n" + uuidA + ":1-6", 1, uuidA + ":6"},
		"the other kind":         {"0-1-5", uuidA + ":1-5", 5, uuidA + ":1-5"},
		"more than fits":         {"", uuidA + ":1-9223372036854775806," + uuidB + ":1-9223372036854775806," + strings.Replace(uuidB, "4", "5", 1) + ":1-9223372036854775806", math.MaxUint64, "*"},
	} {
		t.Run(name, func(t *testing.T) {
			have, want := parsed(t, tt.have), parsed(t, tt.want)
			got := have.Lacks(want)
			if got.Transactions != tt.lacks || got.Detail != tt.detail && tt.detail != "*" {
				t.Errorf("%+v, want %d, %q", got, tt.lacks, tt.detail)
			}
			if has := have.Has(want); has != (tt.lacks == 0) {
				t.Errorf("Has %v, and %d are missing", has, tt.lacks)
			}
		})
	}
}

func TestBadPositions(t *testing.T) {
	many := make([]string, maxEntries+1)
	for i := range many {
		many[i] = fmt.Sprintf("%d-1-1", i)
	}
	for _, s := range []string{
		"0-1", "0-1-", "0-1-5-6", "a-b-c", "0-1--5", "4294967296-1-1", "0-1-18446744073709551616", "0-1-5,,", "0-1-5;",
		uuidA, uuidA + ":", uuidA + ":0", uuidA + ":5-4", uuidA + ":x", uuidA + ":1-9223372036854775807", uuidA[1:] + ":1", uuidA + ":tag", uuidA + ":tag:tag:1", "zz11fa47-71ca-11e1-9e33-c80aa9429562:1",
		uuidA + ":1-2-3", uuidA + ":-1", "0-1-5," + uuidA + ":1",
		strings.Join(many, ",")[:role.MaxPosition+1],
		strings.Repeat(",", 10),
	} {
		if p, err := ParsePosition(s); err == nil {
			t.Errorf("%.60q is taken for %q", s, p)
		}
	}
}

func TestHeads(t *testing.T) {
	for s, want := range map[string]string{
		"":                          "",
		"0-1-100,0-2-110":           "0-2-110",
		"0-2-90,0-1-100,5-7-3":      "0-1-100,5-7-3",
		"1-1-1,0-3-2,0-2-2,0-1-1":   "0-3-2,1-1-1",
		"0-1-0,0-2-5":               "0-2-5",
		"10-1-1,9-1-1,9-1-3,10-2-7": "9-1-3,10-2-7",
	} {
		if got := parsed(t, s).maria.heads(); got != want {
			t.Errorf("heads of %q: %q, want %q", s, got, want)
		}
	}
}

// A transaction of the model: its domain, who wrote it, and its number there.
type txn struct {
	domain, server uint32
	seq            uint64
}

// TestMariaSetIsASet runs a site of MariaDB servers through writes, replication,
// crashes that lose a tail, and rebuilding. What each has is compared with what its
// position says.
func TestMariaSetIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const servers = 4
		var history [servers][]txn // in the order of each server
		ids := [servers]uint32{1, 2, 3, 4}
		next := uint32(5)
		master := 0
		last := func(h []txn, domain uint32) (seq uint64) {
			for _, x := range h {
				if x.domain == domain {
					seq = max(seq, x.seq)
				}
			}
			return seq
		}
		isPrefix := func(a, b []txn) bool { return len(a) <= len(b) && slices.Equal(a, b[:len(a)]) }
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, servers-1).Draw(t, "server")
			switch rapid.SampledFrom([]string{"write", "write", "replicate", "replicate", "promote", "rebuild"}).Draw(t, "step") {
			case "write":
				d := rapid.Uint32Range(0, 1).Draw(t, "domain")
				history[master] = append(history[master], txn{d, ids[master], last(history[master], d) + 1})
			case "replicate":
				if h := history[i]; isPrefix(h, history[master]) {
					n := rapid.IntRange(0, len(history[master])-len(h)).Draw(t, "transactions")
					history[i] = slices.Clone(history[master][:len(h)+n])
				}
			case "promote": // with what it has: the old master's tail is not in it
				master = i
			case "rebuild": // of a copy, with another number: see mariaSet
				if i != master {
					history[i], ids[i] = slices.Clone(history[master]), next
					next++
				}
			}
		}
		position := func(h []txn) Position {
			m := mariaSet{}
			for _, x := range h {
				k := stream{x.domain, x.server}
				m[k] = max(m[k], x.seq)
			}
			return parsedQuietly(t, Position{maria: m}.String())
		}
		for a := range servers {
			for b := range servers {
				var lacking uint64
				for _, x := range history[b] {
					if !slices.Contains(history[a], x) {
						lacking++
					}
				}
				p, q := position(history[a]), position(history[b])
				if got := p.Lacks(q).Transactions; got != lacking {
					t.Fatalf("%q lacks %d of %q, truly %d", p, got, q, lacking)
				}
				if got := p.Has(q); got != (lacking == 0) {
					t.Fatalf("%q has %q: %v, and truly %d are missing", p, q, got, lacking)
				}
				if u := p.With(q); !u.Has(p) || !u.Has(q) {
					t.Fatalf("%q with %q is %q", p, q, u)
				}
			}
		}
	})
}

func parsedQuietly(t *rapid.T, s string) Position {
	p, err := ParsePosition(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

// TestGTIDSetIsASet compares gtidSet with a set that is written down one by one.
func TestGTIDSetIsASet(t *testing.T) {
	sources := []string{uuidA, uuidB, uuidB + ":nightly"}
	type id struct {
		source string
		n      uint64
	}
	draw := func(t *rapid.T, label string) (Position, map[id]bool) {
		var parts []string
		model := map[id]bool{}
		for range rapid.IntRange(0, 8).Draw(t, label) {
			source := rapid.SampledFrom(sources).Draw(t, "source")
			first := rapid.Uint64Range(1, 30).Draw(t, "first")
			last := first + rapid.Uint64Range(0, 6).Draw(t, "more")
			parts = append(parts, fmt.Sprintf("%s:%d-%d", source, first, last))
			for n := first; n <= last; n++ {
				model[id{source, n}] = true
			}
		}
		return parsedQuietly(t, strings.Join(parts, ", ")), model
	}
	minus := func(a, b map[id]bool) (n uint64) {
		for x := range a {
			if !b[x] {
				n++
			}
		}
		return n
	}
	rapid.Check(t, func(t *rapid.T) {
		p, a := draw(t, "p")
		q, b := draw(t, "q")
		if got, want := p.Lacks(q).Transactions, minus(b, a); got != want {
			t.Fatalf("%q lacks %d of %q, truly %d", p, got, q, want)
		}
		if p.Has(q) != (minus(b, a) == 0) {
			t.Fatalf("%q has %q: %v", p, q, p.Has(q))
		}
		u := p.With(q)
		if got := (Position{}).Lacks(u).Transactions; got != uint64(len(a))+minus(b, a) {
			t.Fatalf("%q with %q is %q, of %d", p, q, u, got)
		}
		if again := parsedQuietly(t, u.String()); again.String() != u.String() {
			t.Fatalf("%q is read as %q", u, again)
		}
		if p.Lacks(u).Transactions != minus(b, a) {
			t.Fatal("a union has changed what it is made of")
		}
	})
}

// FuzzPosition: what others send neither panics nor grows, and is read back the same.
func FuzzPosition(f *testing.F) {
	for _, s := range []string{"", "0-1-100,0-2-110", "0-0-0", uuidA + ":1-5:7", uuidA + ":1:tag:2-3," + uuidB + ":4", ",", ":", "--", "0-1-5," + uuidA + ":1"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p, err := ParsePosition(a)
		if err != nil {
			if len(err.Error()) > 300 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := ParsePosition(p.String())
		// Ranges of one source may need more room than they were written with.
		if err == nil && again.String() != p.String() {
			t.Fatalf("%q is read as %q, and that as %q", a, p, again)
		}
		if !p.Has(p) || p.Lacks(p).Transactions != 0 {
			t.Fatalf("%q has not itself", p)
		}
		q, err := ParsePosition(b)
		if err != nil {
			return
		}
		lacks := p.Lacks(q)
		if p.Has(q) != (lacks.Transactions == 0) || (lacks.Detail == "") != (lacks.Transactions == 0) {
			t.Fatalf("%q has %q: %v, and lacks %+v", p, q, p.Has(q), lacks)
		}
		if len(lacks.Detail) > maxDetail {
			t.Fatalf("%d bytes of detail", len(lacks.Detail))
		}
		if u := p.With(q); !u.Has(p) || !u.Has(q) {
			t.Fatalf("%q with %q is %q", p, q, u)
		}
	})
}
