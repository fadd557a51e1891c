// Command page takes the screenshots of docs/status-page.md (make screenshot). Its tests look at the page
// in a browser: what a person sees, hears and can reach by keyboard.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/control/controltest"
)

// A shot is one picture.
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
		{"status-page-light.png", controltest.AllWell, "light", 1200, 0},
		{"status-page-dark.png", controltest.NodeDown, "dark", 1200, 0},
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
	url, err := serve(ctx, newScene(s.status()), time.UTC)
	if err != nil {
		return nil, err
	}
	tab, done := chromedp.NewContext(browser)
	defer done()
	height := s.height
	if height == 0 {
		height = 800
	}
	if err := look(tab, s.scheme, s.width, height); err != nil {
		return nil, err
	}
	if err := chromedp.Do(tab, chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("html.live"))); err != nil {
		return nil, err
	}
	return chromedp.Run(tab, chromedp.FullScreenshot(100))
}
