package checks

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const stubStatusPage = `Active connections: 291
server accepts handled requests
 16630948 16630948 31070465
Reading: 6 Writing: 179 Waiting: 106
`

func TestNginx(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"stub_status":       {stubStatusPage, "291 active connections, 106 waiting"},
		"a page":            {"<h1>Welcome to nginx!</h1>", "200 OK"},
		"dropped":           {strings.Replace(stubStatusPage, "16630948 16630948", "16630948 16630940", 1), "291 active connections, 106 waiting, 8 dropped"},
		"four counters":     {strings.Replace(stubStatusPage, "31070465", "31070465 99", 1), "291 active connections, 106 waiting"},
		"cut short":         {"Active connections: 291\n", "200 OK"},
		"no counters":       {"Active connections: 291\nserver accepts handled requests\nWaiting: 1", "200 OK"},
		"more than all":     {strings.Replace(stubStatusPage, "16630948 16630948", "16630940 16630948", 1), "200 OK"},
		"not a number":      {strings.Replace(stubStatusPage, "291", "many", 1), "200 OK"},
		"not a number, too": {strings.Replace(stubStatusPage, "106", "-1", 1), "200 OK"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(tt.body)) }))
			defer srv.Close()
			check(t, probe(t, mustNew(t, Spec{Type: "nginx", URL: srv.URL}), patience), true, tt.want)
		})
	}
}

func TestNginxLimits(t *testing.T) {
	c := &nginxCheck{maxActive: 100, maxDropped: 2}
	for _, tt := range []struct {
		st   stubStatus
		want string // with "!" where it fails
	}{
		{stubStatus{active: 1, accepts: 1000, handled: 990}, "1 active connections, 0 waiting, 10 dropped"}, // before we came
		{stubStatus{active: 1, accepts: 1100, handled: 1088}, "1 active connections, 0 waiting, 12 dropped, 2 of them since the last probe"},
		{stubStatus{active: 1, accepts: 1200, handled: 1185}, "!1 active connections, 0 waiting, 15 dropped, 3 of them since the last probe: is worker_connections too small?"},
		{stubStatus{active: 100, accepts: 1300, handled: 1285}, "100 active connections, 0 waiting, 15 dropped"},
		{stubStatus{active: 101, waiting: 3, accepts: 1400, handled: 1385}, "!101 active connections, 3 waiting, 15 dropped: at most 100 may be active"},
		{stubStatus{active: 1, accepts: 9, handled: 1}, "1 active connections, 0 waiting, 8 dropped"}, // started again
		{stubStatus{active: 1, accepts: 10, handled: 2}, "1 active connections, 0 waiting, 8 dropped"},
	} {
		want, fails := strings.CutPrefix(tt.want, "!")
		check(t, c.judge(tt.st), !fails, want)
	}
}

// A limit that cannot be looked at is not kept.
func TestNginxLimitsNeedStubStatus(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<h1>Welcome</h1>")) }))
	defer srv.Close()
	check(t, probe(t, mustNew(t, Spec{Type: "nginx", URL: srv.URL, MaxActive: 3}), patience), false, "200 OK, but not the page of stub_status")
}

func FuzzParseStubStatus(f *testing.F) {
	f.Add([]byte(stubStatusPage))
	f.Fuzz(func(t *testing.T, body []byte) {
		if st, err := parseStubStatus(body); err == nil && (st.active < 0 || st.waiting < 0 || st.handled > st.accepts) || err != nil && st != (stubStatus{}) {
			t.Errorf("%+v, %v", st, err)
		} else if err == nil {
			check(t, (&nginxCheck{}).judge(st), true, "*")
		}
	})
}
