package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// keepalivedConf has much of what config import reads, and what keepalived -t accepts on a machine with eth0.
const keepalivedConf = `! %[1]s
$FLOATING=%[4]s
global_defs {
    router_id %[1]s
    enable_script_security
    script_user root
    vrrp_garp_master_delay 1
}

vrrp_script chk_web {
    script "/usr/bin/test -d '/proc'"
    interval 1
    timeout 1
    weight -60
    fall 2
    rise 2
}

vrrp_instance web
{
    state BACKUP # both: the priority decides
    interface eth0
    virtual_router_id 51
    priority %[2]d
    advert_int 1
    nopreempt
    unicast_src_ip %[3]s
    unicast_peer {
        %[5]s
    }
    authentication {
        auth_type PASS
        auth_pass s3cret
    }
    virtual_ipaddress {
        ${FLOATING} dev eth0
    }
    track_script { chk_web }
}
`

// A vrrp is keepalived on one machine.
type vrrp struct {
	node *lab.Node
	file string
	*lab.Process
}

// startVRRP writes a keepalived.conf, lets keepalived judge it, and starts it.
func (s *site) startVRRP(t *testing.T, program, node, peer string, priority int, floating string) *vrrp {
	t.Helper()
	n := s.Node(node)
	dir := filepath.Join(n.Dir(), "keepalived")
	must(t, os.MkdirAll(dir, 0o755))
	v := &vrrp{node: n, file: filepath.Join(dir, "keepalived.conf")}
	text := fmt.Sprintf(keepalivedConf, node, priority, n.Addr4.Addr(), floating, s.Node(peer).Addr4.Addr())
	must(t, os.WriteFile(v.file, []byte(text), 0o644))
	if r := run(t, n, exec.Command(program, "-t", "-f", v.file)); r.code != 0 {
		t.Fatalf("keepalived does not take the config of this test: %s", r.all)
	}
	cmd := exec.Command(program, "--dont-fork", "--log-console", "--vrrp", "--use-file", v.file,
		"--pid", filepath.Join(dir, "main.pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"))
	var err error
	v.Process, err = n.Start("keepalived", cmd)
	must(t, err)
	return v
}

// The runbook of docs/coming-from-keepalived.md, step by step, with a client that asks all the time.
func TestFromKeepalived(t *testing.T) {
	program, err := exec.LookPath("keepalived")
	if err != nil {
		labtest.Skip(t, "keepalived: apt install keepalived")
	}
	for name, floating := range map[string]string{
		"with a length": lab.Floating4.String(),
		"without":       lab.Floating4.Addr().String(), // the very address that the agent adds, and keepalived takes off at its stop
	} {
		t.Run(name, func(t *testing.T) { changeOver(t, program, floating) })
	}
}

