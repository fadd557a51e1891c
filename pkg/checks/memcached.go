package checks

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// Given by memcached (doc/protocol.txt, "General-purpose statistics").
const (
	statHits      = "get_hits"
	statMisses    = "get_misses"
	statUptime    = "uptime"
	statEvictions = "evictions"
	statBytes     = "bytes"
	statLimit     = "limit_maxbytes"
	statVersion   = "version"
)

// Chosen by us.
const (
	// maxMemcachedAnswer bounds what a probe reads, in bytes; `stats` of 1.6
	// takes about 3 KiB.
	maxMemcachedAnswer = 64 << 10
	// memcachedKey is followed by a random number, so that two nodes probing one
	// server do not step on each other's item.
	memcachedKey = "hbagent:check:"
	// memcachedExpiry removes the item, in seconds, if a probe dies half-way.
	memcachedExpiry = 10
)

// memcachedCheck asks for the statistics, and stores, changes and deletes an
// item: a server that is up but cannot store (out of memory with -M) fails.
//
// The value is read back with incr and not with get. gomemcache's get allocates
// as much as the answer claims to hold, up to 4 GiB, before it has read a byte;
// incr proves the same and takes one short line.
type memcachedCheck struct {
	network, address string

	last   memcachedStats // of the probe before; zero: there was none
	lastAt time.Time
}

func newMemcached(s Spec) (Checker, error) {
	n, err := network(s.Address)
	if err != nil {
		return nil, err
	}
	return &memcachedCheck{network: n, address: s.Address}, nil
}

func (c *memcachedCheck) Check(ctx context.Context) Result {
	conn, err := dial(ctx, c.network, c.address, maxMemcachedAnswer)
	if err != nil {
		return netFailure(ctx, c.address, err)
	}
	defer conn.Close()
	stats, err := askStats(conn)
	if err != nil {
		return netFailure(ctx, c.address, err)
	}
	if err := roundTrip(conn); err != nil {
		return netFailure(ctx, c.address, err)
	}
	return c.tell(stats, time.Now())
}

// tell shows what went on since the last probe; the first time, or when the server
// was started again, since its start.
func (c *memcachedCheck) tell(st memcachedStats, now time.Time) Result {
	before, over := c.last, now.Sub(c.lastAt)
	c.last, c.lastAt = st, now
	if before.version == "" || st.uptime < before.uptime || st.hits < before.hits || st.misses < before.misses || st.evictions < before.evictions {
		before, over = memcachedStats{}, time.Duration(min(st.uptime, maxUptime))*time.Second
	}
	return pass("%v, %s, %s", st, hitRate(st.hits-before.hits, st.misses-before.misses), evictionRate(st.evictions-before.evictions, over))
}

// maxUptime keeps a made-up number from overflowing a duration, in seconds.
const maxUptime = 1 << 32

func hitRate(hits, misses uint64) string {
	if hits == 0 && misses == 0 {
		return "no gets"
	}
	return fmt.Sprintf("%.0f%% hits", 100*float64(hits)/(float64(hits)+float64(misses)))
}

// evictionRate has one digit for what is seldom: a rate that is not zero must not
// look like none.
func evictionRate(n uint64, over time.Duration) string {
	if n == 0 {
		return "no evictions"
	}
	rate := float64(n) / max(over.Seconds(), 1e-3)
	switch {
	case rate >= 10:
		return fmt.Sprintf("%.0f evictions/s", rate)
	case rate >= 0.1:
		return fmt.Sprintf("%.1f evictions/s", rate)
	}
	return "<0.1 evictions/s"
}

// roundTrip works on the connection that the statistics came by.
func roundTrip(conn net.Conn) error {
	client := memcache.NewFromSelector(oneServer{conn.RemoteAddr()})
	defer client.Close()
	unused := conn
	client.DialContext = func(context.Context, string, string) (net.Conn, error) {
		if unused == nil {
			return nil, io.ErrUnexpectedEOF // it gave up the one it had
		}
		c := unused
		unused = nil
		return c, nil
	}
	var random [12]byte
	rand.Read(random[:])
	key := fmt.Sprintf("%s%x", memcachedKey, random[:8])
	number := uint64(binary.BigEndian.Uint32(random[8:]))
	item := &memcache.Item{Key: key, Value: strconv.AppendUint(nil, number, 10), Expiration: memcachedExpiry}
	if err := client.Set(item); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	got, err := client.Increment(key, 1)
	switch {
	case errors.Is(err, memcache.ErrCacheMiss):
		return errors.New("an item just stored is gone")
	case err != nil:
		return fmt.Errorf("incr: %w", err)
	case got != number+1:
		return fmt.Errorf("an item just stored has another value: %d, want %d", got, number+1)
	}
	if err := client.Delete(key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// oneServer is a memcache.ServerSelector without name resolution.
type oneServer struct{ addr net.Addr }

func (s oneServer) PickServer(string) (net.Addr, error) { return s.addr, nil }
func (s oneServer) Each(f func(net.Addr) error) error   { return f(s.addr) }

// memcachedStats are the statistics that go into the message.
type memcachedStats struct {
	version                 string
	bytes, limit, evictions uint64
	hits, misses            uint64 // of get, since the start
	uptime                  uint64 // seconds
}

func (s memcachedStats) String() string {
	const mib = 1 << 20
	return fmt.Sprintf("memcached %s, %.1f of %.0f MiB used", s.version, float64(s.bytes)/mib, float64(s.limit)/mib)
}

// askStats does what gomemcache cannot.
func askStats(conn net.Conn) (memcachedStats, error) {
	if _, err := io.WriteString(conn, "stats\r\n"); err != nil {
		return memcachedStats{}, err
	}
	return parseStats(conn)
}

// parseStats reads "STAT <name> <value>" lines up to "END". It may read beyond
// that, which is harmless in a protocol where the server never speaks unasked.
func parseStats(r io.Reader) (memcachedStats, error) {
	var st memcachedStats
	numbers := map[string]*uint64{
		statEvictions: &st.evictions, statBytes: &st.bytes, statLimit: &st.limit,
		statHits: &st.hits, statMisses: &st.misses, statUptime: &st.uptime,
	}
	lines := bufio.NewReader(io.LimitReader(r, maxMemcachedAnswer)) // 4 KiB a line
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return memcachedStats{}, errors.New("not the answer of a memcached: a line without end")
		}
		if err != nil {
			return memcachedStats{}, fmt.Errorf("stats: %w", err)
		}
		line = bytes.TrimSpace(line)
		if string(line) == "END" {
			break
		}
		rest, ok := bytes.CutPrefix(line, []byte("STAT "))
		if !ok {
			return memcachedStats{}, fmt.Errorf("not the answer of a memcached: %q", truncate(string(line), 80))
		}
		name, value, _ := strings.Cut(string(rest), " ")
		if name == statVersion {
			st.version = truncate(oneLine(value), 40)
		} else if n := numbers[name]; n != nil {
			if *n, err = strconv.ParseUint(value, 10, 64); err != nil {
				return memcachedStats{}, fmt.Errorf("stats: %s: %w", name, err)
			}
		}
	}
	if st.version == "" || st.limit == 0 {
		return memcachedStats{}, errors.New("stats: neither version nor limit_maxbytes in the answer")
	}
	return st, nil
}
