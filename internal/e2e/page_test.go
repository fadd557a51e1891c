package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
)

// pageStatus asks a node's status page as a program on that node does.
func pageStatus(ctx context.Context, n *lab.Node, port string) (st control.Status, err error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = n.Do(func() (err error) { c, err = (&net.Dialer{}).DialContext(ctx, network, addr); return err })
			return c, err
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/api/status", nil)
	if err != nil {
		return st, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return st, fmt.Errorf("%s", resp.Status)
	}
	return st, json.NewDecoder(resp.Body).Decode(&st)
}

// A page that cannot listen is a note in the status, and costs nothing else; a reload moves it while the address stays.
func TestPageListens(t *testing.T) {
	var good lab.Config
	var taken net.Listener
	s := newSite(t, func(s *site, c *lab.Config) {
		c.HTTP = &lab.HTTPConfig{Listen: []string{"127.0.0.1:9746"}}
		good = *c
		must(t, s.Node("web1").Do(func() (err error) { taken, err = net.Listen("tcp", "127.0.0.1:9746"); return err }))
	})
	web1 := s.Node("web1")
	t.Cleanup(func() { taken.Close() })
	s.verb(t, "web1", "status").wants(t, 0, "all well", "the status page cannot listen on 127.0.0.1:9746: another program listens")
	s.verb(t, "web2", "status").wants(t, 0, "all well")

	answers := func(port string) {
		t.Helper()
		eventually(t, func(ctx context.Context) error {
			st, err := pageStatus(ctx, web1, port)
			if err == nil && (st.Node != "web1" || groupOf(st, "web").Owner != "web1" || len(st.Warnings) > 0) {
				err = fmt.Errorf("the page says %+v", st)
			}
			return err
		})
	}
	must(t, taken.Close())
	answers("9746")

	good.HTTP = &lab.HTTPConfig{Listen: []string{"127.0.0.1:9747", "[::1]:9747"}}
	must(t, s.WriteConfig(good))
	s.stays(t, "web1", func(context.Context) error {
		s.verb(t, "web1", "reload").wants(t, 0, "changed: http: listen 127.0.0.1:9746 -> 127.0.0.1:9747 [::1]:9747")
		answers("9747")
		eventually(t, func(ctx context.Context) error {
			if _, err := pageStatus(ctx, web1, "9746"); err == nil {
				return errors.New("the old port still answers")
			}
			return nil
		})
		return nil
	})
}

// However many ask the page, and however often, the agent keeps its address.
func TestPageUnderFlood(t *testing.T) {
	const (
		askers = 96 // more than there are connections
		flood  = 5 * time.Second
	)
	s := newSite(t, func(s *site, c *lab.Config) { c.HTTP = &lab.HTTPConfig{Listen: []string{"0.0.0.0:9746"}} })
	web1 := s.Node("web1")
	dial := func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = web1.Do(func() (err error) { c, err = (&net.Dialer{}).DialContext(ctx, network, addr); return err })
		return c, err
	}
	var asked, answered atomic.Int64
	s.stays(t, "web1", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flood)
		defer cancel()
		var wg sync.WaitGroup
		for i := range askers {
			client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: i%2 == 0}}
			defer client.CloseIdleConnections()
			path := []string{"/", "/api/status", "/metrics", "/live"}[i%4]
			wg.Go(func() {
				for ctx.Err() == nil {
					asked.Add(1)
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9746"+path, nil)
					if err != nil {
						return
					}
					resp, err := client.Do(req)
					if err != nil {
						continue // hung up on: there are too many
					}
					if _, err := io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode == http.StatusOK {
						answered.Add(1)
					}
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
		return nil
	})
	t.Logf("%d requests in %v, %d answered", asked.Load(), flood, answered.Load())
	if answered.Load() == 0 {
		t.Error("nobody was answered: what was tried?")
	}
	if _, err := pageStatus(within(t), web1, "9746"); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}