func changeOver(t *testing.T, program, floating string) {
	s := emptySite(t)
	web1 := s.startVRRP(t, program, "web1", "web2", 150, floating)
	web2 := s.startVRRP(t, program, "web2", "web1", 100, floating)
	s.observe(t, lab.Floating4)
	// keepalived owns it, and nobody promises anything before it has gone.
	must(t, s.client.WaitAnswer(within(t), time.Now(), "web1"))
	began := time.Now()

	// 1. The config, of both machines' files, and a third machine that votes.
	file := filepath.Join(t.TempDir(), "hbagent.toml")
	key := filepath.Join(filepath.Dir(file), "gossip.key")
	s.verb(t, "web1", "config", "import", "web1="+web1.file, "web2="+web2.file, "--node", "db1="+s.Node("db1").Addr4.Addr().String(),
		"--cluster", "shop", "--key-file", key, "-o", file).wants(t, 0)
	s.verb(t, "web1", "keygen", "-o", key).wants(t, 0)
	s.verb(t, "web1", "config", "check", file).wants(t, 0, "3 nodes, 1 group, 2 checks")
	whole, err := os.ReadFile(file)
	must(t, err)

	// 2. Agents without a group: they know each other, and touch nothing.
	before, _, found := strings.Cut(string(whole), "[[group]]")
	if !found {
		t.Fatal("no group")
	}
	give := func(text string) {
		t.Helper()
		for _, n := range s.Nodes() {
			must(t, os.WriteFile(n.ConfigFile(), []byte(text), 0o644))
		}
	}
	give(before)
	must(t, s.StartAgents(within(t)))
	for _, pair := range [][2]string{{"web1", "web2"}, {"web1", "db1"}, {"web2", "web1"}, {"db1", "web1"}} {
		s.waitPeer(t, pair[0], pair[1], true)
	}
	pass(t, 2*ttl) // a voter that has just started grants nothing for one
	// 3. The standby's keepalived stops, and its agent stays off.
	must(t, web2.Stop(within(t)))
	s.verb(t, "web2", "maintenance", "on", "--reason", "coming from keepalived").wants(t, 0)

	// 4. The group, on the owner last: its agent takes the address beside keepalived.
	give(string(whole))
	for _, node := range []string{"db1", "web2", "web1"} {
		s.verb(t, node, "reload").wants(t, 0)
	}
	eventually(t, func(ctx context.Context) error {
		g, err := s.Node("web1").Group(ctx, "web")
		if err == nil && (g.Owner != "web1" || g.State != "active") {
			err = fmt.Errorf("%+v", g)
		}
		return err
	})

	// 5. Its keepalived stops, and takes the address off the card: the agent puts it back.
	must(t, web1.Stop(within(t)))
	must(t, s.WaitOwner(within(t), "web", "web1"))
	must(t, s.client.WaitAnswer(within(t), time.Now(), "web1"))

	// 6. The standby may own it again.
	s.verb(t, "web2", "maintenance", "off").wants(t, 0)
	must(t, s.WaitEligible(within(t), "web", "web1", "web2"))
	s.verb(t, "db1", "status").wants(t, 0, "all well")
	gap := s.client.LongestGap(began, time.Now()).Length()
	tally := s.client.Tally(began, time.Now())
	t.Logf("%d of %d questions without an answer, the longest gap %v", tally.Failed, tally.Asked, gap.Round(time.Millisecond))
	if gap > slack*promisePlanned {
		t.Errorf("the client got no answer for %v; the runbook promises %v", gap, promisePlanned)
	}

	// Back again: keepalived beside the agent, then the agent stops.
	began = time.Now()
	s.verb(t, "web2", "maintenance", "on", "--reason", "back to keepalived").wants(t, 0)
	said, err := os.ReadFile(web1.Log)
	must(t, err)
	web1 = s.startVRRP(t, program, "web1", "web2", 150, floating)
	eventually(t, func(context.Context) error {
		now, err := os.ReadFile(web1.Log)
		if err == nil && !strings.Contains(string(now[len(said):]), "Entering MASTER STATE") {
			err = errors.New("keepalived is not yet MASTER")
		}
		return err
	})
	must(t, s.Node("web1").StopAgent(within(t)))
	stopped := time.Now()
	must(t, s.client.WaitAnswer(within(t), stopped, "web1"))
	pass(t, calm)
	gap = s.client.LongestGap(began, time.Now()).Length()
	t.Logf("back: the longest gap %v", gap.Round(time.Millisecond))
	if gap > slack*ttl {
		t.Errorf("the client got no answer for %v on the way back; the runbook promises about half a second", gap)
	}

	// And forth: it works.
	must(t, s.Node("web1").StartAgent(within(t)))
	must(t, s.WaitOwner(within(t), "web", "web1"))
	must(t, web1.Stop(within(t)))
	s.verb(t, "web2", "maintenance", "off").wants(t, 0)
	must(t, s.WaitEligible(within(t), "web", "web1", "web2"))
	began = time.Now()
	must(t, s.Node("web1").PowerOff())
	must(t, s.WaitOwner(within(t), "web", "web2"))
	must(t, s.client.WaitAnswer(within(t), time.Now(), "web2"))
	t.Logf("a dead owner cost %v", s.client.LongestGap(began, time.Now()).Length().Round(time.Millisecond))
}
