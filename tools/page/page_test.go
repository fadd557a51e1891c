package main

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

const (
	maxTransfer = 60_000 // bytes that the browser loads
	// maxFirstPaint is a ceiling that a crowded machine keeps; what is aimed at is aimFirstPaint.
	maxFirstPaint = 5 * time.Second
	aimFirstPaint = 200 * time.Millisecond
)

// anyPort leaves the choice to the kernel.
var anyPort netip.AddrPort

// crowded is a site that is larger than the page was drawn for, with long words in it.
func crowded() control.Status {
	s := controltest.CheckFailing()
	long := strings.Repeat("averylongwordwithoutaspace", 12)
	s.Groups[0].Reason, s.Nodes[1].Checks[0].Message = long, long+` <b onmouseover="alert(1)">`
	s.Warnings = []string{long}
	for i := range 12 {
		g := s.Groups[0]
		g.Name = fmt.Sprintf("group-%02d", i)
		s.Groups = append(s.Groups, g)
		s.Nodes[0].Checks = append(s.Nodes[0].Checks, control.Check{Name: fmt.Sprintf("check-%02d", i), Type: "tcp", Status: control.CheckPassing, Since: controltest.Now})
	}
	return s
}

// axeResult is what axe-core answers.
type axeResult struct {
	Violations []struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML, FailureSummary string
		}
	}
	Passes int
}

// axe looks at the page as it is, and reports what keeps people out.
func (p *tab) axe(what string) {
	p.t.Helper()
	got := eval[axeResult](p, `axe.run(document).then(r => ({violations: r.violations, passes: r.passes.length}))`)
	if got.Passes < 10 {
		p.t.Errorf("%s: axe looked at %d rules only", what, got.Passes)
	}
	for _, v := range got.Violations {
		for _, n := range v.Nodes {
			text := fmt.Sprintf("%s: %s (%s): %s\n%s\n%s", what, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
			if v.Impact == "serious" || v.Impact == "critical" {
				p.t.Error(text)
			} else {
				p.t.Log(text)
			}
		}
	}
}

func axeSource(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(axeFile)
	if os.IsNotExist(err) {
		labtest.Skip(t, "axe-core: npm ci in tools/page")
	}
	must(t, err)
	return string(b)
}

// Nothing keeps anybody out: in every mood of the site, in both schemes, on a desk and in a hand.
func TestAccessible(t *testing.T) {
	t.Parallel()
	source := axeSource(t)
	moods := map[string]func() control.Status{
		"all well": controltest.AllWell, "degraded": controltest.CheckFailing, "no owner": controltest.NoOwner,
		"maintenance": controltest.Maintenance, "starting": controltest.Starting, "draining": controltest.Draining, "crowded": crowded,
	}
	for name, mood := range moods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := serveTest(t, newScene(mood()), anyPort)
			p := newTab(t, "light", 1200, 900)
			p.open(url)
			eval[struct{}](p, source+`;({})`)
			for _, look := range []struct {
				scheme string
				width  int64
			}{{"light", 1200}, {"dark", 1200}, {"light", 320}, {"dark", 320}} {
				must(t, show(p, look.scheme, look.width, 900))
				p.axe(fmt.Sprintf("%s, %d px", look.scheme, look.width))
				if wide := eval[int64](p, `document.documentElement.scrollWidth`); wide > look.width {
					t.Errorf("%s: %d px wide on a screen of %d", look.scheme, wide, look.width)
				}
			}
		})
	}
}

// The page is complete without a script, and says that it does not count on.
func TestWithoutScript(t *testing.T) {
	t.Parallel()
	url, _ := serveTest(t, newScene(controltest.CheckFailing()), anyPort)
	p := newTab(t, "light", 320, 640)
	_, err := chromedp.Call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	must(t, err)
	p.do(chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS("h1")))
	text, err := chromedp.Run(p, chromedp.Text(chromedp.CSS("body")))
	must(t, err)
	text = strings.Join(strings.Fields(text), " ")
	for _, want := range []string{"Degraded: check apache fails on web2", "as of", "web1", "10.0.0.50/24", "HTTP 503", "db web2 → db1", "switchover: asked for on db1", "Reload"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q: %s", want, text)
		}
	}
	if strings.Contains(text, " live ") {
		t.Error("it says that it is live")
	}
}

