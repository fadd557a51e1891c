// Tests of the status page in a browser, and its screenshots: a module of its own, so that the agent's does not
// depend on a browser's protocol.
module github.com/hbagent/hbagent/tools/page

go 1.26.0

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/hbagent/hbagent v0.0.0
)

require (
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/hbagent/hbagent => ../..
