package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// promiseList: the file has changed this long after the check's judgement.
const promiseList = 200 * time.Millisecond

// A proxied site has an nginx on proxy1 in front of the web servers of web1 and web2, whose upstreams the agent keeps.
type proxied struct {
	*site
	nginx  *lab.Service
	source string // the template
	file   string // the upstreams
	pool   string // the memcached pool, as PHP reads it
	client *lab.HTTPProbe
}

const upstreamsTemplate = `upstream shop {
{{range healthy "web"}}	server {{hostport .Address 80}} max_fails=0;
{{end}}}
`

// One file of PHP that another includes.
const poolTemplate = `<?php return [{{range $i, $n := healthy "cache"}}{{if $i}}, {{end}}['{{$n.Address}}', 11211]{{end}}];
`

func newProxied(t *testing.T) *proxied {
	t.Helper()
	s := &proxied{site: emptySite(t, "web1", "web2", "proxy1")}
	n := s.Node("proxy1")
	dir := filepath.Join(n.Dir(), "templates")
	must(t, os.Mkdir(dir, 0o755))
	s.source, s.file, s.pool = filepath.Join(dir, "upstreams.tmpl"), filepath.Join(dir, "upstreams.conf"), filepath.Join(dir, "pool.php")
	must(t, os.WriteFile(s.source, []byte(upstreamsTemplate), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "pool.tmpl"), []byte(poolTemplate), 0o644))
	// As a distribution does it: everything in the directory that ends in .conf.
	var err error
	s.nginx, err = n.Nginx("\tinclude " + dir + "/*.conf;\n\tserver {\n\t\tlisten 80;\n\t\tlocation / { proxy_pass http://shop; proxy_next_upstream off; }\n\t}\n")
	if errors.Is(err, exec.ErrNotFound) {
		labtest.Skip(t, err.Error())
	}
	must(t, err)
	// What the operator wrote before there was an agent.
	must(t, os.WriteFile(s.file, []byte("upstream shop { server 127.0.0.1:1; }\n"), 0o644))
	must(t, s.nginx.Start(within(t)))
	for _, node := range []string{"web1", "web2"} {
		must(t, s.Node(node).Memcached().Start(within(t)))
	}
	c := s.config()
	shown := false
	c.Checks = append(c.Checks, lab.CheckConfig{Name: "cache", Type: "memcached", Address: "127.0.0.1:11211", Interval: interval.String(),
		Required: &shown, Nodes: []string{"web1", "web2"}})
	c.Templates = []lab.TemplateConfig{
		{Name: "upstreams", Source: s.source, File: s.file, Nodes: []string{"proxy1"}, Interval: "200ms", // no change of this test is one too many
			Check: append(slices.Clone(s.nginx.Program), "-t"), Reload: append(slices.Clone(s.nginx.Program), "-s", "reload")},
		{Name: "pool", Source: filepath.Join(dir, "pool.tmpl"), File: s.pool, Nodes: []string{"proxy1"}, Mode: "0640"},
	}
	must(t, s.WriteConfig(c))
	must(t, s.StartAgents(within(t)))
	return s
}

// servers are the machines in the list, by name.
func (s *proxied) servers(file string) []string {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var names []string
	for _, name := range []string{"web1", "web2"} {
		if strings.Contains(string(b), s.Node(name).Addr4.Addr().String()) {
			names = append(names, name)
		}
	}
	return names
}

func (s *proxied) waitServers(t testing.TB, file string, want ...string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		if got := s.servers(file); !slices.Equal(got, want) {
			return fmt.Errorf("%s has %v, want %v", filepath.Base(file), got, want)
		}
		return nil
	})
}

// waitTemplate waits until the status on a node shows a template of proxy1 in a state.
func (s *proxied) waitTemplate(t testing.TB, on, name string, want control.TemplateStatus, phrases ...string) control.Status {
	t.Helper()
	return s.waitStatus(t, on, func(st control.Status) string {
		for _, tpl := range nodeOf(st, "proxy1").Templates {
			if tpl.Name != name {
				continue
			}
			if tpl.Status != want {
				return fmt.Sprintf("template %s is %s: %s", name, tpl.Status, tpl.Message)
			}
			for _, p := range phrases {
				if !strings.Contains(tpl.Message, p) {
					return fmt.Sprintf("template %s says %q, want %q in it", name, tpl.Message, p)
				}
			}
			return ""
		}
		return "no template " + name
	})
}

