package checks

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTCP(t *testing.T) {
	up, none := serve(t, hang), refused(t)
	check(t, probe(t, mustNew(t, Spec{Type: "tcp", Address: up}), patience), true, "connected to "+up)
	begin := time.Now()
	check(t, probe(t, mustNew(t, Spec{Type: "tcp", Address: none}), patience), false, "connection refused at "+none)
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("a refusal took %v", took)
	}
}

func TestProbeConn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, err := dial(ctx, "tcp", serve(t, endless("0123456789")), 25)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if !errors.Is(err, errAnswerTooLong) {
		t.Errorf("read beyond the limit: %v", err)
	}
	if diff := cmp.Diff("0123456789012345678901234", string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.Close()

	c, err = dial(ctx, "tcp", serve(t, hang), 25)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Unix(1, 0)) // not a library's business
	go cancel()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v, want closed by the context", err)
	}
}

// New names what is missing, so that a config check can show it.
func TestNewRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		`check "x": unknown type "tcpp"; there are apache, arp, exec, http, link, memcached, mysql, nginx, systemd, tcp`: {Type: "tcpp"},
		`check "x": address is missing, want host:port`:                                                                  {Type: "tcp"},
		`check "x": address "127.0.0.1", want host:port`:                                                                 {Type: "tcp", Address: "127.0.0.1"},
		`check "x": address "/run/x", want host:port`:                                                                    {Type: "tcp", Address: "/run/x"},
		`check "x": address ":80", want host:port`:                                                                       {Type: "memcached", Address: ":80"},
		`check "x": url is missing`:                                                                                      {Type: "http"},
		`check "x": url "ftp://a/", want http://host/ or https://host/`:                                                  {Type: "apache", URL: "ftp://a/"},
		`check "x": url "127.0.0.1", want http://host/ or https://host/`:                                                 {Type: "nginx", URL: "127.0.0.1"},
		`check "x": status 99, want 200 to 599`:                                                                          {Type: "http", URL: "http://a/", Status: 99},
		"check \"x\": body: error parsing regexp: missing closing ): `(`":                                                {Type: "http", URL: "http://a/", Body: "("},
		`check "x": saturated -1s is negative`:                                                                           {Type: "apache", URL: "http://a/", Saturated: -time.Second},
		`check "x": dsn_file is missing`:                                                                                 {Type: "mysql"},
		`check "x": command is missing`:                                                                                  {Type: "exec"},
		`check "x": command "check_load" is not an absolute path`:                                                        {Type: "exec", Command: []string{"check_load"}},
		`check "x": unit is missing`:                                                                                     {Type: "systemd"},
		`check "x": unit "a*" is not the name of one unit`:                                                               {Type: "systemd", Unit: "a*"},
		`check "x": interface is missing`:                                                                                {Type: "link"},
		`check "x": interface "abcdefghijklmnop" is longer than 15 bytes`:                                                {Type: "link", Interface: "abcdefghijklmnop"},
		`check "x": this program has no ARP prober`:                                                                      {Type: "arp"},
	} {
		s.Name = "x"
		_, err := New(s, Options{})
		if err == nil {
			t.Errorf("accepted: %+v", s)
			continue
		}
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
