package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Chosen by us: what the third stage of the demo promises. A takeover of the database costs the proxy's promise and
// what it takes to stop following a master that is gone (rpl_semi_sync_slave_kill_conn_timeout of a second).
const (
	promiseDatabase = promiseOwner + 2*time.Second
	promiseNginx    = 1200 * time.Millisecond // interval and fall of the example's check, and a move
	promiseWrites   = time.Second             // of a planned move of the database
	promiseTimeout  = 500 * time.Millisecond  // nginx asks the other web server after proxy_connect_timeout

	demo3Limit = 4 * time.Minute
	demo3Well  = 500 * time.Millisecond // without an error: the page is served again
)

// demo3 is a demo of the whole site: a visitor asks for a page that writes a row.
type demo3 struct {
	*demo
	site *Stage3
	page *HTTPProbe
	arps []*ARPWatch
}

// deed3 is one thing that is done to it.
type deed3 struct {
	name, text, then string
	group            string        // whose owner is shown afterwards
	promise          time.Duration // bound of the time without a page; 0: no request is lost
	do               func(context.Context) error
}

func (d *demo3) play(ctx context.Context) (err error) {
	if d.site, err = NewStage3(ctx, Stage3Options{Hbagent: d.o.Self}); err != nil {
		return fmt.Errorf("building the site: %w", err)
	}
	d.w = d.site.World
	d.report.Address = Floating4.Addr().String()
	for _, n := range d.w.Nodes() {
		m := DemoMachine{Name: n.Name, Address: n.Addr4.Addr().String(), MayOwn: !strings.HasPrefix(n.Name, "web"), Services: []DemoService{}}
		for _, s := range d.site.Services(n.Name) {
			m.Services = append(m.Services, DemoService{Name: s.Label, Real: s.Real})
		}
		d.report.Machines = append(d.report.Machines, m)
	}
	d.print.site3(&d.report)
	d.print.did(time.Since(d.began), "servers and agents start")
	if err := d.site.Start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	for _, group := range []string{"shop", "db"} {
		owner := d.owner(group)
		d.print.owns(time.Since(d.began), owner+" has "+group, owner)
	}
	if d.page, err = d.site.Page(ctx); err != nil {
		return err
	}
	d.client = d.page
	for _, floating := range []string{"shop", "db"} {
		address := Floating4.Addr()
		if floating == "db" {
			address = FloatingDB.Addr()
		}
		arp, err := d.w.WatchARP(ctx, address, 0)
		if err != nil {
			return err
		}
		d.arps = append(d.arps, arp)
	}
	d.arp = d.arps[0]
	if err := d.well(ctx); err != nil {
		return err
	}
	for _, next := range d.deeds() {
		s := next()
		if err := d.step(ctx, s); err != nil {
			return fmt.Errorf("step %s (%s): %w", s.name, s.text, err)
		}
	}
	for _, arp := range d.arps {
		if two := arp.OwnersOverlap(d.began, time.Now()); len(two) > 0 {
			return fmt.Errorf("%d ARP questions were answered by two machines, the first by %v", len(two), two[0].Nodes)
		}
	}
	return nil
}

