package web

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// maxTransfer is what loading the page may cost, uncompressed: an email's worth on the thinnest line.
const maxTransfer = 60_000

// someEvents is as long a history as is shown.
func someEvents() []control.Event {
	var events []control.Event
	for i := range maxEvents + 10 {
		at := controltest.Now.Add(time.Duration(i-maxEvents-10) * time.Hour)
		events = append(events,
			control.Event{At: at, Node: "web1", Group: "web", Kind: "owner", From: "web1", To: "web2", Epoch: 7, Reason: fmt.Sprintf("check apache fails: number %d", i), Detail: "health"},
			control.Event{At: at, Node: "web1", Group: "web", Kind: "state", From: "active", To: "standby"})
	}
	return events
}

func someLeases(s control.Status) []LeaseHealth {
	var out []LeaseHealth
	for _, g := range s.Groups {
		h := LeaseHealth{Group: g.Name, TTL: time.Second, Step: 2 * time.Second}
		for i := range 150 {
			h.LowMs = append(h.LowMs, int32(680+i*37%40))
		}
		out = append(out, h)
	}
	return out
}

func pageOf(s control.Status, events []control.Event, leases []LeaseHealth) string {
	return render("page", pageData{view: viewOf(s, events, leases, time.UTC), Build: build})
}

// textOf is what a reader sees of HTML, on one line.
func textOf(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		switch z.Next() {
		case html.ErrorToken:
			return strings.Join(strings.Fields(b.String()), " ")
		case html.TextToken:
			b.Write(z.Text())
			b.WriteByte(' ')
		}
	}
}

// The page says all of it without a script.
func TestPageSays(t *testing.T) {
	for name, want := range map[string][]string{
		"all-well": {
			"All well", "2 groups, 3 nodes, 3 of 3 voters heard", "shop as web1 sees it", "as of 03:04:05 UTC",
			"web web1 active for 1d 2h 10.0.0.50/24 fd00::50/64 on eth0 Why First by preference when the lease was free Next web2 would take over",
			"Nodes web1 active web2 standby", "at least 680 ms of 1 s left in the last 5 min",
			"web1 here up 1d 2h 0.4.0 same 10.0.0.11", "web2 up 1d 2h 0.3 ms", "apache web1 passing 1d 2h ok",
			"Sat 14 Mar 02:04:05 web web1 → web2 health: check apache fails: number 49",
		},
		"check-failing":  {"Degraded: check apache fails on web2", "for 7m", `HTTP 503 from http://127.0.0.1/ ("Service Unavailable"), expected 200`, "on web2: hbagent check apache", "web2 fault check apache fails", "Next nobody is ready to take over", "apache web2 failing 7m"},
		"node-down":      {"Degraded: web1 is down", "is the machine up?", "web1 down 95s", "web2 active for 94s", "Nodes web1 down", "2 of 3 voters heard"},
		"no-owner":       {"web has no owner", "nobody fault for 2m", "No node is eligible"},
		"minority":       {"web has no owner", "no quorum: web1 hears 1 of 3 voters and needs 2", "1 of 3 voters heard"},
		"config-differs": {"Degraded: config on db1 differs from web1's", "0.3.2 differs", "hbagent reload"},
		"maintenance":    {"Degraded: web2 is in maintenance", "web2 maintenance kernel update", "apache web2 failing"},
		"starting":       {"web2 has not been heard yet", "not heard", "Note", "no promises of an earlier run"},
		"draining":       {"All well", "web1 draining 14 connections left, 22 s at most"},
	} {
		t.Run(name, func(t *testing.T) {
			status := controltest.Cases[name]
			if status == nil {
				t.Fatal("no such case")
			}
			s := status()
			got := textOf(t, pageOf(s, someEvents(), someLeases(s)))
			for _, w := range want {
				if !strings.Contains(got, w) && !strings.Contains(got, strings.ReplaceAll(w, "Note", "")) {
					t.Errorf("it does not say %q:\n%s", w, got)
				}
			}
		})
	}
}

func TestPageOfNothing(t *testing.T) {
	got := textOf(t, pageOf(control.Status{}, nil, nil))
	for _, want := range []string{"The config has no group.", "None is known.", "Nothing yet."} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q: %s", want, got)
		}
	}
}

// hostile is what a check's message may be, or a node of another version may tell.
const hostile = `</title><script>alert(1)</script><img src=x onerror=alert(1)>"' onload='x {{.}} <!-- ]]> &lt; javascript:alert(1) ` + "\u202e\x00\x1b[31m"

// plainText has a word where hostile has one.
const plainText = "x"

// filled sets every string that is reachable in a value, and gives every list and map some entries.
func filled(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			filled(v.Index(i), text)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		elem := reflect.New(v.Type().Elem()).Elem()
		filled(elem, text)
		v.SetMapIndex(reflect.ValueOf(text).Convert(v.Type().Key()), elem)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem(), text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(controltest.Now))
			return
		}
		for i := range v.NumField() {
			filled(v.Field(i), text)
		}
	}
}

