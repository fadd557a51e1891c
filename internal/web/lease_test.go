package web

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hbagent/hbagent/internal/control"
)

func TestLeaseOf(t *testing.T) {
	const no = NotKnown
	for _, tt := range []struct {
		name       string
		low        []int32
		says       string
		area, line string
		thin, none []span
	}{
		{name: "nothing known", low: []int32{no, no, no}},
		{name: "steady", low: []int32{750, 750, 750}, says: "at least 750 ms of 1 s left in the last 6 s",
			area: "M0 40V10H3V40Z", line: "M0 10H3"},
		{name: "one dip", low: []int32{750, 500, 750}, says: "at least 500 ms of 1 s left in the last 6 s",
			area: "M0 40V10H1V20H2V10H3V40Z", line: "M0 10H1V20H2V10H3"},
		{name: "since a while", low: []int32{no, 750, 750}, says: "at least 750 ms of 1 s left in the last 4 s",
			area: "M1 40V10H3V40Z", line: "M1 10H3"},
		{name: "a hole", low: []int32{750, no, 750}, says: "at least 750 ms of 1 s left in the last 6 s",
			area: "M0 40V10H1V40ZM2 40V10H3V40Z", line: "M0 10H1M2 10H3"},
		{name: "thin", low: []int32{750, 249, 240, 250}, says: "at least 240 ms of 1 s left in the last 8 s",
			area: "M0 40V10H1V30H2V30.5H3V30H4V40Z", line: "M0 10H1V30H2V30.5H3V30H4", thin: []span{{1, 2}}},
		{name: "ran out", low: []int32{750, 0, 0, 750, 0}, says: "not held for a time in the last 10 s",
			area: "M0 40V10H1V40H3V10H4V40H5Z", line: "M0 10H1V40H3V10H4V40H5", none: []span{{1, 2}, {4, 1}}},
		{name: "more than all", low: []int32{2000}, says: "at least 2 s of 1 s left in the last 2 s", area: "M0 40V0H1V40Z", line: "M0 0H1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := control.Group{Lease: control.Lease{TTLMs: 1000}}
			got := leaseOf(g, LeaseHealth{Group: "web", TTL: time.Second, Step: 2 * time.Second, LowMs: tt.low})
			if got.Known != (tt.says != "") || got.Says != tt.says {
				t.Errorf("known %v, says %q, want %q", got.Known, got.Says, tt.says)
			}
			attr := func(d string) string {
				if d == "" {
					return ""
				}
				return `d="` + d + `"`
			}
			want := []any{attr(tt.area), attr(tt.line), tt.thin, tt.none}
			if diff := cmp.Diff(want, []any{string(got.Area), string(got.Line), got.Thin, got.None}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if v := leaseOf(control.Group{}, LeaseHealth{}); v.Known {
		t.Errorf("of nothing: %+v", v)
	}
}
