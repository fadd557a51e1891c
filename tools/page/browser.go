package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/hbagent/hbagent/internal/web"
)

// programEnv names another browser than /usr/bin/chromium.
const programEnv = "HBAGENT_TEST_CHROMIUM"

func browserProgram() string { return cmp.Or(os.Getenv(programEnv), "chromium") }

// newBrowser starts a headless Chromium that ends with ctx or by cancel. It looks nothing up outside.
func newBrowser(ctx context.Context, dir string) (context.Context, context.CancelFunc) {
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browserProgram()), chromedp.UserDataDir(dir),
		chromedp.NoSandbox, // as root it has none; the pages are our own
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-pings", true), chromedp.Flag("disable-features", "Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider"),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	)
	alloc, stop := chromedp.NewExecAllocator(ctx, opts...)
	browser, cancel := chromedp.NewContext(alloc)
	return browser, func() { cancel(); stop() }
}

// serve serves a page until ctx ends; ended is closed then. An address that is not valid is a free port of this machine.
func serve(ctx context.Context, a web.Agent, zone *time.Location, at netip.AddrPort) (url string, ended <-chan struct{}, err error) {
	done := make(chan struct{})
	if !at.IsValid() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			close(done)
			return "", done, err
		}
		at = l.Addr().(*net.TCPAddr).AddrPort()
		l.Close() // the page binds it by itself
	}
	s := web.New(web.Options{Agent: a, Zone: zone, Listen: []netip.AddrPort{at}, Metrics: http.NotFoundHandler()})
	go func() {
		defer close(done)
		_ = s.Run(ctx) // it never fails
	}()
	url = fmt.Sprintf("http://%s/", at)
	for {
		resp, err := http.Get(url + "healthz")
		if err == nil {
			resp.Body.Close()
			return url, done, nil
		}
		select {
		case <-ctx.Done():
			return "", done, fmt.Errorf("the page does not come up: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// show makes a tab one of a size and a colour scheme.
func show(tab context.Context, scheme string, width, height int64) error {
	_, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		return err
	}
	return chromedp.Do(tab, chromedp.EmulateViewport(width, height))
}
