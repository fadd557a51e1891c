package lab

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

func TestRemedyNamesTheSwitch(t *testing.T) {
	tests := []struct {
		name  string
		facts hostFacts
		want  string
	}{
		{"Debian switch", hostFacts{usernsClone: "0", maxUserns: "0"}, "kernel.unprivileged_userns_clone=1"},
		{"Ubuntu 24.04", hostFacts{usernsClone: "1", apparmor: "1"}, "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"no namespaces", hostFacts{maxUserns: "0"}, "user.max_user_namespaces=1000"},
		{"root in a container", hostFacts{root: true, container: "podman"}, "(podman)"},
		{"root without power", hostFacts{root: true}, "--privileged"},
		{"none of these", hostFacts{usernsClone: "1", apparmor: "0", maxUserns: "1000"}, "as root (sudo)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := remedy(tt.facts); !strings.Contains(got, tt.want) {
				t.Errorf("remedy = %q, want it to name %q", got, tt.want)
			}
		})
	}
}

func TestRuleset(t *testing.T) {
	port := func(node string) string { return "p-" + node }
	const flush = "table bridge lab\ndelete table bridge lab\n"
	tests := []struct {
		name   string
		faults []fault
		want   string
	}{
		{"none", nil, flush},
		{"all kinds", []fault{{from: "a", percent: 100}, {to: "a", percent: 30}, {from: "a", to: "b", percent: 100}, {from: "a", percent: 100, own: "10.0.0.1"}}, flush + `table bridge lab {
	chain forward {
		type filter hook forward priority 0
		iifname "p-a" drop
		oifname "p-a" numgen random mod 100 < 30 drop
		iifname "p-a" oifname "p-b" drop
		iifname "p-a" ip saddr != { 10.0.0.1 } drop
	}
}
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, ruleset(tt.faults, port)); diff != "" {
				t.Errorf("ruleset (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLongestGap(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	tests := []struct {
		name     string
		good     []int
		from, to int
		want     [2]int
	}{
		{"nobody ever", nil, 100, 200, [2]int{100, 200}},
		{"steady", []int{95, 100, 105, 110}, 101, 109, [2]int{100, 105}},
		{"outage inside", []int{95, 100, 105, 605, 610}, 100, 610, [2]int{105, 605}},
		{"began before the window", []int{10, 300, 305}, 100, 305, [2]int{10, 300}},
		{"ends after the window", []int{100, 105, 900}, 100, 200, [2]int{105, 900}},
		{"not over yet", []int{100, 105}, 100, 200, [2]int{105, 200}},
		{"only before the window", []int{10, 20}, 100, 200, [2]int{20, 200}},
		{"longer ones outside do not count", []int{0, 90, 95, 100, 105, 110, 990}, 100, 108, [2]int{95, 100}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var good []time.Time
			for _, g := range tt.good {
				good = append(good, at(g))
			}
			got := longestGap(good, at(tt.from), at(tt.to))
			if want := (Gap{at(tt.want[0]), at(tt.want[1])}); got != want {
				t.Errorf("longestGap = %v, want %v", got, want)
			}
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h history[Ownership]
	for i := range keepRecords + 1 {
		h.add(Ownership{At: time.UnixMilli(int64(i))})
	}
	all := h.all()
	if len(all) != keepRecords/2+1 || !all[len(all)-1].At.Equal(time.UnixMilli(keepRecords)) {
		t.Errorf("%d records, the last at %v; want half and the newest", len(all), all[len(all)-1].At)
	}
}

func TestARPQuestionsAreToldApart(t *testing.T) {
	card := net.HardwareAddr{2, 0x77, 0, 0, 0, 100}
	owner := net.HardwareAddr{2, 0x77, 0, 0, 0, 11}
	target, client := netip.MustParseAddr("10.77.0.50"), netip.MustParseAddr("10.77.0.100")
	frame, err := question(0xfedcba98, card, target, client)
	if err != nil {
		t.Fatal(err)
	}
	var f ethernet.Frame
	var asked arp.Packet
	if err := errors.Join(f.UnmarshalBinary(frame), asked.UnmarshalBinary(f.Payload)); err != nil {
		t.Fatal(err)
	}
	if f.Source.String() != card.String() || asked.SenderIP == client || asked.TargetIP != target {
		t.Errorf("frame from %v asks %v for %v; want the client's card, and an address that nobody has", f.Source, asked.SenderIP, asked.TargetIP)
	}
	// RFC 826: swap hardware and protocol fields, put own values into the sender's.
	reply := func(op arp.Operation, ip netip.Addr, to net.HardwareAddr) []byte {
		p, err := arp.NewPacket(op, owner, ip, to, asked.SenderIP)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		b, err := (&ethernet.Frame{Destination: to, Source: owner, EtherType: ethernet.EtherTypeARP, Payload: payload}).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	number, from, ok := answer(reply(arp.OperationReply, target, asked.SenderHardwareAddr), target)
	if !ok || number != 0xfedcba98 || from.String() != owner.String() {
		t.Errorf("answer = %#x, %v, %v", number, from, ok)
	}
	for name, frame := range map[string][]byte{
		"a request":             reply(arp.OperationRequest, target, asked.SenderHardwareAddr),
		"about another address": reply(arp.OperationReply, client, asked.SenderHardwareAddr),
		"to somebody else":      reply(arp.OperationReply, target, card),
		"cut short":             reply(arp.OperationReply, target, asked.SenderHardwareAddr)[:20],
		"nothing":               nil,
	} {
		if _, _, ok := answer(frame, target); ok {
			t.Errorf("%s counts as an answer", name)
		}
	}
}

func TestMapsUser(t *testing.T) {
	tests := []struct {
		uidMap string
		want   bool
	}{
		{"         0          0 4294967295\n", true},
		{"         0       1000          1\n", false},
		{"         0       1000          1\n         1     100000      65536\n", true},
		{"", false},
	}
	for _, tt := range tests {
		if got := mapsUser(tt.uidMap, nobody); got != tt.want {
			t.Errorf("mapsUser(%q) = %v, want %v", tt.uidMap, got, tt.want)
		}
	}
}

func TestProcessState(t *testing.T) {
	for stat, want := range map[string]byte{
		"12 (sh) T 1 12":         'T',
		"12 (a) Z (b)) S 1 12":   'S',
		"":                       '?',
		"12 (cut":                '?',
		"12 (cut)":               '?',
		"12 (name with ) ) R 1 ": 'R',
	} {
		if got := processState([]byte(stat)); got != want {
			t.Errorf("processState(%q) = %c, want %c", stat, got, want)
		}
	}
}

// rw makes one stream of what a client says and what it hears.
type rw struct {
	io.Reader
	bytes.Buffer
}

func (c *rw) Read(b []byte) (int, error) { return c.Reader.Read(b) }

func TestMemStore(t *testing.T) {
	tests := []struct{ name, says, hears string }{
		{"version", "version\r\n", "VERSION 1.6.0-lab\r\n"},
		{"set and get", "set k 5 0 3\r\na\r\n\r\nget k x\r\n", "STORED\r\nVALUE k 5 3\r\na\r\n\r\nEND\r\n"},
		{"delete", "delete k\r\nset k 0 0 0\r\n\r\ndelete k\r\nget k\r\n", "NOT_FOUND\r\nSTORED\r\nDELETED\r\nEND\r\n"},
		{"block too long", "set k 0 0 1\r\nabc", "CLIENT_ERROR bad data chunk\r\n"},
		{"size too large", "set k 0 0 9999999\r\nversion\r\n", ""},
		{"size below nothing", "set k 0 0 -1\r\nversion\r\n", ""},
		{"nonsense", "\r\nflush\r\nget\r\nquit\r\nversion\r\n", "ERROR\r\nERROR\r\nERROR\r\n"},
		{"endless line", strings.Repeat("x", maxLine+1) + "\r\nversion\r\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &rw{Reader: strings.NewReader(tt.says)}
			s := &memStore{items: make(map[string]memItem), started: time.Now()}
			_ = s.serve(c) // ends with an error where the client is wrong: what it hears counts
			if diff := cmp.Diff(tt.hears, c.String()); diff != "" {
				t.Errorf("client hears (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTimelineFitsTheTerminal(t *testing.T) {
	var b bytes.Buffer
	p := printer{out: &b}
	p.site(&DemoReport{Address: "10.77.0.50", Machines: []DemoMachine{
		{"web1", "10.77.0.11", true, []DemoService{{"Apache 2.4.62", true}, {"built-in memcached", false}}},
		{"db1", "10.77.0.13", false, nil},
	}})
	p.did(3500*time.Millisecond, "the web server on web1 is killed")
	p.result(3950*time.Millisecond, "web2 takes over", DemoStep{Owner: "web2", GapMs: 431, PromiseMs: 600, Kept: true})
	p.did(5*time.Second, "hbagent switchover web --to web2")
	p.result(5200*time.Millisecond, "web2 has it, as planned", DemoStep{Owner: "web2", GapMs: 9, Kept: true})
	p.result(15200*time.Millisecond, "web2 has it, as planned", DemoStep{Owner: "web2", GapMs: 9, Lost: 3})
	p.summary(&DemoReport{Address: "10.77.0.50", Client: DemoClient{Asked: 2700, Lost: 260}, ARP: DemoARP{Asked: 2800}})
	const want = `Three machines in throw-away namespaces. Nothing of this computer is touched.

  web1   10.77.0.11   Apache 2.4.62, built-in memcached
  db1    10.77.0.13   and a vote
  client              asks http://10.77.0.50/ every 5 ms, each time anew

  Built-in: not installed here, hbagent brings a stand-in.

     s                                              owner  no answer    promise
   3.5  the web server on web1 is killed
   4.0    web2 takes over                           web2      0.43 s     0.60 s
   5.0  hbagent switchover web --to web2
   5.2    web2 has it, as planned                   web2   none lost  none lost
  15.2    web2 has it, as planned                   web2      3 lost  none lost
          (more than promised: is this machine busy?)

2800 questions "who has 10.77.0.50?": two machines answered never.
2700 requests of the client: 260 without an answer, in the gaps above.
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	for line := range strings.Lines(b.String()) {
		if len(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
}

func TestProcessUsage(t *testing.T) {
	const stat = "7 (a (b) c) S 1 7 7 0 -1 0 0 0 0 0 10 20 3 4 20 0 1 0 100 4096 5 0 0"
	cpu, rss, err := processUsage(stat)
	if err != nil || cpu != 370*time.Millisecond || rss/5 < 4096 {
		t.Errorf("%v, %d bytes, %v; want 370ms and 5 pages", cpu, rss, err)
	}
	if _, _, err := processUsage("7 (x) S 1"); err == nil {
		t.Error("a short stat is taken")
	}
}