// A fileWatch notes when the list in a file changes. It looks every millisecond: that is the error of its times.
type fileWatch struct {
	mu   sync.Mutex
	seen []listed
}

type listed struct {
	at      time.Time
	servers []string
}

func (s *proxied) watchFile(ctx context.Context) *fileWatch {
	w := &fileWatch{seen: []listed{{time.Now(), s.servers(s.file)}}}
	tick := time.NewTicker(time.Millisecond)
	go func() {
		defer tick.Stop()
		for {
			got := s.servers(s.file)
			w.mu.Lock()
			if !slices.Equal(w.seen[len(w.seen)-1].servers, got) {
				w.seen = append(w.seen, listed{time.Now(), got})
			}
			w.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// since returns the lists from a moment on.
func (w *fileWatch) since(t time.Time) (list []listed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.seen {
		if l.at.After(t) {
			list = append(list, l)
		}
	}
	return list
}

// stamp is what a rewritten or reloaded file cannot keep.
func stamp(t testing.TB, file string) string {
	t.Helper()
	st, err := os.Stat(file)
	must(t, err)
	b, err := os.ReadFile(file)
	must(t, err)
	return fmt.Sprintf("%v %v %s", st.ModTime(), st.Mode(), b)
}

// reloads counts how often nginx was told to read its configuration.
func (s *proxied) reloads(t testing.TB) int {
	t.Helper()
	n := 0
	for _, e := range s.events(t, "proxy1", time.Time{}) {
		if e.Kind == "template" && e.Subject == "upstreams" && strings.HasPrefix(e.Reason, "written") {
			n++
		}
	}
	return n
}

// A real nginx in front of two real web servers, under load: what the agent makes of what happens to them.
func TestTemplates(t *testing.T) {
	s := newProxied(t)
	s.waitServers(t, s.file, "web1", "web2")
	s.waitServers(t, s.pool, "web1", "web2")
	s.waitTemplate(t, "web1", "upstreams", control.TemplateCurrent)
	s.waitTemplate(t, "web1", "pool", control.TemplateCurrent)
	t.Logf("proxy: %s, web servers: %s", s.nginx.Label, s.web["web1"].Label)
	b, err := os.ReadFile(s.pool)
	must(t, err)
	if want := "<?php return [['10.77.0.11', 11211], ['10.77.0.12', 11211]];\n"; string(b) != want {
		t.Errorf("the pool is %q, want %q", b, want)
	}
	if st, err := os.Stat(s.pool); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("the pool has mode %v (%v), want 0640", st.Mode(), err)
	}

	watch := s.watchFile(t.Context())
	s.client, err = s.ProbeHTTP(t.Context(), lab.HTTPOptions{Target: netip.AddrPortFrom(s.Node("proxy1").Addr4.Addr(), 80),
		Interval: 5 * time.Millisecond, Timeout: 500 * time.Millisecond})
	must(t, err)

	for _, tt := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a web server dies and returns", func(t *testing.T) {
			for round := range 4 {
				s.diesAndReturns(t, watch, []string{"web1", "web2"}[round%2])
			}
		}},
		{"all web servers die", s.allDie},
		{"a template that nginx refuses", s.refused},
		{"the agent dies", s.agentDies},
		{"cut off", s.proxyCutOff},
		{"a machine without power", s.machineDies},
	} {
		if !t.Run(tt.name, tt.run) {
			return // the next begins where this one should have ended
		}
	}
}

