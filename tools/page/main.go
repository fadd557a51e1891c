// Command page takes the screenshots of docs/status-page.md (make screenshot). Its tests look at the page
// in a browser: what a person sees, hears and can reach by keyboard.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// webpQuality keeps text sharp and a picture below 100 kB (chosen by us, by looking).
const webpQuality = 90

// A shot is one picture: of the whole page where it has no height.
type shot struct {
	file          string
	status        func() control.Status
	scheme        string // light or dark
	width, height int64
}

func main() {
	out := flag.String("o", ".", "directory for the pictures")
	all := flag.Bool("all", false, "every state and size, not only those of the documentation")
	flag.Parse()
	if err := run(*out, *all); err != nil {
		fmt.Fprintln(os.Stderr, "screenshot:", err)
		os.Exit(1)
	}
}

func run(out string, all bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "hbagent-page-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	browser, stop := newBrowser(ctx, dir)
	defer stop()
	shots := []shot{
		{"status-page-light.webp", controltest.AllWell, "light", 1200, 0},
		{"status-page-dark.webp", controltest.AllWell, "dark", 1200, 0},
		{"status-page-phone.webp", controltest.CheckFailing, "light", 390, 844},
	}
	if all {
		shots = nil
		for name, status := range controltest.Cases {
			shots = append(shots, shot{name + "-light.png", status, "light", 1200, 0}, shot{name + "-dark.png", status, "dark", 1200, 0},
				shot{name + "-phone.png", status, "light", 320, 0})
		}
	}
	for _, s := range shots {
		png, err := s.take(ctx, browser)
		if err == nil {
			err = os.WriteFile(filepath.Join(out, s.file), png, 0o644)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.file, err)
		}
		fmt.Printf("%s %d bytes\n", s.file, len(png))
	}
	return nil
}

func (s shot) take(ctx context.Context, browser context.Context) (png []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	url, _, err := serve(ctx, newScene(s.status()), time.UTC, netip.AddrPort{})
	if err != nil {
		return nil, err
	}
	tab, done := chromedp.NewContext(browser)
	defer done()
	height := s.height
	if height == 0 {
		height = 800
	}
	if err := show(tab, s.scheme, s.width, height); err != nil {
		return nil, err
	}
	if err := chromedp.Do(tab, chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("html.live"))); err != nil {
		return nil, err
	}
	whole := s.height == 0
	params := page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: &whole}
	if filepath.Ext(s.file) == ".webp" {
		quality := int64(webpQuality)
		params.Format, params.Quality = page.CaptureScreenshotFormatWebp, &quality
	}
	if whole {
		metrics, err := chromedp.Call(tab, page.GetLayoutMetrics, cdp.Empty{})
		if err != nil {
			return nil, err
		}
		params.Clip = &page.Viewport{Width: metrics.CSSContentSize.Width, Height: metrics.CSSContentSize.Height, Scale: 1}
	}
	got, err := chromedp.Call(tab, page.CaptureScreenshot, params)
	return got.Data, err
}
