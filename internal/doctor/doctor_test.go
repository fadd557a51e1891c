package doctor

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestMay(t *testing.T) {
	root, agent, other := User{UID: 0}, User{UID: 995, GIDs: []int{990, 4}}, User{UID: 1000, GIDs: []int{1000}}
	tests := []struct {
		user     User
		want     fs.FileMode
		mode     fs.FileMode
		uid, gid int
		ok       bool
	}{
		{root, mayRead, 0, 5, 5, true},
		{root, mayExec, 0o644, 0, 0, false}, // not even root executes what nobody may
		{root, mayExec, 0o100, 5, 5, true},
		{agent, mayRead, 0o640, 0, 990, true},
		{agent, mayRead, 0o640, 0, 4, true}, // a supplementary group
		{agent, mayRead, 0o640, 0, 0, false},
		{agent, mayRead, 0o044, 995, 990, false}, // the owner's bits count for the owner
		{agent, mayRead, 0o604, 0, 990, false},   // and the group's for the group
		{other, mayRead, 0o604, 0, 990, true},
		{other, mayWrite | mayExec, 0o755, 0, 0, false},
	}
	for _, tt := range tests {
		if got := tt.user.may(tt.want, tt.mode, tt.uid, tt.gid); got != tt.ok {
			t.Errorf("user %d, %o of %04o (%d:%d): %v", tt.user.UID, tt.want, tt.mode, tt.uid, tt.gid, got)
		}
	}
}

func TestMentioned(t *testing.T) {
	floats := map[netip.Addr]string{addr("10.0.0.5"): "web", addr("fd00::50"): "web"}
	for text, want := range map[string]int{
		"--addr=10.0.0.5":           1,
		"10.0.0.5/24 10.0.0.5":      1,
		"10.0.0.50 110.0.0.5":       0,
		"10.0.0.5.":                 1,
		"  - 10.0.0.5: x":           1,
		"address fd00:0::50/64":     1,
		"fd00::5":                   0,
		"dead:beef cafe 1.2.3.4.5;": 0,
	} {
		if got := mentioned(text, floats); len(got) != want {
			t.Errorf("%q: %v, want %d", text, got, want)
		}
	}
}

