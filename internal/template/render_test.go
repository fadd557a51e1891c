package template

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// site is a View of three machines that are well: web1 and web2 serve, db1 has the database.
func site() View {
	node := func(name, address string, checks ...string) Node {
		n := Node{Name: name, Address: netip.MustParseAddr(address), Run: name + "-1", Alive: true, Checks: map[string]Health{}}
		for _, c := range checks {
			n.Checks[c] = Passing
		}
		return n
	}
	return View{
		Cluster: "shop", Self: "db1", Voters: 3, Heard: 3, Needed: 2, Checks: []string{"apache", "cache", "mysql"},
		Nodes: []Node{node("db1", "10.0.0.13", "mysql"), node("web1", "10.0.0.11", "apache", "cache"), node("web2", "fd00::12", "apache", "cache")},
		Groups: []Group{{Name: "db", Owner: "db1", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.60")}},
			{Name: "web", Owner: "web1", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.50"), netip.MustParseAddr("fd00::50")}}},
	}
}

// with is a site in which something is different.
func with(edit func(*View)) View {
	v := site()
	edit(&v)
	return v
}

func render(t *testing.T, source string, v View) Outcome {
	t.Helper()
	tmpl, err := Parse("t", source)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl.Render(v)
}

const upstreams = `{{range healthy "apache"}}server {{hostport . 80}};{{end}}`

func TestRender(t *testing.T) {
	for name, tt := range map[string]struct {
		source string
		view   View
		want   string
	}{
		"upstreams":        {upstreams, site(), "server 10.0.0.11:80;server [fd00::12]:80;"},
		"one fails":        {upstreams, with(func(v *View) { v.Nodes[1].Checks["apache"] = Failing }), "server [fd00::12]:80;"},
		"one is unknown":   {upstreams, with(func(v *View) { v.Nodes[1].Checks["apache"] = Unknown }), "server [fd00::12]:80;"},
		"one is down":      {upstreams, with(func(v *View) { v.Nodes[2].Alive = false }), "server 10.0.0.11:80;"},
		"in maintenance":   {upstreams, with(func(v *View) { v.Nodes[2].Maintenance = true }), "server 10.0.0.11:80;"},
		"does not run":     {`{{range healthy "mysql"}}{{.Name}}{{end}}`, site(), "db1"},
		"pool with commas": {`{{range $i, $n := healthy "cache"}}{{if $i}},{{end}}{{$n.Address}}:11211{{end}}`, site(), "10.0.0.11:11211,fd00::12:11211"},
		"owner":            {`{{owner "db"}} {{(owner "db").Address}} {{hostport (owner "db") 3306}}`, site(), "db1 10.0.0.13 10.0.0.13:3306"},
		"nodes":            {`{{range nodes}}{{.Name}}={{.Alive}} {{end}}`, with(func(v *View) { v.Nodes[1].Alive = false }), "db1=true web1=false web2=true "},
		"alive":            {`{{range alive}}{{.Name}} {{end}}`, with(func(v *View) { v.Nodes[1].Alive = false }), "db1 web2 "},
		"asked of a node":  {`{{range nodes}}{{if .Healthy "apache"}}{{.Name}} {{end}}{{end}}none`, with(func(v *View) { v.Nodes[1].Alive = false; v.Nodes[2].Alive = false }), "none"},
		"self, cluster":    {`{{self.Name}} of {{cluster}}`, site(), "db1 of shop"},
		"groups":           {`{{range groups}}{{.Name}}:{{.Owner}}{{range .Addresses}} {{.}}{{end}};{{end}}`, site(), "db:db1 10.0.0.60;web:web1 10.0.0.50 fd00::50;"},
		"group":            {`{{with group "web"}}{{index .Addresses 0}} at {{.Owner}}{{end}}`, site(), "10.0.0.50 at web1"},
		"nobody's group":   {`{{(group "web").Owner | printf "%q"}}`, with(func(v *View) { v.Groups[1].Owner = "" }), `""`},
		"hostport of text": {`{{hostport "db.example" 3306}}`, site(), "db.example:3306"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(Outcome{Content: tt.want}, render(t, tt.source, tt.view)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotWritten(t *testing.T) {
	none := func(v *View) { v.Nodes[1].Checks["apache"], v.Nodes[2].Checks["apache"] = Failing, Failing }
	for name, tt := range map[string]struct {
		source     string
		view       View
		wait, held string
	}{
		"an empty list":         {"upstream shop {\n" + upstreams + "}", with(none), "", "no node passes check apache"},
		"beside a full one":     {`{{range healthy "cache"}}{{.Name}}{{end}}` + upstreams, with(none), "", "no node passes check apache"},
		"two empty lists":       {upstreams + upstreams + `{{range healthy "mysql"}}{{end}}`, with(func(v *View) { none(v); v.Nodes[0].Alive = false }), "", "no node passes check apache; no node passes check mysql"},
		"only asked for":        {`{{len (healthy "apache")}}`, with(none), "", "no node passes check apache"},
		"nobody's address":      {`{{(owner "web").Address}}`, with(func(v *View) { v.Groups[1].Owner = "" }), "", "nobody owns web"},
		"nothing at all":        {`{{range nodes}}{{end}}` + "\n ", site(), "", "the template makes an empty file of the present state"},
		"cut off":               {upstreams, with(func(v *View) { v.Heard = 1 }), "", "this node hears 1 of 3 voters: it may be cut off itself"},
		"just a majority":       {upstreams, with(func(v *View) { v.Heard = 2 }), "", ""},
		"in doubt":              {upstreams, with(func(v *View) { v.Heard, v.Doubt = 2, true }), "a node went down: the others are asked whether this one is cut off", ""},
		"cut off goes first":    {upstreams, with(func(v *View) { v.Heard, v.Doubt = 1, true; none(v) }), "", "this node hears 1 of 3 voters: it may be cut off itself"},
		"starting":              {upstreams, with(func(v *View) { v.Waiting = []string{"web1", "web2"}; v.Heard = 1 }), "the agent has just come, and has not heard all from web1, web2", ""},
		"the empty list, later": {upstreams, with(func(v *View) { v.Waiting = []string{"web1"}; none(v) }), "the agent has just come, and has not heard all from web1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := render(t, tt.source, tt.view)
			if o.Wait != tt.wait || o.Held != tt.held || o.Err != nil {
				t.Errorf("%+v, want wait %q, held %q", o, tt.wait, tt.held)
			}
		})
	}
}

func TestBrokenTemplates(t *testing.T) {
	for name, tt := range map[string]struct{ source, want string }{
		"no such function":  {`{{health "apache"}}`, `t:1: function "health" not defined`},
		"not closed":        {`{{range healthy "apache"}}`, "unexpected EOF"},
		"no such check":     {`{{range healthy "apach"}}{{end}}`, `no check "apach"; there is apache, cache, mysql`},
		"asked of a node":   {`{{(self).Healthy "apach"}}`, `no check "apach"; there is`},
		"no such group":     {`{{owner "wbe"}}`, `no group "wbe"; there is db, web`},
		"no such field":     {`{{self.Adress}}`, "can't evaluate field Adress"},
		"of nobody":         {`{{(owner "web").Healthy "apach"}}`, `no check "apach"`},
		"no port":           {`{{hostport self 0}}`, "0 is not a port"},
		"no host":           {`{{hostport 1 80}}`, "neither a node nor an address"},
		"too long":          {strings.Repeat("x", MaxSource+1), "at most 262144"},
		"makes too much":    {`{{range 200000}}0123456789{{end}}`, "makes more than 1048576 bytes"},
		"a list as a value": {`{{index (healthy "apache") 7}}`, "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, err := Parse("t", tt.source)
			if err == nil {
				o := tmpl.Render(with(func(v *View) { v.Groups[1].Owner = "" }))
				if err = o.Err; o.Content != "" {
					t.Errorf("content %.40q beside an error", o.Content)
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// The order of what a View was made of does not show: the same state is the same file on every node.
func TestRenderIsStable(t *testing.T) {
	source := `{{range nodes}}{{.Name}} {{end}}{{range groups}}{{.Name}} {{end}}` + upstreams
	want := render(t, source, site())
	tmpl, err := Parse("t", source)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if diff := cmp.Diff(want, tmpl.Render(site())); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}

func TestAfter(t *testing.T) {
	restarted := with(func(v *View) { v.Nodes[1].Checks["apache"] = Unknown })
	for name, tt := range map[string]struct {
		last, now View
		want      Health
	}{
		"a restart keeps":        {site(), restarted, Passing},
		"and keeps a failure":    {with(func(v *View) { v.Nodes[1].Checks["apache"] = Failing }), restarted, Failing},
		"a boot does not":        {site(), with(func(v *View) { v.Nodes[1].Checks["apache"] = Unknown; v.Nodes[1].Run = "web1-2" }), Unknown},
		"nor one who was down":   {with(func(v *View) { v.Nodes[1].Alive = false }), restarted, Unknown},
		"nor one who is down":    {site(), with(func(v *View) { v.Nodes[1].Checks["apache"] = Unknown; v.Nodes[1].Alive = false }), Unknown},
		"what is known is known": {with(func(v *View) { v.Nodes[1].Checks["apache"] = Failing }), site(), Passing},
		"a new check":            {with(func(v *View) { delete(v.Nodes[1].Checks, "apache") }), restarted, Unknown},
		"the first view":         {View{}, restarted, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			before := fmt.Sprint(tt.now)
			if got := tt.now.After(tt.last).Nodes[1].Checks["apache"]; got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if fmt.Sprint(tt.now) != before {
				t.Error("After has changed the view that it was given")
			}
		})
	}
}

func TestEqual(t *testing.T) {
	for name, edit := range map[string]func(*View){
		"cluster": func(v *View) { v.Cluster = "x" }, "self": func(v *View) { v.Self = "x" }, "heard": func(v *View) { v.Heard-- },
		"needed": func(v *View) { v.Needed++ }, "voters": func(v *View) { v.Voters++ }, "doubt": func(v *View) { v.Doubt = true },
		"waiting": func(v *View) { v.Waiting = []string{"web1"} }, "checks": func(v *View) { v.Checks = v.Checks[1:] },
		"alive": func(v *View) { v.Nodes[0].Alive = false }, "maintenance": func(v *View) { v.Nodes[0].Maintenance = true },
		"health": func(v *View) { v.Nodes[0].Checks["mysql"] = Failing }, "run": func(v *View) { v.Nodes[0].Run = "x" },
		"address": func(v *View) { v.Nodes[0].Address = netip.IPv6Loopback() }, "node": func(v *View) { v.Nodes = v.Nodes[1:] },
		"owner": func(v *View) { v.Groups[0].Owner = "x" }, "floating": func(v *View) { v.Groups[0].Addresses = nil },
	} {
		if with(edit).Equal(site()) {
			t.Errorf("%s: the difference does not show", name)
		}
	}
	if !site().Equal(site()) {
		t.Error("a view is not equal to itself")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(upstreams)
	f.Add(`{{with owner "db"}}{{hostport . 1}}{{end}}{{range $i, $n := alive}}{{$n.Healthy "cache"}}{{end}}`)
	f.Fuzz(func(t *testing.T, source string) {
		if strings.Contains(source, "range") && strings.ContainsAny(source, "0123456789") {
			return // over a number it takes as long as that is large
		}
		tmpl, err := Parse("t", source)
		if err != nil {
			return
		}
		o := tmpl.Render(site())
		if len(o.Content) > MaxContent || o.Err != nil && o.Content != "" {
			t.Errorf("%d bytes, %v", len(o.Content), o.Err)
		}
	})
}
