package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
	"github.com/hbagent/hbagent/internal/template/apply"
)

func TestTemplateList(t *testing.T) {
	serve := func(node string) string {
		return controltest.Serve(t, controltest.Agent{OnStatus: func(context.Context) (control.Status, error) {
			s := controltest.Templates()
			s.Node = node
			for i := range s.Nodes {
				s.Nodes[i].Self = s.Nodes[i].Name == node
			}
			return s, nil
		}})
	}
	web1, web2, db1 := serve("web1"), serve("web2"), serve("db1")
	got := run(t, "template", "--run-dir", web1)
	golden(t, "template.txt", got.stdout)
	if got.code != exitFailed {
		t.Errorf("code %d for one that fails, want 1", got.code)
	}
	if got = run(t, "template", "--run-dir", web2); got.code != exitOK || !strings.Contains(got.stdout, "no node passes check memcached") {
		t.Errorf("%+v", got)
	}
	if got = run(t, "template", "--run-dir", db1); got.code != exitOK || got.stdout != "no templates on db1\n" {
		t.Errorf("%+v", got)
	}
	got = run(t, "template", "pool", "--json", "--run-dir", web2)
	var list []control.Template
	if err := json.Unmarshal([]byte(got.stdout), &list); err != nil || len(list) != 1 || list[0].Name != "pool" {
		t.Errorf("%v in %+v", err, got)
	}
	if got = run(t, "template", "--json", "--run-dir", db1); got.stdout != "[]\n" {
		t.Errorf("%q, want an empty array", got.stdout)
	}
	for dir, want := range map[string]string{web2: "there is upstreams, pool", db1: "it keeps none"} {
		if got = run(t, "template", "upstream", "--run-dir", dir); got.code != exitFailed || !strings.Contains(got.stderr, want) {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}

func TestTemplateDryRun(t *testing.T) {
	const file = "/var/lib/hbagent/templates/upstreams.conf"
	list := []control.TemplateRender{
		{Name: "upstreams", File: file, Result: control.RenderChanges, Exists: true,
			Present: "upstream shop {\n\tserver 10.0.0.11:80;\n\tserver 10.0.0.12:80;\n}\n", Content: "upstream shop {\n\tserver 10.0.0.12:80;\x1b[31m\n}\n"},
		{Name: "new", File: "/var/lib/hbagent/templates/new", Result: control.RenderChanges, Content: "one\n"},
		{Name: "same", File: "/var/lib/hbagent/templates/same", Result: control.RenderUnchanged, Content: "one\n", Present: "one\n", Exists: true},
		{Name: "pool", File: "/var/lib/hbagent/templates/pool.php", Result: control.RenderHeld, Reason: "no node passes check memcached", Content: "[]\n", Present: "[1]\n", Exists: true},
		{Name: "odd", File: "/x", Result: "postponed", Reason: "night"},
	}
	dir := controltest.Serve(t, controltest.Agent{OnRender: func(_ context.Context, name string) ([]control.TemplateRender, error) {
		switch name {
		case "":
			return list, nil
		case "broken":
			return []control.TemplateRender{{Name: "broken", File: "/x", Result: control.RenderFails, Reason: `no check "x"`}}, nil
		}
		return nil, control.Errorf(control.CodeNotFound, "no template %q on this node", name)
	}})
	got := run(t, "template", "--dry-run", "--run-dir", dir)
	golden(t, "dry-run.txt", got.stdout)
	if got.code != exitOK {
		t.Errorf("%+v", got)
	}
	got = run(t, "template", "--dry-run", "--json", "--run-dir", dir)
	var back []control.TemplateRender
	if err := json.Unmarshal([]byte(got.stdout), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list, back); diff != "" {
		t.Errorf("--json (-want +got):\n%s", diff)
	}
	if got = run(t, "template", "broken", "-n", "--run-dir", dir); got.code != exitFailed || got.stdout != "broken: fails: no check \"x\"\n" {
		t.Errorf("%+v", got)
	}
	if got = run(t, "template", "lost", "-n", "--run-dir", dir); got.code != exitFailed || !strings.Contains(got.stderr, `no template "lost"`) {
		t.Errorf("%+v", got)
	}
}

// What root runs is what root's config says.
func TestTemplateCommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hbagent.toml")
	config := `
[cluster]
name = "shop"
insecure = true
[[node]]
name = "web1"
address = "10.0.0.11"
[[template]]
name = "list"
source = "/none"
file = "` + dir + `/list"
check = ["/bin/sh", "-c", "echo {{.Path}} is bad; exit 4"]
reload = ["/bin/true"]
as_root = true
`
	if err := errors.Join(os.WriteFile(file, []byte(config), 0o640), os.Chmod(file, 0o640)); err != nil {
		t.Fatal(err)
	}
	ask := func(kind apply.Kind) error {
		socket := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		served := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				err = serveTemplateCommand(t.Context(), conn, file)
			}
			served <- err
		}()
		err = apply.AsRoot{Socket: socket}.Run(t.Context(), apply.Spec{Name: "list", AsRoot: true, Timeout: 30e9}, kind)
		if serr := <-served; serr != nil {
			t.Error(serr)
		}
		return err
	}
	if os.Geteuid() == 0 {
		if err := ask(apply.Reload); err != nil {
			t.Error(err)
		}
		if err := ask(apply.Check); err == nil || err.Error() != "sh: exit status 4: "+dir+"/.list.hbagent-new is bad" {
			t.Error(err)
		}
	}
	if err := os.Chmod(file, 0o660); err != nil {
		t.Fatal(err)
	}
	if err := ask(apply.Reload); err == nil || !strings.Contains(err.Error(), "may be written by others than root") {
		t.Error(err)
	}
	a, _ := testApp(t)
	var stderr strings.Builder
	a.stderr, a.stdout = &stderr, io.Discard
	if code := a.run(t.Context(), []string{"template-commands"}); code != exitFailed || !strings.Contains(stderr.String(), "hbagent-commands@.service") {
		t.Errorf("code %d without a socket: %s", code, stderr.String())
	}
}
