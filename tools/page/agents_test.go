package main

import (
	"context"
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// into forwards a port of this machine into one of a machine of the lab, as `ssh -L` would.
func into(t *testing.T, n *lab.Node, port string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var d net.Conn
				if err := n.Do(func() (err error) { d, err = net.DialTimeout("tcp", "127.0.0.1:"+port, patience); return err }); err != nil {
					return
				}
				defer d.Close()
				go func() { _, _ = io.Copy(d, c); d.Close() }()
				_, _ = io.Copy(c, d)
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/"
}

// Three real agents: a planned move is seen in the browser as it happens, and so is the agent's end.
func TestRealAgents(t *testing.T) {
	t.Parallel()
	w := labtest.New(t, lab.Options{})
	web1 := w.Node("web1")
	page := into(t, web1, "9746")
	p := newTab(t, "light", 1200, 900)
	p.lossy = true

	c := w.Config()
	c.HTTP = &lab.HTTPConfig{Listen: []string{"127.0.0.1:9746"}}
	c.Groups = []lab.GroupConfig{w.WebGroup("web1", "web2")}
	must(t, w.WriteConfig(c))
	ctx := labtest.Within(t, 2*patience)
	must(t, w.StartAgents(ctx))
	must(t, w.WaitEligible(ctx, "web", "web1", "web2"))
	owner, err := w.WaitAnyOwner(ctx, "web", "web1", "web2")
	must(t, err)
	other := map[string]string{"web1": "web2", "web2": "web1"}[owner]

	p.open(page)
	p.until(`document.querySelector("h1").innerText.trim() === "All well"`)
	p.says("lab as web1 sees it", "10.77.0.50/24", other+" would take over")
	p.until(`document.querySelector(".owner strong").innerText === "` + owner + `"`)
	p.until(`document.querySelector(".plot .line")?.getAttribute("d").length > 3`)

	began := time.Now()
	verb(t, ctx, web1, "switchover", "web", "--to", other)
	done := time.Now()
	p.until(`document.querySelector(".owner strong").innerText === "` + other + `"`)
	t.Logf("switchover: the command took %v, and the page shows it %v after its end", done.Sub(began).Round(time.Millisecond), time.Since(done).Round(time.Millisecond))
	p.until(`document.querySelector("#events li.move")?.innerText.includes("` + owner + ` → ` + other + `")`)
	p.says("switchover: asked for on web1")

	must(t, web1.KillAgent())
	p.until(`document.documentElement.classList.contains("lost")`)
	must(t, web1.StartAgent(ctx))
	p.until(`document.documentElement.classList.contains("live")`)
}

// verb runs a command of hbagent on a node.
func verb(t *testing.T, ctx context.Context, n *lab.Node, args ...string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "hbagent"
	if out, err := n.Output(ctx, cmd); err != nil {
		t.Fatalf("hbagent %v: %v\n%s", args, err, out)
	}
}