// What has changed comes by itself, and nothing else does: what is folded out, selected and focused stays.
func TestLive(t *testing.T) {
	t.Parallel()
	a := newScene(crowded())
	url, _ := serveTest(t, a, anyPort)
	p := newTab(t, "light", 1200, 900)
	p.open(url)
	p.says("Degraded: check apache fails on web2")
	eval[struct{}](p, `(window.mark = 1, document.querySelector("#checks summary").click(), document.querySelector("#checks summary").focus(),
		getSelection().selectAllChildren(document.querySelector("#nodes tbody th")), {})`)
	a.set(func(a *scene) {
		a.status = moved(controltest.NoOwner(), time.Since(controltest.Now))
		a.status.Nodes[0].Checks = append(a.status.Nodes[0].Checks, moved(crowded(), 0).Nodes[0].Checks...)
	}, control.Event{Kind: "owner", Group: "web", From: "web1", Reason: "no node is eligible"})
	p.until(`document.querySelector("h1").innerText.trim() === "web has no owner"`)
	p.until(`document.querySelector("#events li.move.fresh")?.innerText.includes("no node is eligible")`)
	p.says("nobody is ready to take over", "nobody")
	for expression, want := range map[string]string{
		`document.title`: "web has no owner · shop",
		`document.getElementById("icon").getAttribute("href")`:      "/static/bad.svg",
		`document.getElementById("say").textContent`:                "web has no owner",
		`getSelection().toString()`:                                 "web1 here",
		`document.activeElement.localName`:                          "summary",
		`String(document.querySelector("#checks details").open)`:    "true",
		`String(window.mark)`:                                       "1",
		`String(document.querySelectorAll("#groups .card").length)`: "2",
	} {
		if got := eval[string](p, expression); strings.TrimSpace(got) != want {
			t.Errorf("%s is %q, want %q", expression, got, want)
		}
	}
	// Time goes on without a word from the agent.
	was := eval[string](p, `document.querySelector("#nodes time.for").textContent`)
	a.set(func(a *scene) {
		for i := range a.status.Nodes {
			a.status.Nodes[i].Since = time.Now()
		}
	}, control.Event{Kind: "state"})
	p.until(`document.querySelector("#nodes time.for").textContent === "2s"`)
	p.until(`document.querySelector("#nodes time.for").textContent === "4s"`)
	if was == "2s" {
		t.Error("it was 2s before")
	}
}

// Where the agent goes, the page says so; where it comes back, it goes on.
func TestReconnect(t *testing.T) {
	t.Parallel()
	a := newScene(controltest.AllWell())
	url, stop := serveTest(t, a, anyPort)
	at := netip.MustParseAddrPort(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"))
	p := newTab(t, "light", 1200, 900)
	p.lossy = true
	p.open(url)
	eval[struct{}](p, `(window.mark = 1, {})`)
	stop()
	p.until(`document.documentElement.classList.contains("lost")`)
	p.says("No answer from the agent since", "what you see is as of then", "as of", "All well")
	shown := eval[string](p, `document.getElementById("clock").textContent`)
	eval[struct{}](p, axeSource(t)+`;({})`)
	p.axe("lost")
	eval[struct{}](p, `new Promise(done => setTimeout(() => done({}), 1500))`) // longer than a tick
	if now := eval[string](p, `document.getElementById("clock").textContent`); now != shown {
		t.Errorf("the clock goes on: %s, %s", shown, now)
	}
	a.set(func(a *scene) { a.status = moved(controltest.NodeDown(), time.Since(controltest.Now)) }, control.Event{Kind: "node", Subject: "web1", To: "down"})
	serveTest(t, a, at)
	p.until(`document.documentElement.classList.contains("live") && !document.documentElement.classList.contains("lost")`)
	p.until(`document.querySelector("h1").innerText.includes("web1 is down")`)
	if eval[string](p, `String(window.mark)`) != "1" {
		t.Error("the page was loaded anew")
	}
	// A server whose agent behind it does not answer is no better than none.
	a.set(func(a *scene) { a.err = context.DeadlineExceeded }, control.Event{Kind: "agent"})
	p.until(`document.documentElement.classList.contains("lost")`)
	a.set(func(a *scene) { a.err = nil }, control.Event{Kind: "agent"})
	p.until(`document.documentElement.classList.contains("live")`)
}

// Everything that can be used is reached by the keyboard, in the order of the page, and is seen to be.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	url, _ := serveTest(t, newScene(crowded()), anyPort)
	for _, scheme := range []string{"light", "dark"} {
		p := newTab(t, scheme, 1200, 900)
		p.open(url)
		var stops []string
		for range 8 {
			p.do(chromedp.KeyEvent(kb.Tab))
			at := eval[struct{ Name, Outline string }](p, `(e => ({name: e.innerText.trim(), outline: getComputedStyle(e).outlineStyle + " " + getComputedStyle(e).outlineWidth}))(document.activeElement)`)
			if eval[bool](p, `document.activeElement === document.body`) {
				break
			}
			if at.Outline != "solid 2px" {
				t.Errorf("%s: the focus on %q is not seen: outline %s", scheme, at.Name, at.Outline)
			}
			if at.Name == "15 checks pass" {
				p.do(chromedp.KeyEvent(kb.Enter))
				p.until(`document.querySelector("#checks details").open`)
			}
			stops = append(stops, at.Name)
		}
		if want := []string{"15 checks pass", "Reload", "JSON", "Metrics"}; !slices.Equal(stops, want) {
			t.Errorf("%s: by keyboard one reaches %q, want %q", scheme, stops, want)
		}
	}
}