// deeds are made when it is their turn: who owns what decides on whom they hit.
func (d *demo3) deeds() []func() deed3 {
	s := d.site
	owner := func(group string) string { return d.owner(group) }
	other := func(name string) string {
		if name == "db1" {
			return "db2"
		}
		return "db1"
	}
	return []func() deed3{
		func() deed3 {
			return deed3{"apache-killed", "Apache on web1 is killed", "nginx asks web2; web1 leaves its list", "shop", promiseTimeout,
				func(context.Context) error { return s.Apache["web1"].Kill() }}
		},
		func() deed3 {
			return deed3{"memcached-killed", "memcached on web2 is killed", "PHP's pool is without it", "shop", promiseTimeout,
				func(context.Context) error { return s.Memcached["web2"].Kill() }}
		},
		func() deed3 {
			return deed3{"services-back", "both start again", "and are in use again", "shop", promiseTimeout, func(ctx context.Context) error {
				return errors.Join(s.Apache["web1"].Start(ctx), s.Memcached["web2"].Start(ctx))
			}}
		},
		func() deed3 {
			o := owner("shop")
			return deed3{"nginx-killed", "nginx on " + o + ", the owner, is killed", "the other proxy takes over", "shop", promiseNginx,
				func(context.Context) error { return d.owned("shop", o, func() error { return s.Nginx[o].Kill() }) }}
		},
		func() deed3 {
			to := other(owner("db"))
			return deed3{"switchover", "hbagent switchover db --to " + to, to + " is the master, nothing is lost", "db", promiseWrites,
				func(ctx context.Context) error {
					_, err := d.w.Node("web1").Hbagent(ctx, "switchover", "db", "--to", to)
					return err
				}}
		},
		func() deed3 {
			o := owner("db")
			return deed3{"power-off", o + ", the master, loses its power", other(o) + " is promoted", "db", promiseDatabase,
				func(context.Context) error { return d.owned("db", o, func() error { return d.w.Node(o).PowerOff() }) }}
		},
	}
}

// owner is who has a group, by an agent that votes and owns neither.
func (d *demo3) owner(group string) string {
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	nodes := proxyNodes
	if group == "db" {
		nodes = dbNodes
	}
	name, err := d.w.WaitAnyOwner(ctx, group, nodes...)
	if err != nil {
		return "nobody"
	}
	return name
}

// owned does something to the owner of a group, if there is one.
func (d *demo3) owned(group, owner string, do func() error) error {
	if d.w.Node(owner) == nil {
		return fmt.Errorf("nobody owns %s", group)
	}
	return do()
}

func (d *demo3) step(ctx context.Context, s deed3) error {
	began := time.Now()
	d.print.did(began.Sub(d.began), s.text)
	if err := s.do(ctx); err != nil {
		return err
	}
	if err := d.well(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, d.site.Plight(context.WithoutCancel(ctx)))
	}
	owner := d.owner(s.group)
	if s.name != "power-off" { // the next step needs somebody to move to
		if err := d.w.WaitEligible(ctx, "db", dbNodes[0], dbNodes[1]); err != nil {
			return err
		}
	}
	step := d.measure(stage{name: s.name, text: s.text, owner: owner, promise: s.promise}, began, time.Now())
	step.AtMs = ms(time.Since(d.began))
	d.report.Steps = append(d.report.Steps, step)
	d.print.result(time.Since(d.began), s.then, step)
	return nil
}

// well waits until the page has been served for a while.
func (d *demo3) well(ctx context.Context) error {
	since := time.Now()
	return Poll(ctx, func() error {
		from := time.Now().Add(-demo3Well)
		if from.Before(since) {
			return errors.New("too early to say")
		}
		answers := d.page.Answers(from, time.Now())
		for _, a := range answers {
			if a.Err != nil {
				return fmt.Errorf("the page is not served: %w %s", a.Err, a.Body)
			}
		}
		if len(answers) == 0 {
			return errors.New("the page is not served")
		}
		return nil
	})
}

// site3 introduces the machines of the whole site.
func (p printer) site3(r *DemoReport) {
	fmt.Fprintf(p.out, "The site of deploy/examples/stage3 in throw-away namespaces. Nothing of this computer is touched.\n\n")
	for _, m := range r.Machines {
		var names []string
		for _, s := range m.Services {
			names = append(names, s.Name)
		}
		fmt.Fprintf(p.out, "  %-7s%-13s%s\n", m.Name, m.Address, strings.Join(names, ", "))
	}
	fmt.Fprintf(p.out, "  %-7s%-13sasks http://%s/index.php, which writes a row, every %v\n\n", "client", "", r.Address, pageEvery)
	p.row("s", "", "owner", "no page", "promise")
}
