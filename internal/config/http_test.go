package config

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListenOn(t *testing.T) {
	for name, tt := range map[string]struct {
		listen string
		want   map[string]string // node: what it listens on
	}{
		"nothing":  {"", map[string]string{"web1": "[]", "db1": "[]"}},
		"one":      {`"127.0.0.1:9746"`, map[string]string{"web1": "[127.0.0.1:9746]", "db1": "[127.0.0.1:9746]"}},
		"list":     {`["127.0.0.1:9746", "[::1]:9746"]`, map[string]string{"web1": "[127.0.0.1:9746 [::1]:9746]"}},
		"all":      {`"[::]:9746"`, map[string]string{"web1": "[[::]:9746]"}},
		"per node": {`{ web1 = "10.0.0.11:9746", db1 = ["127.0.0.1:1", "10.0.0.13:1"] }`, map[string]string{"web1": "[10.0.0.11:9746]", "web2": "[]", "db1": "[127.0.0.1:1 10.0.0.13:1]"}},
		"no node":  {`{}`, map[string]string{"web1": "[]"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := Example()
			if tt.listen != "" {
				text += "\n[http]\nlisten = " + tt.listen + "\n"
			}
			cfg := mustParse(t, text)
			got := map[string]string{}
			for node := range tt.want {
				got[node] = fmt.Sprint(cfg.HTTP.ListenOn(node))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(cfg.Warnings) > 0 {
				t.Errorf("warnings: %v", cfg.Warnings)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", true},
		{"127.0.0.1:1", "127.0.0.1:2", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"0.0.0.0:1", "127.0.0.1:1", true},
		{"0.0.0.0:1", "[::1]:1", false},
		{"[::]:1", "[::1]:1", true},
		{"[::]:1", "127.0.0.1:1", true}, // the kernel maps it
		{"[::]:1", "0.0.0.0:1", true},
	} {
		a, b := netip.MustParseAddrPort(tt.a), netip.MustParseAddrPort(tt.b)
		if overlap(a, b) != tt.want || overlap(b, a) != tt.want {
			t.Errorf("%s and %s overlap: %v, want %v", a, b, !tt.want, tt.want)
		}
	}
}
