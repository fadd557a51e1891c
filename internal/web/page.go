package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed page
var files embed.FS

// sections are the parts of the page that are sent again when they change: each is a template, and an
// element with that id.
var sections = []string{"verdict", "groups", "nodes", "checks", "events", "about"}

// fileTypes are of what is served below /static/.
var fileTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// build names the page as it is made: another one after an upgrade.
var build = func() string {
	h := sha256.New()
	for _, name := range []string{"page.html", "page.css", "page.js"} {
		h.Write(mustRead(name))
	}
	return hex.EncodeToString(h.Sum(nil))[:10]
}()

func mustRead(name string) []byte {
	b, err := files.ReadFile(path.Join("page", name))
	if err != nil {
		panic("web: " + err.Error()) // it is embedded
	}
	return b
}

// templates, and static below, are made when somebody first looks: every command of the program begins with this
// package, and they take as long as all the rest of its start.
var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"since":  since,
		"stamp":  func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") },
		"offset": func(t time.Time) int { _, s := t.Zone(); return s },
		"rows":   func(at time.Time, rows []checkView) checkRows { return checkRows{at, rows} },
	}).ParseFS(files, "page/page.html"))
})

type checkRows struct {
	At   time.Time
	Rows []checkView
}

// pageData is the view with what the page has around it.
type pageData struct {
	view
	Build   string
	Metrics bool
}

// render makes HTML of a template. The templates are ours and the data has no methods that fail.
func render(name string, data any) string {
	var b strings.Builder
	if err := templates().ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("web: template %s: %v", name, err))
	}
	return b.String()
}

// document is something to serve, plain and compressed.
type document struct {
	contentType   string
	plain, zipped []byte
}

func newDocument(contentType string, body []byte) document {
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	if err != nil {
		panic("web: " + err.Error()) // the level exists
	}
	if _, err := w.Write(body); err != nil {
		panic("web: " + err.Error()) // a buffer takes everything
	}
	w.Close()
	return document{contentType: contentType, plain: body, zipped: z.Bytes()}
}

// serve sends it in the form that the reader takes.
func (d document) serve(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	h.Set("Content-Type", d.contentType)
	h.Add("Vary", "Accept-Encoding")
	body := d.plain
	if acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = d.zipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a reader that has gone misses nothing
	}
}

func acceptsGzip(r *http.Request) bool {
	for _, list := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(list, ",") {
			coding, q, _ := strings.Cut(strings.TrimSpace(part), ";")
			if coding == "gzip" {
				return !slices.Contains([]string{"q=0", "q=0.0", "q=0.00", "q=0.000"}, strings.TrimSpace(q))
			}
		}
	}
	return false
}

// static are the files of the page, by name.
var static = sync.OnceValue(func() map[string]document {
	entries, err := files.ReadDir("page")
	if err != nil {
		panic("web: " + err.Error())
	}
	out := make(map[string]document)
	for _, e := range entries {
		if t := fileTypes[path.Ext(e.Name())]; t != "" {
			out[e.Name()] = newDocument(t, mustRead(e.Name()))
		}
	}
	return out
})

// file serves one of them. Its address changes with its content (?v=), so it may be kept.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	d, ok := static()[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("v") == build {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	d.serve(w, r, http.StatusOK)
}

// page serves the page with everything in it, so that it needs no script to be read.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	p, err := s.snapshot(r.Context())
	if err != nil {
		body := render("silent", map[string]string{"Build": build, "Reason": sentence(err.Error())})
		newDocument("text/html; charset=utf-8", []byte(body)).serve(w, r, http.StatusServiceUnavailable)
		return
	}
	p.whole().serve(w, r, http.StatusOK)
}