func TestIsAgent(t *testing.T) {
	for line, want := range map[string]bool{
		"/usr/bin/hbagent agent":               true,
		"hbagent --run-dir /run/x agent -c y":  true,
		"hbagent agent -c /etc/hbagent/x.toml": true,
		"hbagent status --watch agent":         false,
		"hbagent doctor":                       false,
		"hbagent":                              false,
		"vim agent":                            false,
	} {
		if got := isAgent(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestDecoys(t *testing.T) {
	got := decoys(netip.MustParsePrefix("10.0.0.50/24"), []netip.Addr{addr("10.0.0.11")})
	if len(got) != 3 || slices.Contains(got, addr("10.0.0.50")) {
		t.Errorf("got %v", got)
	}
	for _, a := range got {
		if !netip.MustParsePrefix("10.0.0.0/24").Contains(a) {
			t.Errorf("%v is of another network", a)
		}
	}
	if got := decoys(netip.MustParsePrefix("10.0.0.50/24"), got[:1]); got != nil {
		t.Errorf("one of them is taken: %v", got)
	}
	for _, none := range []string{"10.0.0.50/29", "10.0.0.50/32", "fd00::50/64"} {
		if got := decoys(netip.MustParsePrefix(none), nil); got != nil {
			t.Errorf("%s: %v", none, got)
		}
	}
}

func TestVRRP(t *testing.T) {
	from4, from6 := addr("10.0.0.9"), addr("fe80::9")
	v2 := []byte{0x21, 51, 100, 1, 0, 1, 0, 0, 10, 0, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0}
	v3 := append([]byte{0x31, 52, 100, 1, 0, 100, 0, 0}, addr("fd00::50").AsSlice()...)
	if ad, ok := parseVRRP(v2, from4); !ok || ad.VRID != 51 || !slices.Equal(ad.Addresses, []netip.Addr{addr("10.0.0.50")}) {
		t.Errorf("version 2: %+v, %v", ad, ok)
	}
	if ad, ok := parseVRRP(v3, from6); !ok || ad.VRID != 52 || !slices.Equal(ad.Addresses, []netip.Addr{addr("fd00::50")}) {
		t.Errorf("version 3: %+v, %v", ad, ok)
	}
	carp := append([]byte{0x21, 1, 0, 7, 0, 1, 0, 0}, make([]byte, 20)...) // 7 words of authentication, no addresses
	for name, b := range map[string][]byte{"empty": nil, "cut": v2[:10], "version 4": {0x41, 1, 1, 0, 0, 0, 0, 0}, "CARP": carp} {
		if ad, ok := parseVRRP(b, from4); ok {
			t.Errorf("%s: %+v", name, ad)
		}
	}
}

func FuzzVRRP(f *testing.F) {
	f.Add([]byte{0x21, 51, 100, 1, 0, 1, 0, 0, 10, 0, 0, 50}, false)
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		from := addr("10.0.0.9")
		if six {
			from = addr("fe80::9")
		}
		if ad, ok := parseVRRP(b, from); ok && len(ad.Addresses) > 255 {
			t.Errorf("%d addresses", len(ad.Addresses))
		}
	})
}

// Who may not look is told so, and nothing is made of it.
func TestSkipped(t *testing.T) {
	f := healthy(t)
	f.Self = ProcessCaps{}
	f.Gate = SelfTest{Why: "needs root"}
	f.PeersWhy, f.Peers = "no key", nil
	f.Wire["eth0"] = Wire{Why: "needs CAP_NET_RAW"}
	f.VRRP = VRRP{Why: "needs CAP_NET_RAW"}
	f.Files.Key.Err = "may not look"
	f.SockWhy = "no /proc"
	f.Agent.ProcWhy = "no /proc"
	findings := Judge(f)
	if got := badIDs(findings); len(got) > 0 {
		t.Errorf("found %v\n%s", got, text(findings))
	}
	skipped := map[string]string{}
	for _, g := range findings {
		if g.Level == Skipped {
			skipped[g.ID] = g.Text
		}
	}
	for _, id := range []string{"nf-tables", "peer-udp", "peer-key", "address-in-use", "rival", "key-file", "service-address", "agent-twice"} {
		if skipped[id] == "" {
			t.Errorf("%s is not said to be skipped: %v", id, skipped)
		}
	}
}

func TestReport(t *testing.T) {
	f := healthy(t)
	f.Files.RunDir.FS, f.Unit.Enabled = "ext4", false
	r := report(f, Judge(f), nil)
	if r.Problems != 1 || r.Warnings != 1 || r.Worst() != Problem || r.Findings[0].ID != "run-dir" || r.Findings[1].ID != "unit-enabled" || r.Findings[2].Level != OK {
		t.Errorf("got %+v", r)
	}
	r = report(f, Judge(f), []string{"run-dir"})
	if r.Problems != 0 || r.Worst() != Warning {
		t.Errorf("run-dir ignored: %+v", r)
	}
	r = report(f, Judge(f), []string{"run-dir", "unit-enabled"})
	if r.Worst() != OK || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Ignored && f.ID == "run-dir" }) {
		t.Errorf("both ignored: %+v", r)
	}
	if _, err := Run(t.Context(), Options{Ignore: []string{"run-dirr"}}); err == nil || !strings.Contains(err.Error(), "run-dirr") {
		t.Errorf("a check that there is not: %v", err)
	}
	if _, err := Run(t.Context(), Options{RunDir: t.TempDir(), Default: "/nonesuch/hbagent.toml"}); err == nil {
		t.Error("no config, and no error")
	}
}

// The owner's own address may be in another network than the floating one: then a machine that answers is taken for it.
func TestOwnerInAnotherNetwork(t *testing.T) {
	f := healthy(t)
	f.Wire["eth0"] = Wire{Claims: []Claim{{Addr: addr("10.0.0.50"), MAC: stranger}, {Addr: addr("fd00::50"), MAC: stranger}}}
	if got := badIDs(Judge(f)); len(got) > 0 {
		t.Errorf("one machine answers, and found %v", got)
	}
	f.Wire["eth0"] = Wire{Claims: []Claim{{Addr: addr("10.0.0.50"), MAC: stranger}, {Addr: addr("10.0.0.50"), MAC: "02:00:00:00:00:98"}, {Addr: addr("fd00::50"), MAC: stranger}}}
	if got := badIDs(Judge(f)); !slices.Equal(got, []string{"address-in-use"}) {
		t.Errorf("two machines answer, and found %v", got)
	}
}

// A move between the two looks at the status is nobody's fault.
func TestMovedMeanwhile(t *testing.T) {
	f := healthy(t)
	f.Agent.After.Groups = slices.Clone(f.Agent.After.Groups)
	f.Agent.After.Groups[0].Owner, f.Agent.After.Groups[0].Epoch = "web2", 6
	if got := badIDs(Judge(f)); len(got) > 0 {
		t.Errorf("found %v\n%s", got, text(Judge(f)))
	}
}

// docs/doctor.md lists every check, in order, with the words of Checks.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, c := range Checks {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", c.ID, c.Looks, c.Bad)
	}
	if !strings.Contains(string(page), want.String()) {
		t.Errorf("docs/doctor.md does not have the table of Checks:\n%s", want.String())
	}
	seen := map[string]bool{}
	for _, c := range Checks {
		if seen[c.ID] || c.Looks == "" || c.Bad == "" || strings.ContainsAny(c.ID+c.Looks+c.Bad, "|\n") {
			t.Errorf("%+v", c)
		}
		seen[c.ID] = true
	}
}