// diesAndReturns measures from the judgement of the check on, and from the deed.
func (s *proxied) diesAndReturns(t *testing.T, watch *fileWatch, victim string) {
	t.Helper()
	other := map[string]string{"web1": "web2", "web2": "web1"}[victim]
	measure := func(began time.Time, to string, want ...string) {
		t.Helper()
		s.waitServers(t, s.file, want...)
		e := s.waitEvent(t, victim, began, "check "+to, func(e control.Event) bool { return e.Kind == "check" && e.Subject == "web" && e.To == to })
		lists := watch.since(began)
		if len(lists) != 1 {
			t.Fatalf("%s is %s: the list was %+v, want one change", victim, to, lists)
		}
		after, whole := lists[0].at.Sub(e.At), lists[0].at.Sub(began)
		t.Logf("%s is %s: the list is %v %v after the judgement, %v after the deed", victim, to, want, after.Round(time.Millisecond), whole.Round(time.Millisecond))
		if after > slack*promiseList {
			t.Errorf("%s is %s: the list followed after %v, promised are %v, and %d times that is allowed here", victim, to, after, promiseList, slack)
		}
		s.waitTemplate(t, "proxy1", "upstreams", control.TemplateCurrent)
	}
	began := time.Now()
	must(t, s.web[victim].Kill())
	measure(began, "failing", other)
	ctx := within(t)
	must(t, s.client.WaitAnswer(ctx, time.Now(), other))
	// nginx starts new workers some time after it was told, and the old ones end their connections.
	eventually(t, func(context.Context) error {
		if tally := s.client.Tally(time.Now().Add(-200*time.Millisecond), time.Now()); tally.Failed > 0 || tally.Asked == 0 {
			return fmt.Errorf("%d of %d questions get no answer", tally.Failed, tally.Asked)
		}
		return nil
	})
	quiet := time.Now()
	pass(t, calm)
	if tally := s.client.Tally(quiet, time.Now()); tally.Failed > 0 || tally.Asked == 0 {
		t.Errorf("with %s out of the list, %d of %d questions got no answer", victim, tally.Failed, tally.Asked)
	}
	lost := s.client.Tally(began, quiet)
	t.Logf("%d of %d questions got no answer until nginx had left %s out", lost.Failed, lost.Asked, victim)

	began = time.Now()
	must(t, s.web[victim].Start(ctx))
	measure(began, "passing", "web1", "web2")
	must(t, s.client.WaitAnswer(ctx, time.Now(), victim))
	if tally := s.client.Tally(began, time.Now()); tally.Failed > 0 {
		t.Errorf("as %s came back, %d of %d questions got no answer", victim, tally.Failed, tally.Asked)
	}
}

// allDie: a list without an entry is never written.
func (s *proxied) allDie(t *testing.T) {
	ctx := within(t)
	must(t, s.web["web2"].Kill())
	s.waitServers(t, s.file, "web1")
	s.waitTemplate(t, "proxy1", "upstreams", control.TemplateCurrent)
	before := stamp(t, s.file)
	must(t, s.web["web1"].Kill())
	s.waitTemplate(t, "web2", "upstreams", control.TemplateHeld, "no node passes check web")
	if now := stamp(t, s.file); now != before {
		t.Errorf("the file was %s\nand is %s", before, now)
	}
	s.verb(t, "proxy1", "template", "upstreams").wants(t, 0, "held", "no node passes check web")
	s.verb(t, "proxy1", "template", "upstreams", "--dry-run").wants(t, 0, "would stay as it is: no")
	must(t, s.web["web2"].Start(ctx))
	s.waitServers(t, s.file, "web2")
	must(t, s.web["web1"].Start(ctx))
	s.waitServers(t, s.file, "web1", "web2")
	s.waitTemplate(t, "web2", "upstreams", control.TemplateCurrent)
}