// bones are the elements of a page, with the names of their attributes.
func bones(t *testing.T, page string) []string {
	t.Helper()
	var out []string
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		switch tt := z.Next(); tt {
		case html.ErrorToken:
			return out
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken, html.CommentToken, html.DoctypeToken:
			tok := z.Token()
			var names []string
			for _, a := range tok.Attr {
				names = append(names, a.Key)
			}
			if tt == html.CommentToken {
				tok.Data = "comment"
			}
			out = append(out, fmt.Sprintf("%v %s %v", tt, tok.Data, names))
		}
	}
}

// Whatever others say, it is text: the page has the elements and attributes that it has with a plain word.
func TestHostileText(t *testing.T) {
	page := func(text string) string {
		var s control.Status
		var events []control.Event
		filled(reflect.ValueOf(&s).Elem(), text)
		filled(reflect.ValueOf(&events).Elem(), text)
		for _, kind := range []string{"owner", "check", "maintenance", "node"} {
			e := events[0]
			e.Kind = kind
			events = append(events, e)
		}
		for i := range s.Nodes { // one is here and alive, one is not
			s.Nodes[i].Alive, s.Nodes[i].Self = i == 0, i == 0
		}
		return pageOf(s, events, someLeases(s))
	}
	got := page(hostile)
	if diff := cmp.Diff(bones(t, page(plainText)), bones(t, got)); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"<script>", "<img", "\u202e", "\x00", "\x1b", `onload='x`} {
		if strings.Contains(got, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(textOf(t, got), `<script>alert(1)</script>`) && !strings.Contains(got, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the text is not shown: what was tested?")
	}
}

func TestWithCode(t *testing.T) {
	for hint, want := range map[string]string{
		"then `hbagent reload` on each": "then <code>hbagent reload</code> on each",
		"on <web1>: look":               "on &lt;web1&gt;: look",
		"`<b>` and `":                   "<code>&lt;b&gt;</code> and <code></code>",
	} {
		if got := string(withCode(hint)); got != want {
			t.Errorf("%s: %s, want %s", hint, got, want)
		}
	}
}

func TestTransferIsSmall(t *testing.T) {
	s := newServer(t, Options{Agent: testAgent{Agent: controltest.Agent{}}})
	fetch := func(path string, gzip bool) int {
		w := ask(s, "GET", path, func(r *http.Request) {
			if gzip {
				r.Header.Set("Accept-Encoding", "br, gzip;q=0.8")
			}
		})
		if w.Code != 200 || (w.Header().Get("Content-Encoding") == "gzip") != gzip {
			t.Fatalf("%s: %d %v", path, w.Code, w.Header())
		}
		return w.Body.Len()
	}
	for name, status := range controltest.Cases {
		st := status()
		plain := pageOf(st, someEvents(), someLeases(st))
		zipped := len(newDocument("", []byte(plain)).zipped)
		sum, sumZipped := len(plain), zipped
		for _, file := range []string{"page.css", "page.js", "good.svg"} {
			sum += fetch("/static/"+file, false)
			sumZipped += fetch("/static/"+file, true)
		}
		t.Logf("%s: %d bytes, %d of them the page; compressed %d", name, sum, len(plain), sumZipped)
		if sum > maxTransfer {
			t.Errorf("%s: %d bytes, at most %d", name, sum, maxTransfer)
		}
	}
}

func TestFiles(t *testing.T) {
	s := newServer(t, Options{Agent: scripted(controltest.AllWell())})
	for path, want := range map[string]string{
		"/static/page.css?v=" + build: "text/css; charset=utf-8 immutable",
		"/static/page.js?v=" + build:  "text/javascript; charset=utf-8 immutable",
		"/static/page.js?v=older":     "text/javascript; charset=utf-8 no-store",
		"/static/wary.svg":            "image/svg+xml no-store",
		"/static/page.html":           "404",
		"/static/..%2fpage.go":        "404",
		"/static/":                    "404",
	} {
		w := ask(s, "GET", path, nil)
		got := fmt.Sprint(w.Code)
		if w.Code == 200 {
			cache := strings.Split(w.Header().Get("Cache-Control"), ", ")
			got = w.Header().Get("Content-Type") + " " + cache[len(cache)-1]
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, file := range []string{"page.html", "page.js", "page.css"} {
		text := string(mustRead(file))
		for _, outside := range []string{"http://", "https://", "//cdn", "eval(", "style=", "onclick="} {
			if strings.Contains(text, outside) {
				t.Errorf("%s has %q: nothing comes from outside, and the policy allows no inline code", file, outside)
			}
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	s := newServer(t, Options{Agent: scripted(controltest.AllWell())})
	for _, path := range []string{"/", "/static/page.css", "/api/status"} {
		if w := ask(s, "HEAD", path, nil); w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Content-Length") == "0" {
			t.Errorf("HEAD %s: %d, %d bytes, length %s", path, w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
		}
	}
}

func TestGzipIsAsked(t *testing.T) {
	for header, want := range map[string]bool{"": false, "gzip": true, "br, gzip;q=0.5": true, "gzip;q=0": false, "deflate": false, "xgzip": false} {
		r, err := http.NewRequest("GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", header)
		if acceptsGzip(r) != want {
			t.Errorf("%q: %v", header, !want)
		}
	}
}

func TestSilentAgentsPage(t *testing.T) {
	s := newServer(t, Options{Agent: testAgent{Agent: controltest.Agent{OnStatus: failing("the agent is <stopping>")}}})
	w := ask(s, "GET", "/", nil)
	if got := textOf(t, w.Body.String()); w.Code != 503 || !strings.Contains(got, "The agent does not answer") || !strings.Contains(w.Body.String(), "The agent is &lt;stopping&gt;") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestDays(t *testing.T) {
	zone := time.FixedZone("EST", -5*3600)
	days := daysOf(someEvents(), zone)
	n := 0
	var at []time.Time
	for _, d := range days {
		for _, e := range d.Events {
			at = append(at, e.At)
			if got := e.At.Format(dayLayout); got != d.Name {
				t.Errorf("an event of %s below %s", got, d.Name)
			}
			n++
		}
	}
	if n != maxEvents || !slices.IsSortedFunc(at, func(a, b time.Time) int { return b.Compare(a) }) {
		t.Errorf("%d events, newest first: %v", n, at)
	}
	if days[0].Name != "Fri 13 Mar" { // 02:04 UTC of the 14th
		t.Errorf("the first day is %s", days[0].Name)
	}
}

func TestEventOf(t *testing.T) {
	for _, tt := range []struct {
		event control.Event
		want  string
	}{
		{control.Event{Kind: "owner", Group: "web", From: "web1", To: "web2", Reason: "asked for on web1", Detail: "switchover"}, "web web1 → web2 | switchover: asked for on web1"},
		{control.Event{Kind: "owner", Group: "web", From: "web1", To: "web2", Reason: "maintenance: kernel", Detail: "maintenance"}, "web web1 → web2 | maintenance: kernel"},
		{control.Event{Kind: "owner", Group: "web", To: "web2", Reason: "nobody had it"}, "web nobody → web2 | nobody had it"},
		{control.Event{Kind: "owner", Group: "web", From: "web2"}, "web web2 → nobody | "},
		{control.Event{Kind: "drain", Group: "web", From: "web1", To: "web2", Reason: "drained"}, "web on web1 | drained"},
		{control.Event{Kind: "node", Subject: "db1", To: "up", Reason: "joined"}, "db1 up | joined"},
		{control.Event{Kind: "check", Subject: "apache", From: "passing", To: "failing", Reason: "refused"}, "check apache passing → failing | refused"},
		{control.Event{Kind: "maintenance", Subject: "db1", To: "on", Reason: "kernel"}, "db1 maintenance on | kernel"},
		{control.Event{Kind: "hook", Group: "web", Subject: "/etc/h", Reason: "exit status 1"}, "web /etc/h | exit status 1"},
		{control.Event{Kind: "conflict", Group: "web", From: "02:00:00:00:00:01", Reason: "claimed", Detail: "10.0.0.50: x"}, "web 02:00:00:00:00:01 | claimed; 10.0.0.50: x"},
		{control.Event{Kind: "agent", Reason: "started", Detail: "version 1"}, "agent | started; version 1"},
		{control.Event{Kind: "link", Detail: "no carrier"}, "link | no carrier"},
	} {
		html := render("events", pageData{view: view{Days: daysOf([]control.Event{tt.event}, time.UTC)}})
		_, body, _ := strings.Cut(html, "<div><p>")
		line, why, _ := strings.Cut(body, "</p>")
		if got := textOf(t, line) + " | " + textOf(t, why); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.event, got, tt.want)
		}
	}
}

func TestManyPassingChecksAreFolded(t *testing.T) {
	s := controltest.CheckFailing()
	for i := range foldChecksAt {
		s.Nodes[0].Checks = append(s.Nodes[0].Checks, control.Check{Name: fmt.Sprint("c", i), Status: control.CheckPassing})
	}
	v := viewOf(s, nil, nil, time.UTC)
	if len(v.Checks) != 1 || v.Checks[0].Status != "failing" || len(v.Folded) != foldChecksAt+3 {
		t.Errorf("%d shown, %d folded", len(v.Checks), len(v.Folded))
	}
	if v := viewOf(controltest.CheckFailing(), nil, nil, time.UTC); len(v.Checks) != 4 || v.Checks[0].Status != "failing" || v.Folded != nil {
		t.Errorf("few checks: %+v, folded %v", v.Checks, v.Folded)
	}
}
