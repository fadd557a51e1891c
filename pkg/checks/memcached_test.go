package checks

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const memcachedStatsText = "STAT pid 1\r\nSTAT version 1.6.18\r\nSTAT limit_maxbytes 67108864\r\n" +
	"STAT bytes 3355443\r\nSTAT evictions 12\r\n" +
	"STAT get_hits 90\r\nSTAT get_misses 10\r\nSTAT uptime 100\r\nEND\r\n"

// fakeMemcached answers each command by its first word.
func fakeMemcached(answers map[string]func(words []string, data string) string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			words, data := strings.Fields(line), ""
			if len(words) > 0 && words[0] == "set" {
				data, _ = r.ReadString('\n')
			}
			if answer := answers[words[0]]; answer != nil {
				fmt.Fprint(c, answer(words, strings.TrimSpace(data)))
			}
		}
	}
}

func TestMemcachedFake(t *testing.T) {
	type answer = func([]string, string) string
	always := func(s string) answer { return func([]string, string) string { return s } }
	type answers map[string]answer
	for name, tt := range map[string]struct {
		change  answers
		timeout time.Duration
		ok      bool
		want    string // %s is the address
	}{
		"works":           {nil, patience, true, "memcached 1.6.18, 3.2 of 64 MiB used, 90% hits, 0.1 evictions/s"},
		"cannot store":    {answers{"set": always("SERVER_ERROR out of memory storing object\r\n")}, patience, false, "%s: set: memcache: unexpected response line from \"set\": \"SERVER_ERROR out of memory*"},
		"does not keep":   {answers{"incr": always("NOT_FOUND\r\n")}, patience, false, "%s: an item just stored is gone"},
		"keeps another":   {answers{"incr": always("1\r\n")}, patience, false, "%s: an item just stored has another value: 1, want *"},
		"delete fails":    {answers{"delete": always("ERROR\r\n")}, patience, false, "%s: delete: *"},
		"hangs half-way":  {answers{"incr": always("")}, short, false, "no answer within 200ms"},
		"endless numbers": {answers{"incr": always(strings.Repeat("9", 1<<20) + "\r\n")}, patience, false, "%s: incr: *"},
		"wants a login":   {answers{"stats": always("CLIENT_ERROR unauthenticated\r\n")}, patience, false, "%s: not the answer of a memcached: \"CLIENT_ERROR unauthenticated\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var number uint64
			all := answers{
				"stats": always(memcachedStatsText),
				"set": func(words []string, data string) string {
					fmt.Sscan(data, &number)
					if !strings.HasPrefix(words[1], "hbagent:check:") || words[3] == "0" {
						return "CLIENT_ERROR key or expiry\r\n"
					}
					return "STORED\r\n"
				},
				"incr":   func([]string, string) string { return fmt.Sprintf("%d\r\n", number+1) },
				"delete": always("DELETED\r\n"),
			}
			for k, v := range tt.change {
				all[k] = v
			}
			address := serve(t, fakeMemcached(all))
			got := probe(t, mustNew(t, Spec{Type: "memcached", Address: address}), tt.timeout)
			check(t, got, tt.ok, strings.ReplaceAll(tt.want, "%s", address))
		})
	}
}

func TestMemcachedBadServers(t *testing.T) {
	for name, tt := range map[string]struct {
		address string
		timeout time.Duration
		want    string
	}{
		"refused":          {refused(t), patience, "connection refused at %s"},
		"no such socket":   {"/nonexistent/memcached.sock", patience, "no socket at %s"},
		"hung":             {serve(t, hang), short, "no answer within 200ms"},
		"hangs up":         {serve(t, says("")), patience, "%s closed the connection before its answer was complete"},
		"another protocol": {serve(t, says("HTTP/1.1 400 Bad Request\r\n\r\n")), patience, `%s: not the answer of a memcached: "HTTP/1.1 400 Bad Request"`},
		"endless line":     {serve(t, endless("STAT x ")), patience, "%s: not the answer of a memcached: a line without end"},
		"endless stats":    {serve(t, endless("STAT x y\r\n")), patience, "%s*"},
		"binary":           {serve(t, endless("\x81\x00\n")), patience, `%s: not the answer of a memcached: "\x81\x00"`},
		"slow":             {serve(t, drip("STAT x y\r\n")), short, "no answer within 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := probe(t, mustNew(t, Spec{Type: "memcached", Address: tt.address}), tt.timeout)
			check(t, got, false, strings.ReplaceAll(tt.want, "%s", tt.address))
		})
	}
}

func TestMemcachedRates(t *testing.T) {
	c, now := &memcachedCheck{}, time.Unix(1000, 0)
	for _, tt := range []struct {
		after  time.Duration
		st     memcachedStats
		hits   string
		evicts string
	}{
		{0, memcachedStats{hits: 99, misses: 1, evictions: 500, uptime: 1000}, "99% hits", "0.5 evictions/s"}, // since its start
		{time.Second, memcachedStats{hits: 99, misses: 1, evictions: 500, uptime: 1001}, "no gets", "no evictions"},
		{2 * time.Second, memcachedStats{hits: 100, misses: 4, evictions: 540, uptime: 1003}, "25% hits", "20 evictions/s"},
		{time.Minute, memcachedStats{hits: 100, misses: 5, evictions: 541, uptime: 1063}, "0% hits", "<0.1 evictions/s"},
		{time.Second, memcachedStats{hits: 3, misses: 1, uptime: 4}, "75% hits", "no evictions"}, // started again
		{0, memcachedStats{hits: 4, misses: 1, evictions: 1, uptime: 4}, "100% hits", "1000 evictions/s"},
		{time.Hour, memcachedStats{hits: 7, misses: 2, evictions: 1, uptime: 3}, "78% hits", "0.3 evictions/s"}, // again, and busier
	} {
		now = now.Add(tt.after)
		tt.st.version, tt.st.limit = "1.6.18", 64<<20
		check(t, c.tell(tt.st, now), true, "memcached 1.6.18, 0.0 of 64 MiB used, "+tt.hits+", "+tt.evicts)
	}
}

func TestParseStats(t *testing.T) {
	got, err := parseStats(strings.NewReader(memcachedStatsText))
	want := memcachedStats{version: "1.6.18", bytes: 3355443, limit: 67108864, evictions: 12, hits: 90, misses: 10, uptime: 100}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(memcachedStats{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, text := range map[string]string{
		"empty":        "",
		"no end":       strings.TrimSuffix(memcachedStatsText, "END\r\n"),
		"only the end": "END\r\n",
		"negative":     "STAT bytes -1\r\nEND\r\n",
		"no value":     "STAT bytes\r\nEND\r\n",
	} {
		if st, err := parseStats(strings.NewReader(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, st)
		}
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add([]byte(memcachedStatsText))
	f.Add([]byte("STAT version \x1b[31m\r\nEND\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseStats(bytes.NewReader(b))
		if err != nil && st != (memcachedStats{}) {
			t.Errorf("an error and %+v", st)
		}
		check(t, (&memcachedCheck{}).tell(st, time.Unix(0, 0)), true, "*")
	})
}