// refused: what nginx does not accept changes nothing, and everybody sees why.
func (s *proxied) refused(t *testing.T) {
	before, pid := stamp(t, s.file), s.nginxPID(t)
	bad := strings.Replace(upstreamsTemplate, "max_fails", "maximum_failures", 1)
	must(t, os.WriteFile(s.source, []byte(bad), 0o644))
	s.verb(t, "proxy1", "template", "upstreams", "--dry-run").wants(t, 0, "would be replaced", "+\tserver 10.77.0.11:80 maximum_failures=0;", "-\tserver 10.77.0.11:80 max_fails=0;")
	if stamp(t, s.file) != before {
		t.Error("a dry run has changed the file")
	}
	s.verb(t, "proxy1", "reload").wants(t, 0, "template upstreams: its source has changed")
	s.waitTemplate(t, "web1", "upstreams", control.TemplateFailing, "check refuses it", `invalid parameter "maximum_failures=0"`)
	if now := content(before); now != content(stamp(t, s.file)) {
		t.Errorf("the file was\n%s\nand is\n%s", now, content(stamp(t, s.file)))
	}
	s.verb(t, "web1", "status").wants(t, 1, "degraded: template upstreams fails on proxy1", "maximum_failures")
	s.verb(t, "proxy1", "template").wants(t, 1, "failing", "maximum_failures")
	s.waitEvent(t, "proxy1", time.Now().Add(-patience), "refused", func(e control.Event) bool {
		return e.Kind == "template" && e.Subject == "upstreams" && e.Reason == "fails" && strings.Contains(e.Detail, "maximum_failures")
	})
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(s.file), ".*hbagent*")); err != nil || len(left) > 0 {
		t.Errorf("left beside the file: %v (%v)", left, err)
	}
	if now := s.nginxPID(t); now != pid {
		t.Errorf("nginx is process %s, and was %s", now, pid)
	}
	must(t, os.WriteFile(s.source, []byte(upstreamsTemplate+"{{nonsense}}"), 0o644))
	s.verb(t, "proxy1", "reload").wants(t, 1, "nothing has changed", `function "nonsense" not defined`)
	must(t, os.WriteFile(s.source, []byte(upstreamsTemplate), 0o644))
	s.verb(t, "proxy1", "reload").wants(t, 0)
	s.waitTemplate(t, "web1", "upstreams", control.TemplateCurrent)
}

// content is a stamp without its times.
func content(stamp string) string { return stamp[strings.Index(stamp, "upstream"):] }

func (s *proxied) nginxPID(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Node("proxy1").Dir(), "nginx", "nginx.pid"))
	must(t, err)
	return strings.TrimSpace(string(b))
}

// agentDies: the file stays; and an agent that comes back and finds everything as it should be does nothing.
func (s *proxied) agentDies(t *testing.T) {
	before, written := stamp(t, s.file), s.reloads(t)
	must(t, s.Node("proxy1").KillAgent())
	pass(t, calm)
	must(t, s.Node("proxy1").StartAgent(within(t)))
	s.waitTemplate(t, "proxy1", "upstreams", control.TemplateCurrent)
	pass(t, calm)
	if now := stamp(t, s.file); now != before {
		t.Errorf("the file was %s\nand is %s", before, now)
	}
	if now := s.reloads(t); now != written {
		t.Errorf("%d reloads more after a restart with nothing new", now-written)
	}
}

// proxyCutOff: who hears nobody does not know who is down.
func (s *proxied) proxyCutOff(t *testing.T) {
	s.needFaults(t)
	before, ctx := stamp(t, s.file), within(t)
	must(t, s.Node("proxy1").Cut(ctx))
	s.waitTemplate(t, "proxy1", "upstreams", control.TemplateHeld, "hears 1 of 3 voters")
	pass(t, calm)
	if now := stamp(t, s.file); now != before {
		t.Errorf("the file was %s\nand is %s", before, now)
	}
	must(t, s.Heal(ctx))
	s.waitTemplate(t, "proxy1", "upstreams", control.TemplateCurrent)
	s.waitTemplate(t, "web1", "upstreams", control.TemplateCurrent)
	if now := stamp(t, s.file); now != before {
		t.Errorf("healed, the file is %s", now)
	}
}

// machineDies: a node that is down is not healthy, whatever it said last.
func (s *proxied) machineDies(t *testing.T) {
	began := time.Now()
	must(t, s.Node("web2").PowerOff())
	s.waitServers(t, s.file, "web1")
	s.waitServers(t, s.pool, "web1")
	t.Logf("the list is without web2 %v after it lost its power", time.Since(began).Round(time.Millisecond))
}
