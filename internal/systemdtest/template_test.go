package systemdtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab/booted"
)

const (
	upstreamsFile   = "/var/lib/hbagent/templates/upstreams.conf"
	upstreamsSource = "/etc/hbagent/templates/upstreams.tmpl"
	upstreams       = "upstream shop {\n{{range healthy \"apache\"}}\tserver {{hostport . 80}} max_fails=0;\n{{end}}}\n"

	// templateConfig is that of docs/templates.md, on db1.
	templateConfig = `
[[template]]
name    = "upstreams"
source  = "/etc/hbagent/templates/upstreams.tmpl"
file    = "/var/lib/hbagent/templates/upstreams.conf"
check   = ["/usr/sbin/nginx", "-t"]
reload  = ["/usr/bin/systemctl", "reload", "nginx"]
as_root = true
nodes   = ["db1"]
`
)

// An nginx under systemd on db1, as docs/templates.md sets it up: the agent, which is not root, writes the file; root
// checks it and reloads nginx.
func TestTemplates(t *testing.T) {
	deb := needFile(t, "HBAGENT_TEST_DEB")
	s := newSite(t)
	s.observe(t)
	s.install(t, deb)
	s.start(t)
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"nginx", s.setUpProxy},
		{"without the socket", s.noSocket},
		{"with the socket", s.withSocket},
		{"a web server stops and starts", s.listFollows},
		{"refused", s.refusedByNginx},
		{"restart", s.templateRestart},
		{"who may ask", s.whoMayAsk},
	} {
		if !t.Run(step.name, step.do) {
			t.Log(s.run(t, "db1", "journalctl", "--no-pager", "--lines=40", "--unit=hbagent-commands*", "--unit=nginx").all)
			t.Fatal("what follows would rest on it")
		}
	}
}

// setUpProxy is the list of docs/templates.md, without its last command.
func (s *site) setUpProxy(t *testing.T) {
	m := s.Machine("db1")
	s.on(t, "db1", "sh", "-ec", `
rm /etc/nginx/sites-enabled/default
install -d -o hbagent -g hbagent /var/lib/hbagent/templates
echo 'include /var/lib/hbagent/templates/upstreams.conf;' > /etc/nginx/conf.d/hbagent.conf
echo 'upstream shop { server 10.0.0.11:80; }' > /var/lib/hbagent/templates/upstreams.conf
chown hbagent: /var/lib/hbagent/templates/upstreams.conf
install -d /etc/hbagent/templates`)
	must(t, m.Write("/etc/nginx/conf.d/shop.conf", "server {\n\tlisten 8080;\n\tlocation / { proxy_pass http://shop; }\n}\n", 0o644))
	must(t, m.Write(upstreamsSource, upstreams, 0o644))
	s.on(t, "db1", "systemctl", "start", "nginx")
	must(t, s.Each(func(m *booted.Machine) error {
		_, err := m.Output(t.Context(), "sh", "-ec", "cat >>/etc/hbagent/hbagent.toml <<'END'\n"+templateConfig+"END\nhbagent config check && hbagent reload")
		return err
	}))
}

// list is the machines in the file of db1.
func (s *site) list(t *testing.T) (names []string) {
	t.Helper()
	text := s.on(t, "db1", "cat", upstreamsFile)
	for _, n := range []string{"web1", "web2"} {
		if strings.Contains(text, s.Machine(n).Addr4.Addr().String()+":80") {
			names = append(names, n)
		}
	}
	return names
}

func (s *site) waitList(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, func() error {
		if got := s.list(t); !slices.Equal(got, want) {
			return fmt.Errorf("the list is %v, want %v", got, want)
		}
		return nil
	})
}

// waitTemplate waits until web1 says how the template of db1 stands.
func (s *site) waitTemplate(t *testing.T, want control.TemplateStatus, phrase string) {
	t.Helper()
	s.waitStatus(t, []string{"web1"}, func(st control.Status) string {
		for _, n := range st.Nodes {
			for _, tpl := range n.Templates {
				if n.Name == "db1" && tpl.Status == want && strings.Contains(tpl.Message, phrase) {
					return ""
				}
			}
		}
		return fmt.Sprintf("%+v, want a template that is %s: %s", st.Nodes, want, phrase)
	})
}

// served asks the proxy until it answers with exactly these machines' names.
func (s *site) served(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, func() error {
		var got []string
		for range 8 {
			r := s.run(t, "db1", "curl", "--silent", "--show-error", "--fail", "--max-time", "2", "http://127.0.0.1:8080/")
			if r.code != 0 {
				return fmt.Errorf("the proxy: %s", r.all)
			}
			got = append(got, strings.TrimSpace(r.stdout))
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			return fmt.Errorf("the proxy asks %v, want %v", got, want)
		}
		return nil
	})
}

