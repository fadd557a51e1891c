package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/control"
	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

// get asks a web server from the client, once.
func (s *site) get(ctx context.Context, addr netip.Addr) (body string, err error) {
	err = s.Client.Do(func() error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", netip.AddrPortFrom(addr, 80).String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if _, err := fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		body = strings.TrimSpace(line)
		return err
	})
	return body, err
}

// What somebody else takes off the card is back before anybody notices.
func TestAddressDeleted(t *testing.T) {
	const promise = 100 * time.Millisecond
	s := newSite(t, nil)
	addrs := []netip.Addr{floating4}
	if s.IPv6 {
		addrs = append(addrs, floating6)
	}
	for _, addr := range addrs {
		t.Run(addr.String(), func(t *testing.T) {
			began := time.Now()
			must(t, s.Node("web1").DelAddress(netip.PrefixFrom(addr, addr.BitLen())))
			must(t, s.WaitOnlyAt(within(t), addr, "web1"))
			took := time.Since(began)
			t.Logf("back after %v at most, promised %v", took.Round(time.Millisecond), promise)
			if took > 10*promise {
				t.Errorf("back only after %v", took)
			}
			for _, reason := range []string{"address-lost", "address-restored"} {
				s.waitEvent(t, "web1", began, reason, func(e control.Event) bool {
					return e.Kind == "address" && e.Group == "web" && e.Reason == reason
				})
			}
			r := s.verb(t, "web1", "events", "--since", "1m")
			r.wants(t, 0, "address-lost", "somebody else deleted it", addr.String())
		})
	}
	t.Run("again and again", func(t *testing.T) {
		// The holder goes on for as long as the other does, and never gives the group up.
		for range 20 {
			must(t, s.Node("web1").DelAddress(netip.PrefixFrom(floating4, 32)))
			must(t, s.WaitOnlyAt(within(t), floating4, "web1"))
		}
		must(t, s.WaitOwner(within(t), "web", "web1"))
	})
}

func TestIPv6(t *testing.T) {
	s := newSite(t, nil)
	if !s.IPv6 {
		labtest.Skip(t, "IPv6 in this kernel: it is switched off")
	}
	six, err := s.ProbeHTTP(t.Context(), lab.HTTPOptions{Target: netip.AddrPortFrom(floating6, 80), Interval: 10 * time.Millisecond, Timeout: 500 * time.Millisecond})
	must(t, err)
	must(t, six.WaitAnswer(within(t), time.Now(), "web1"))
	began := time.Now()
	s.moves(t, "web2", promisePlanned, func(context.Context) error {
		s.verb(t, "web1", "switchover", "web", "--to", "web2").wants(t, 0)
		return nil
	})
	must(t, six.WaitAnswer(within(t), time.Now(), "web2"))
	gap := six.LongestGap(began, time.Now()).Length()
	t.Logf("outage over IPv6 %v, promised %v", gap.Round(time.Millisecond), promisePlanned)
	if gap > slack*promisePlanned {
		t.Errorf("over IPv6 the client got no answer for %v; the promise is %v", gap, promisePlanned)
	}
	began = time.Now()
	s.moves(t, "web1", promiseOwner, func(context.Context) error { return s.Node("web2").PowerOff() })
	must(t, six.WaitAnswer(within(t), time.Now(), "web1"))
	t.Logf("outage over IPv6 %v, promised %v", six.LongestGap(began, time.Now()).Length().Round(time.Millisecond), promiseOwner)
}

// A hundred addresses of one group move as one.
func TestManyAddresses(t *testing.T) {
	const many = 100
	var list []netip.Prefix
	s := newSite(t, func(s *site, c *lab.Config) {
		var texts []string
		for i := range many { // .100 is the client
			texts = append(texts, fmt.Sprintf("10.77.0.%d/24", 101+i))
		}
		c.Groups[0].Addresses = texts
		list = prefixes(t, c.Groups[0])
	})
	count := func(node string) (n int, err error) {
		have, err := s.Node(node).Addresses()
		for _, a := range have {
			if a.Is4() && a.As4()[3] >= 101 {
				n++
			}
		}
		return n, err
	}

	// Read both machines' cards for as long as the move lasts.
	type sample struct {
		at       time.Time
		old, new int
	}
	var samples []sample
	var failed error
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for failed == nil {
			var a sample
			var err1, err2 error
			a.at = time.Now()
			// In this order: what the old owner still has after the new one had some, both had.
			a.new, err2 = count("web2")
			a.old, err1 = count("web1")
			failed = errors.Join(err1, err2)
			samples = append(samples, a)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	s.moves(t, "web2", promisePlanned, func(context.Context) error {
		s.verb(t, "web1", "switchover", "web", "--to", "web2").wants(t, 0)
		return nil
	})
	close(stop)
	<-done
	must(t, failed)
	var first, last time.Time
	for _, a := range samples {
		if a.new > 0 && first.IsZero() {
			first = a.at
		}
		if a.new == many && last.IsZero() {
			last = a.at
		}
		if a.new > 0 && a.old > 0 {
			t.Errorf("at %s web1 still had %d of the addresses and web2 %d already", clock(a.at), a.old, a.new)
			break
		}
	}
	t.Logf("first to last address on the new owner: %v (%d readings)", last.Sub(first).Round(time.Millisecond), len(samples))
	if last.IsZero() {
		t.Errorf("the new owner never had all %d addresses", many)
	}
	for _, node := range []string{"web1", "web2"} {
		n, err := count(node)
		if want := map[string]int{"web1": 0, "web2": many}[node]; n != want || err != nil {
			t.Errorf("%s has %d of the addresses (%v), want %d", node, n, err, want)
		}
	}
	for _, p := range list {
		if body, err := s.get(within(t), p.Addr()); body != "web2" || err != nil {
			t.Errorf("%s answers %q (%v), want web2", p.Addr(), body, err)
		}
	}
}
