package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control/controltest"
	"github.com/hbagent/hbagent/internal/doctor"
)

// patients are reports, and what doctor exits with.
var patients = map[string]struct {
	report doctor.Report
	code   int
}{
	"fine": {doctor.Report{Cluster: "shop", Node: "web1", TookMs: 2310, Findings: []doctor.Finding{
		{ID: "config", Level: doctor.OK, Text: "hbagent.toml is valid"}, {ID: "carrier", Level: doctor.OK, Subject: "eth0", Text: "eth0 has a carrier"},
	}}, 0},
	"warning": {doctor.Report{Cluster: "shop", Node: "web1", TookMs: 2310, Warnings: 1, Findings: []doctor.Finding{
		{ID: "unit-enabled", Level: doctor.Warning, Text: "hbagent.service does not start at boot", Do: "systemctl enable hbagent"},
		{ID: "networkd", Level: doctor.Ignored, Subject: "eth0", Text: "systemd-networkd manages eth0", Do: "something"},
		{ID: "config", Level: doctor.OK, Text: "hbagent.toml is valid"},
	}}, 1},
	"problems": {doctor.Report{TookMs: 9800, Problems: 2, Warnings: 1, Findings: []doctor.Finding{
		{ID: "peer-udp", Level: doctor.Problem, Subject: "web2", Text: "web2 answers TCP, and not UDP: no answer to 80 datagrams",
			Do: "let UDP 7946 through between web1 and web2, both ways: leases travel by it"},
		{ID: "hooks", Level: doctor.Problem, Subject: "/etc/hbagent/hooks/active", Text: "/etc/hbagent/hooks/active, which group web names, is not executable", Do: "chmod 0755 /etc/hbagent/hooks/active"},
		{ID: "peer-loss", Level: doctor.Warning, Subject: "db1", Text: "3 of 80 datagrams to db1 and back were lost (4 %)\x1b[2J", Do: "look at the cable"},
		{ID: "peer-loss", Level: doctor.Skipped, Subject: "web2", Text: "no UDP"}, {ID: "peer-size", Level: doctor.Skipped, Subject: "web2", Text: "no UDP"},
		{ID: "nf-tables", Level: doctor.Skipped, Text: "run this command as root"},
		{ID: "config", Level: doctor.OK, Text: "hbagent.toml is valid"}, {ID: "peer-udp", Level: doctor.OK, Subject: "db1", Text: "UDP 7946 works there and back"},
	}}, 2},
}

func TestDoctor(t *testing.T) {
	for name, p := range patients {
		p.report.At = controltest.Now
		for _, flag := range []string{"", "--verbose", "--json"} {
			t.Run(name+flag, func(t *testing.T) {
				app, run := testApp(t)
				var got doctor.Options
				app.neighbors.doctor = func(_ context.Context, o doctor.Options) (doctor.Report, error) { got = o; return p.report, nil }
				args := []string{"doctor", "--run-dir", "/somewhere", "--measure", "700ms", "--ignore", "networkd"}
				if flag != "" {
					args = append(args, flag)
				}
				r := run(args...)
				if r.code != p.code || r.stderr != "" {
					t.Fatalf("code %d, want %d; %s", r.code, p.code, r.stderr)
				}
				if got.RunDir != "/somewhere" || got.Measure != 700*time.Millisecond || got.Root != "/" || len(got.Ignore) != 1 || got.ConfigFile != "" || got.Default != defaultConfig {
					t.Errorf("options %+v", got)
				}
				if flag == "--json" {
					var back doctor.Report
					if err := json.Unmarshal([]byte(r.stdout), &back); err != nil || len(back.Findings) != len(p.report.Findings) {
						t.Errorf("%v: %s", err, r.stdout)
					}
					return
				}
				golden(t, "doctor/"+name+strings.TrimLeft(strings.ReplaceAll(flag, "--", "."), "-")+".txt", r.stdout)
			})
		}
	}
}

// What cannot be looked at all is unknown to a monitor, and so is wrong usage.
func TestDoctorCannotLook(t *testing.T) {
	app, run := testApp(t)
	app.neighbors.doctor = func(context.Context, doctor.Options) (doctor.Report, error) {
		return doctor.Report{}, errors.New("no config")
	}
	if r := run("doctor"); r.code != 3 || r.stdout != "" || r.stderr != "hbagent: no config\n" {
		t.Errorf("got %+v", r)
	}
	for _, args := range [][]string{{"doctor", "--measure", "1m"}, {"doctor", "--measure", "1ms"}, {"doctor", "web1"}, {"doctor", "--ignroe", "x"}} {
		if _, run := testApp(t); run(args...).code != 3 {
			t.Errorf("%v: code %d, want 3", args, run(args...).code)
		}
	}
}

// The identifiers complete.
func TestDoctorCompletes(t *testing.T) {
	r := run(t, "__complete", "doctor", "--ignore", "")
	if r.code != exitOK || !strings.Contains(r.stdout, "peer-udp\t") {
		t.Errorf("got %+v", r)
	}
}
