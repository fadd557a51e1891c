package checks

import (
	"net/http"
	"net/http/httptest"
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
		"cut short":         {"Active connections: 291\n", "200 OK"},
		"not a number":      {"Active connections: many\nWaiting: 1", "200 OK"},
		"not a number, too": {"Active connections: 1\nWaiting: -1", "200 OK"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(tt.body)) }))
			defer srv.Close()
			check(t, probe(t, mustNew(t, Spec{Type: "nginx", URL: srv.URL}), patience), true, tt.want)
		})
	}
}

func FuzzParseStubStatus(f *testing.F) {
	f.Add([]byte(stubStatusPage))
	f.Fuzz(func(t *testing.T, body []byte) {
		if st, err := parseStubStatus(body); err == nil && (st.active < 0 || st.waiting < 0) {
			t.Errorf("%+v", st)
		}
	})
}
