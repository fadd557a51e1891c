package checks

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const modStatus = `127.0.0.1
ServerVersion: Apache/2.4.62 (Debian) PHP/8.2.26
ServerMPM: prefork
Total Accesses: 17
CPULoad: .0133333
BusyWorkers: 12
GracefulWorkers: 0
IdleWorkers: 38
Scoreboard: __W_R...K
`

func TestParseModStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want workers
		ok   bool
	}{
		"real":                    {modStatus, workers{busy: 12, idle: 38}, true},
		"CRLF":                    {strings.ReplaceAll(modStatus, "\n", "\r\n"), workers{busy: 12, idle: 38}, true},
		"only the scoreboard":     {"Scoreboard: __W_R...K\n", workers{busy: 3, idle: 3}, true},
		"garbled sums":            {"BusyWorkers: many\nIdleWorkers: -3\nScoreboard: W_\n", workers{busy: 1, idle: 1}, true},
		"one sum":                 {"BusyWorkers: 3\nScoreboard: W__\n", workers{busy: 1, idle: 2}, true},
		"numbers beyond reason":   {"BusyWorkers: 99999999999999999999\nIdleWorkers: 1\n", workers{}, false},
		"full":                    {"BusyWorkers: 2\nIdleWorkers: 0\nScoreboard: WK\n", workers{busy: 2, full: true}, true},
		"room for more":           {"BusyWorkers: 2\nIdleWorkers: 0\nScoreboard: WK..\n", workers{busy: 2}, true},
		"only a full scoreboard":  {"Scoreboard: WWG\n", workers{busy: 3, full: true}, true},
		"saturated":               {"BusyWorkers: 150\nIdleWorkers: 0\n", workers{busy: 150, idle: 0}, true},
		"HTML":                    {"<html><h1>It works!</h1>", workers{}, false},
		"empty":                   {"", workers{}, false},
		"empty scoreboard":        {"Scoreboard: ....\n", workers{}, false},
		"no newline at the end":   {"BusyWorkers: 1\nIdleWorkers: 2", workers{busy: 1, idle: 2}, true},
		"nothing after the colon": {"BusyWorkers:\nIdleWorkers:\n", workers{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseModStatus([]byte(tt.body))
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("parseModStatus = %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func FuzzParseModStatus(f *testing.F) {
	f.Add([]byte(modStatus))
	f.Add([]byte("Scoreboard: _W\nBusyWorkers:"))
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := parseModStatus(body)
		if w.busy < 0 || w.idle < 0 || w.busy+w.idle < 0 || err != nil && w != (workers{}) {
			t.Errorf("parseModStatus(%q) = %+v, %v", body, w, err)
		}
	})
}

func TestApacheStatus(t *testing.T) {
	body := modStatus
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(body)) }))
	defer srv.Close()
	c := mustNew(t, Spec{Type: "apache", URL: srv.URL + "/server-status?auto"})
	check(t, probe(t, c, patience), true, "12 busy, 38 idle workers")
	body = "<h1>It works!</h1>"
	check(t, probe(t, c, patience), false, "200 OK, but the page is not mod_status's*")
	c = mustNew(t, Spec{Type: "apache", URL: srv.URL + "/"})
	check(t, probe(t, c, patience), true, "200 OK")
	if _, err := New(Spec{Name: "a", Type: "apache", URL: srv.URL + "/", MaxBusy: 3}, Options{}); err == nil {
		t.Error("max_busy without ?auto was accepted: it would never count anything")
	}
}

func TestApacheLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		w    workers
		want string // with "!" where it fails
	}{
		"below":         {workers{busy: 7, idle: 3}, "7 busy, 3 idle workers"},
		"at the limit":  {workers{busy: 8, idle: 2}, "8 busy, 2 idle workers"},
		"above":         {workers{busy: 9, idle: 1}, "!9 busy, 1 idle workers; at most 8 may be busy"},
		"full":          {workers{busy: 8, full: true}, "8 busy, 0 idle workers: MaxRequestWorkers reached"},
		"full and over": {workers{busy: 9, full: true}, "!9 busy, 0 idle workers: MaxRequestWorkers reached; at most 8 may be busy"},
	} {
		t.Run(name, func(t *testing.T) {
			r := (&apacheCheck{maxBusy: 8, saturated: time.Hour}).judge(tt.w, time.Unix(1000, 0))
			want, fails := strings.CutPrefix(tt.want, "!")
			check(t, r, !fails, want)
		})
	}
}

func TestApacheSaturated(t *testing.T) {
	type step struct {
		at   time.Duration
		idle int
	}
	for name, tt := range map[string]struct {
		saturated time.Duration
		steps     []step
		want      []string // with "!" where it fails
	}{
		"long enough": {10 * time.Second,
			[]step{{0, 1}, {1 * time.Second, 0}, {11 * time.Second, 0}, {12500 * ms, 0}, {13 * time.Second, 2}},
			[]string{"5 busy, 1 idle workers", "5 busy, 0 idle workers: saturated", "5 busy, 0 idle workers: saturated",
				"!5 busy, 0 idle workers: saturated for 11s", "5 busy, 2 idle workers"}},
		"starts anew": {2 * time.Second,
			[]step{{0, 0}, {2 * time.Second, 1}, {3 * time.Second, 0}, {5 * time.Second, 0}},
			[]string{"5 busy, 0 idle workers: saturated", "5 busy, 1 idle workers", "5 busy, 0 idle workers: saturated",
				"5 busy, 0 idle workers: saturated"}},
		"switched off": {0,
			[]step{{0, 0}, {time.Hour, 0}},
			[]string{"5 busy, 0 idle workers: saturated", "5 busy, 0 idle workers: saturated"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &apacheCheck{saturated: tt.saturated}
			var got []string
			for _, s := range tt.steps {
				r := c.judge(workers{busy: 5, idle: s.idle}, time.Unix(1000, 0).Add(s.at))
				if !r.OK {
					r.Message = "!" + r.Message
				}
				got = append(got, r.Message)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