// Nobody is there to check the file: it stays, and the status says what to do.
func (s *site) noSocket(t *testing.T) {
	s.waitTemplate(t, control.TemplateFailing, "systemctl enable --now hbagent-commands.socket")
	if got := s.list(t); len(got) > 0 {
		t.Errorf("the list is %v without a check", got)
	}
	if r := s.run(t, "web2", "hbagent", "status"); r.code != 1 || !strings.Contains(r.stdout, "template upstreams fails on db1") {
		t.Errorf("%d: %s", r.code, r.all)
	}
}

func (s *site) withSocket(t *testing.T) {
	s.on(t, "db1", "systemctl", "enable", "--now", "hbagent-commands.socket")
	if got := s.on(t, "db1", "stat", "--format=%a %U:%G", "/run/hbagent-commands.sock"); got != "600 hbagent:root" {
		t.Errorf("the socket is %s", got)
	}
	s.waitList(t, "web1", "web2")
	s.waitTemplate(t, control.TemplateCurrent, "")
	s.served(t, "web1", "web2")
	if got := s.on(t, "db1", "stat", "--format=%a %U:%G", upstreamsFile); got != "644 hbagent:hbagent" {
		t.Errorf("the file is %s", got)
	}
}

func (s *site) listFollows(t *testing.T) {
	for _, deed := range []struct {
		verb string
		want []string
	}{{"stop", []string{"web2"}}, {"start", []string{"web1", "web2"}}} {
		began := time.Now()
		s.on(t, "web1", "systemctl", deed.verb, "apache2")
		s.waitList(t, deed.want...)
		s.note("apache2 on web1: %-33s %5d ms until the list of the proxy is right", deed.verb, time.Since(began).Milliseconds())
		s.waitTemplate(t, control.TemplateCurrent, "")
		s.served(t, deed.want...)
	}
}

// What nginx refuses is put back before anybody reads it, and its own words are in the status of every node.
func (s *site) refusedByNginx(t *testing.T) {
	before := s.on(t, "db1", "stat", "--format=%i %Y", upstreamsFile)
	reloads := s.reloadsOfNginx(t)
	must(t, s.Machine("db1").Write(upstreamsSource, strings.Replace(upstreams, "max_fails", "maximum_failures", 1), 0o644))
	s.on(t, "db1", "hbagent", "reload")
	s.waitTemplate(t, control.TemplateFailing, `invalid parameter "maximum_failures=0"`)
	if after := s.on(t, "db1", "stat", "--format=%i %Y", upstreamsFile); after != before {
		t.Errorf("the file was %s and is %s", before, after)
	}
	if left := s.on(t, "db1", "find", "/var/lib/hbagent/templates", "-name", ".*"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	s.served(t, "web1", "web2")
	if now := s.reloadsOfNginx(t); now != reloads {
		t.Errorf("nginx was reloaded %d times for what it refuses", now-reloads)
	}
	must(t, s.Machine("db1").Write(upstreamsSource, upstreams, 0o644))
	s.on(t, "db1", "hbagent", "reload")
	s.waitTemplate(t, control.TemplateCurrent, "")
}

func (s *site) reloadsOfNginx(t *testing.T) int {
	t.Helper()
	return strings.Count(s.on(t, "db1", "journalctl", "--no-pager", "--output=cat", "--unit=nginx"), "Reloaded nginx")
}

// A restart of the agent finds everything as it should be.
func (s *site) templateRestart(t *testing.T) {
	before, reloads := s.on(t, "db1", "stat", "--format=%i %Y", upstreamsFile), s.reloadsOfNginx(t)
	if reloads == 0 {
		t.Error("the journal of nginx tells of no reload at all")
	}
	s.on(t, "db1", "systemctl", "restart", "hbagent")
	s.waitTemplate(t, control.TemplateCurrent, "")
	pass(t, calm)
	if after := s.on(t, "db1", "stat", "--format=%i %Y", upstreamsFile); after != before || s.reloadsOfNginx(t) != reloads {
		t.Errorf("the file was %s and is %s; %d reloads, before %d", before, after, s.reloadsOfNginx(t), reloads)
	}
}

// Only the agent may ask, and only for what root's own file says.
func (s *site) whoMayAsk(t *testing.T) {
	ask := `curl --silent --max-time 5 --unix-socket /run/hbagent-commands.sock http://x/ 2>&1; echo code $?`
	if said := s.on(t, "db1", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh", "-c", ask); !strings.Contains(said, "code 7") {
		t.Errorf("nobody may connect: %s", said)
	}
	s.on(t, "db1", "chmod", "g+w", "/etc/hbagent/hbagent.toml")
	s.on(t, "web2", "systemctl", "stop", "apache2")
	s.waitTemplate(t, control.TemplateFailing, "may be written by others than root")
	if got := s.list(t); !slices.Equal(got, []string{"web1", "web2"}) {
		t.Errorf("the list is %v without a check", got)
	}
	s.on(t, "db1", "chmod", "g-w", "/etc/hbagent/hbagent.toml")
	s.waitList(t, "web1")
	s.on(t, "web2", "systemctl", "start", "apache2")
	s.waitList(t, "web1", "web2")
	s.waitTemplate(t, control.TemplateCurrent, "")
}
