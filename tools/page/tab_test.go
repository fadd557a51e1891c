package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/hbagent/hbagent/internal/cli"
	"github.com/hbagent/hbagent/internal/lab/labtest"
	"github.com/hbagent/hbagent/internal/web"
)

// patience is for what comes soon on any machine.
const patience = 30 * time.Second

// axeFile is put there by `npm ci` (scripts/test-page.sh).
const axeFile = "node_modules/axe-core/axe.min.js"

// browserOnce is the one browser of all tests, started by the first that needs it and stopped by TestMain.
var browserOnce struct {
	sync.Once
	ctx  context.Context
	stop func()
	err  error
}

type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	if browserOnce.stop != nil {
		browserOnce.stop()
	}
	return code
}

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(tests{m}, func(args []string) int { return cli.Main(args, os.Stdin, os.Stdout, os.Stderr) }))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sharedBrowser skips the test where there is no browser.
func sharedBrowser(t *testing.T) context.Context {
	t.Helper()
	if _, err := exec.LookPath(browserProgram()); err != nil {
		labtest.Skip(t, "Chromium: apt install chromium")
	}
	browserOnce.Do(func() {
		dir, err := os.MkdirTemp("", "hbagent-page-")
		if err != nil {
			browserOnce.err = err
			return
		}
		ctx, cancel := newBrowser(context.Background(), dir)
		browserOnce.ctx, browserOnce.stop = ctx, func() { cancel(); os.RemoveAll(dir) }
		browserOnce.err = chromedp.Do(ctx) // starts it
	})
	must(t, browserOnce.err)
	return browserOnce.ctx
}

// A tab is one page in the browser, with everything that went wrong in it.
type tab struct {
	context.Context
	t *testing.T

	mu       sync.Mutex
	troubles []string
	lossy    bool // the agent goes away in this test: that something could not be loaded is no news
}

// newTab opens an empty page of a size and a scheme, with a cache of its own. At its end the test fails if the
// page had an error: an exception, something that the policy refused, something that is not there.
func newTab(t *testing.T, scheme string, width, height int64) *tab {
	t.Helper()
	p := &tab{t: t}
	ctx, cancel := chromedp.NewContext(sharedBrowser(t), chromedp.WithNewBrowserContext(), chromedp.WithListener(p.hear))
	ctx, stop := context.WithTimeout(ctx, 4*patience)
	t.Cleanup(func() {
		stop()
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, text := range p.troubles {
			t.Errorf("the page has an error: %s", text)
		}
	})
	p.Context = ctx
	must(t, show(ctx, scheme, width, height))
	return p
}

func (p *tab) hear(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		p.troubles = append(p.troubles, fmt.Sprint(ev.ExceptionDetails.Text, " ", ev.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		if ev.Entry.Level != log.EntryLevelError || p.lossy && ev.Entry.Source == log.EntrySourceNetwork {
			return
		}
		p.troubles = append(p.troubles, ev.Entry.Text+" "+ev.Entry.URL)
	}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	must(p.t, chromedp.Do(p, actions...))
}

// open loads a page and waits until it is live.
func (p *tab) open(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
	p.until(`document.documentElement.classList.contains("live")`)
}

// until waits for an expression to be true, in the page.
func (p *tab) until(expression string) {
	p.t.Helper()
	if _, err := chromedp.Run(p, chromedp.Poll[bool]("Boolean("+expression+")", chromedp.WithPollingTimeout(patience))); err != nil {
		text, _ := chromedp.Run(p, chromedp.Evaluate[string](`document.body.innerText`))
		p.t.Fatalf("not within %v: %s: %v; the page says:\n%s", patience, expression, err, text)
	}
}

// eval asks the page for a value.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// says looks for phrases in what a person reads.
func (p *tab) says(phrases ...string) {
	p.t.Helper()
	text := strings.Join(strings.Fields(eval[string](p, `document.body.innerText`)), " ")
	for _, want := range phrases {
		if !strings.Contains(text, want) {
			p.t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
}

// serveTest serves an agent's page until the test ends or stop is called.
func serveTest(t *testing.T, a web.Agent, at netip.AddrPort) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	url, ended, err := serve(ctx, a, time.UTC, at)
	stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the server does not end")
		}
	}
	t.Cleanup(stop)
	if err != nil {
		t.Fatal(errors.Join(err, context.Cause(ctx)))
	}
	return url, stop
}
