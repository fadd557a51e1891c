package rivals

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// TestTokenHold compares with what Corosync 3.1.7 itself tells as runtime.config.totem.hold.
func TestTokenHold(t *testing.T) {
	const ms = time.Millisecond
	for token, want := range map[time.Duration]time.Duration{3650 * ms: 685 * ms, 5303 * ms: 999 * ms, 1000 * ms: 180 * ms, 300 * ms: 46 * ms} {
		if got := tokenHold(token); got != want {
			t.Errorf("token %v: hold %v, want %v", token, got, want)
		}
	}
	for _, s := range (Pacemaker{}).Settings() {
		if strings.Contains(s.Pace, Equal) && s.Heartbeat != time.Second {
			t.Errorf("%s: a heartbeat every %v, want 1s", s.Name, s.Heartbeat)
		}
	}
}

func TestPacemakerConfigs(t *testing.T) {
	p := &pacemaker{o: Options{Addresses: []netip.Prefix{lab.Floating4, netip.MustParsePrefix("10.78.0.1/32")}, Service: true}}
	text, err := p.cib()
	if err != nil {
		t.Fatal(err)
	}
	var cib struct {
		Addresses []struct {
			Values []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"instance_attributes>nvpair"`
		} `xml:"configuration>resources>group>primitive"`
		Clones []struct{} `xml:"configuration>resources>clone"`
	}
	if err := xml.Unmarshal([]byte(text), &cib); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(cib.Addresses), "[{[{ip 10.77.0.50} {cidr_netmask 24} {nic eth0}]} {[{ip 10.78.0.1} {cidr_netmask 32} {nic eth0}]}]"; got != want {
		t.Errorf("addresses %s, want %s", got, want)
	}
	if len(cib.Clones) != 1 {
		t.Errorf("%d clones, want 1", len(cib.Clones))
	}

	if _, err := (Pacemaker{}).Prepare(nil, Setting{}, Options{Addresses: make([]netip.Prefix, mostAddresses+1)}); !errors.Is(err, ErrCannot) {
		t.Errorf("too many addresses: %v, want ErrCannot", err)
	}
}

// TestClusterStatus reads what crm_mon of Pacemaker 2.1.5 told of a cluster at rest, and of changes to that.
func TestClusterStatus(t *testing.T) {
	text, err := os.ReadFile("testdata/crm_mon.xml")
	if err != nil {
		t.Fatal(err)
	}
	web := `resource_agent="ocf:site:answers" role="Started"`
	for _, c := range []struct{ name, from, to, want string }{
		{"at rest", "", "", ""},
		{"no quorum", `with_quorum="true"`, `with_quorum="false"`, "quorum"},
		{"a node is gone", `name="db1" id="3" online="true"`, `name="db1" id="3" online="false"`, "db1"},
		{"a node joins", `pending="false"`, `pending="true"`, "as online"},
		{"nothing started", `resource_agent="ocf:heartbeat:IPaddr2" role="Started"`, `resource_agent="ocf:heartbeat:IPaddr2" role="Stopped"`, "0 of 1"},
		{"not watched", web, `resource_agent="ocf:site:answers" role="Stopped"`, "web server of"},
		{"a failure", `<status code="0"`, `<failures><failure op_key="web_start_0" node="web1"/></failures><status code="0"`, "web_start_0 on web1"},
	} {
		if !strings.Contains(string(text), c.from) {
			t.Errorf("%s: crm_mon.xml has no %s", c.name, c.from)
		}
		changed := string(text)
		if c.from != "" {
			changed = strings.ReplaceAll(changed, c.from, c.to)
		}
		var s clusterStatus
		if err := xml.Unmarshal([]byte(changed), &s); err != nil {
			t.Fatal(c.name, err)
		}
		err := s.ready("web1", []string{"web1", "web2", "db1"}, Options{Service: true}.withDefaults())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestMapped(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]bool{"0 1000 1\n": false, "0 0 4294967295\n": true, "0 1000 1\n1 100000 65536\n": true} {
		file := filepath.Join(dir, "map")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := mapped(file, 106); got != want {
			t.Errorf("106 in %q: %v, want %v", text, got, want)
		}
	}
}
