package lab

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"time"
)

// Chosen by us: a site as section "config" of the guide has it, only that its checks look more often, so that
// the demo is short.
const (
	demoTTL      = time.Second
	demoInterval = 200 * time.Millisecond
	demoFall     = 2
	demoHold     = time.Second

	// promiseService: the failing checks, and a move that costs a few round trips and a busy machine's scheduling.
	promiseService = demoFall*demoInterval + 200*time.Millisecond
	// promiseOwner: one ttl, ±10 %.
	promiseOwner = demoTTL + demoTTL/10
	// promisePlanned: a round trip, and the scheduling of a busy machine. With a draining handover no question at
	// all is lost, and a stage without a promise says that.
	promisePlanned = 100 * time.Millisecond

	startWait = 20 * time.Second // for servers and agents to be up, on a slow machine
	moveWait  = 10 * time.Second // for an address to be where it must be
)

// demo is one run of it.
type demo struct {
	o     DemoOptions
	w     *World
	print printer
	began time.Time
	asks  string // the node whose status is shown at the end

	web    map[string]*Service // by node
	others []*Service
	mysql  *MariaDB // nil: not installed
	client *HTTPProbe
	arp    *ARPWatch
	cards  *AddressWatch
	report DemoReport
}

// build makes the site: machines, servers, config. Nothing runs yet but the servers.
func (d *demo) build(ctx context.Context) (err error) {
	if d.w, err = New(ctx, Options{Hbagent: d.o.Self}); err != nil {
		return err
	}
	if err := d.install(ctx); err != nil {
		return err
	}
	d.report.Address = Floating4.Addr().String()
	for _, n := range d.w.Nodes() {
		m := DemoMachine{Name: n.Name, Address: n.Addr4.Addr().String(), MayOwn: d.web[n.Name] != nil, Services: []DemoService{}}
		for _, s := range d.servicesOf(n) {
			m.Services = append(m.Services, DemoService{Name: s.Label, Real: s.Real})
		}
		d.report.Machines = append(d.report.Machines, m)
	}
	d.print.site(&d.report)
	if err := eachNode(d.w.Nodes(), func(n *Node) error { return d.startServices(ctx, n) }); err != nil {
		return err
	}
	return d.w.WriteConfig(d.config())
}

func (d *demo) install(ctx context.Context) error {
	d.web = make(map[string]*Service)
	for _, name := range []string{"web1", "web2"} {
		s, err := d.w.Node(name).Web()
		if err != nil {
			return err
		}
		d.web[name] = s
	}
	d.others = []*Service{d.w.Node("web1").Memcached(), d.w.Node("db1").Memcached()}
	mysql, err := d.w.Node("db1").MariaDB(ctx, MariaDBOptions{})
	switch {
	case errors.Is(err, exec.ErrNotFound): // no stand-in: db1 votes all the same
	case err != nil:
		return err
	default:
		d.mysql = mysql
		d.others = append(d.others, mysql.Service)
	}
	return nil
}

func (d *demo) servicesOf(n *Node) []*Service {
	var list []*Service
	if s := d.web[n.Name]; s != nil {
		list = append(list, s)
	}
	for _, s := range d.others {
		if s.node == n {
			list = append(list, s)
		}
	}
	return list
}

func (d *demo) startServices(ctx context.Context, n *Node) error {
	for _, s := range d.servicesOf(n) {
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// config is the site's config file.
func (d *demo) config() Config {
	shown := false // required = false: shown and counted, moves nothing
	web := CheckConfig{Name: "web", Type: "http", URL: "http://127.0.0.1/", Interval: demoInterval.String(), Timeout: "1s",
		Fall: demoFall, Rise: 2, Nodes: []string{"web1", "web2"}}
	if kind := d.web["web1"].Kind; kind == "apache" {
		web.Name, web.Type, web.URL = kind, kind, "http://127.0.0.1/server-status?auto"
	}
	c := d.w.Config()
	c.Cluster.Name = "demo"
	c.Lease.TTL = demoTTL.String()
	c.Checks = []CheckConfig{web,
		{Name: "memcached", Type: "memcached", Address: "127.0.0.1:11211", Required: &shown, Nodes: []string{"web1", "db1"}}}
	if d.mysql != nil {
		c.Checks = append(c.Checks, CheckConfig{Name: "mysql", Type: "mysql", DSNFile: d.mysql.DSNFile, Required: &shown, Nodes: []string{"db1"}})
	}
	group := d.w.WebGroup("web1", "web2")
	group.Checks = []string{web.Name}
	group.Hold = demoHold.String()
	c.Groups = []GroupConfig{group}
	return c
}

// watch starts the observers. They run until ctx ends.
func (d *demo) watch(ctx context.Context) (err error) {
	floating := Floating4.Addr()
	if d.client, err = d.w.ProbeHTTP(ctx, HTTPOptions{Target: netip.AddrPortFrom(floating, webPort)}); err != nil {
		return err
	}
	if d.arp, err = d.w.WatchARP(ctx, floating, 0); err != nil {
		return err
	}
	d.cards = d.w.WatchAddress(ctx, floating, 0)
	return nil
}

// total fills in the sums over the whole demo.
func (d *demo) total() {
	d.report.TookMs = ms(time.Since(d.began))
	if d.arp == nil {
		return
	}
	now := time.Now()
	d.report.ARP = DemoARP{
		Asked:     len(d.arp.Questions(d.began, now)),
		TwoOwners: len(d.arp.OwnersOverlap(d.began, now)),
	}
	if len(d.report.Steps) > 0 {
		// Before the first owner there was nobody to answer.
		first := d.began.Add(time.Duration(d.report.Steps[0].AtMs * float64(time.Millisecond)))
		t := d.client.Tally(first, now)
		d.report.Client = DemoClient{Asked: t.Asked, Lost: t.Failed, IntervalMs: ms(d.client.o.Interval)}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