// What a screen reader tells of the page's structure.
func TestStructure(t *testing.T) {
	t.Parallel()
	url, _ := serveTest(t, newScene(controltest.NoOwner()), anyPort)
	p := newTab(t, "light", 320, 900) // where tables are drawn as blocks, and must still be tables
	p.open(url)
	for expression, want := range map[string]string{
		`[...document.querySelectorAll("h1,h2")].map(h => h.innerText.trim()).join("|")`:                          "web has no owner|Groups|Nodes|Checks|What happened",
		`[...document.querySelectorAll("header,main,footer")].map(e => e.localName).join()`:                       "header,main,footer",
		`[...document.querySelectorAll("[role=status]")].map(e => e.id).join()`:                                   "say",
		`document.querySelectorAll("table:not([role=table]), tr:not([role=row]), td:not([role=cell])").length+""`: "0",
		`document.querySelectorAll("th:not([scope])").length+""`:                                                  "0",
		`document.documentElement.lang`:                                                                           "en",
		// A colour never stands alone: each has a sign, and a word beside it.
		`[...document.querySelectorAll(".state")].filter(e => !e.querySelector("svg use") || !e.innerText.trim()).length+""`: "0",
	} {
		if got := eval[string](p, expression); got != want {
			t.Errorf("%s is %q, want %q", expression, got, want)
		}
	}
}

// Text of others is text, whatever it looks like: the page of a scripted site that is out to do harm.
func TestHostileTextIsShown(t *testing.T) {
	t.Parallel()
	s := crowded()
	evil := `</script><script>document.title="owned"</script><img src=x onerror="document.title='owned'">`
	s.Cluster, s.Groups[0].Reason, s.Nodes[0].Checks[0].Message, s.Nodes[1].Maintenance = evil, evil, evil, evil
	a := newScene(s)
	url, _ := serveTest(t, a, anyPort)
	p := newTab(t, "light", 1200, 900)
	p.open(url)
	a.set(func(a *scene) { a.status.Groups[1].Reason = evil }, control.Event{Kind: "owner", Group: evil, From: evil, To: evil, Reason: evil})
	p.until(`document.querySelector("#events .fresh")`)
	p.says(`<img src=x onerror=`)
	if n := eval[int](p, `document.querySelectorAll("img, body script").length`); n != 0 {
		t.Errorf("%d elements of theirs", n)
	}
	if title := eval[string](p, `document.title`); title == "owned" {
		t.Error("their script has run")
	}
}

// Loading costs little: few requests, all to the agent, few bytes, and soon something to read.
func TestLoading(t *testing.T) {
	url, _ := serveTest(t, newScene(controltest.AllWell()), anyPort)
	p := newTab(t, "light", 1200, 900)
	_, err := chromedp.Call(p, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true})
	must(t, err)
	type load struct {
		Paint    float64
		Bytes    int
		Requests []string
	}
	var paints []float64
	for range 5 {
		p.open(url)
		p.until(`performance.getEntriesByName("first-contentful-paint").length > 0`)
		got := eval[load](p, `({
			paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
			bytes: performance.getEntriesByType("navigation")[0].decodedBodySize + performance.getEntriesByType("resource").reduce((n, r) => n + r.decodedBodySize, 0),
			requests: performance.getEntriesByType("resource").map(r => r.name),
		})`)
		paints = append(paints, got.Paint)
		if got.Bytes > maxTransfer || got.Bytes < 1000 {
			t.Errorf("%d bytes before compression, at most %d", got.Bytes, maxTransfer)
		}
		for _, r := range got.Requests {
			if !strings.HasPrefix(r, url) {
				t.Errorf("it loads %s", r)
			}
		}
		if n := len(got.Requests); n > 4 {
			t.Errorf("%d requests beside the page: %v", n, got.Requests)
		}
	}
	slices.Sort(paints)
	t.Logf("first paint after %.0f ms (median of %d, %.0f to %.0f); aimed at: %d ms", paints[len(paints)/2], len(paints), paints[0], paints[len(paints)-1], aimFirstPaint.Milliseconds())
	if best := time.Duration(math.Round(paints[0])) * time.Millisecond; best > maxFirstPaint {
		t.Errorf("the first paint takes %v at its best", best)
	}
}

// On paper, and for people whom motion makes ill.
func TestOtherMedia(t *testing.T) {
	t.Parallel()
	url, _ := serveTest(t, newScene(controltest.NoOwner()), anyPort)
	p := newTab(t, "dark", 1200, 900)
	p.open(url)
	_, err := chromedp.Call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	must(t, err)
	for expression, want := range map[string]string{
		`getComputedStyle(document.documentElement).backgroundColor`:   "rgb(255, 255, 255)",
		`getComputedStyle(document.querySelector("footer a")).display`: "none",
	} {
		if got := eval[string](p, expression); got != want {
			t.Errorf("on paper %s is %s, want %s", expression, got, want)
		}
	}
	pdf, err := chromedp.Run(p, chromedp.PrintToPDF())
	must(t, err)
	if len(pdf) < 10_000 {
		t.Errorf("%d bytes of PDF", len(pdf))
	}
	_, err = chromedp.Call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}})
	must(t, err)
	if got := eval[string](p, `(e => (e.classList.add("fresh"), getComputedStyle(e).animationName))(document.querySelector("#events li"))`); got != "none" {
		t.Errorf("animation %s where none is wanted", got)
	}
}
