package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func aRecord() Record {
	return Record{Name: "latency", Command: "make latency", Began: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), Seconds: 61, Commit: "example",
		Machine: "No such CPU, 2 cores", LoadBefore: .5, LoadAfter: 2, Output: "situation  ms\nall well   6.5\n\nof 3 nodes"}
}

func TestRecordFile(t *testing.T) {
	dir := t.TempDir()
	if err := WriteRecord(dir, aRecord()); err != nil {
		t.Fatal(err)
	}
	got, err := readRecords(dir)
	if err != nil || len(got) != 1 || got["latency"] != aRecord() {
		t.Errorf("read %+v, %v", got, err)
	}
	want := "```text\nsituation  ms\nall well   6.5\n\nof 3 nodes\n```\n\n" +
		"<sub>`make latency`, 2001-02-03 04:05 UTC, 61 s, commit example; No such CPU, 2 cores; load 0.5 before, 2.0 after.</sub>\n"
	if md := aRecord().markdown(); md != want {
		t.Errorf("got %s\nwant %s", md, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.txt"), []byte("command: x\nspeed: 3\n\nout\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecords(dir); err == nil || !strings.Contains(err.Error(), `other.txt: record other: "speed: 3": unknown`) {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestRecordRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*Record){
		"a name has letters":       func(r *Record) { r.Name = "../x" },
		"it needs a command":       func(r *Record) { r.Commit = "" },
		"printed nothing":          func(r *Record) { r.Output = " \n" },
		"a page takes":             func(r *Record) { r.Output = strings.Repeat("x\n", maxOutput) },
		"printed what is no text":  func(r *Record) { r.Output = "\x1b[1mbold" },
		"printed one of the marks": func(r *Record) { r.Output = blockEnd },
		"is more than one line":    func(r *Record) { r.Machine = "a\nb" },
		"load after: is -1":        func(r *Record) { r.LoadAfter = -1 },
	} {
		r := aRecord()
		spoil(&r)
		if err := WriteRecord(t.TempDir(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestFill(t *testing.T) {
	block := func(what string) (string, error) { return "<" + what + ">\n", nil }
	got, n, err := fill("a\n<!-- bench:begin one -->\nold\n<!-- bench:end -->\nb <!-- bench:begin record two --><!-- bench:end -->", block)
	if want := "a\n<!-- bench:begin one -->\n<one>\n<!-- bench:end -->\nb <!-- bench:begin record two -->\n<record two>\n<!-- bench:end -->"; got != want || n != 2 || err != nil {
		t.Errorf("got %q, %d blocks, %v", got, n, err)
	}
	for _, bad := range []string{
		"<!-- bench:begin one -->", "<!-- bench:end -->", "<!-- bench:begin one\n-->\n<!-- bench:end -->",
		"<!-- bench:begin one --><!-- bench:begin two --><!-- bench:end -->", "<!-- bench:begin one --><!-- bench:end --><!-- bench:end -->",
	} {
		if got, _, err := fill(bad, block); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
	// What was copied by hand stays until it is recorded, as long as it says so.
	for old, want := range map[string]string{
		byHand + " `make record NAMES=x` does it anew.*\n\n3 ms\n": byHand + " `make record NAMES=x` does it anew.*\n\n3 ms\n",
		"3 ms\n": byHand + " `make record NAMES=x` does it anew.*\n",
		byHand + " `make record NAMES=y` does it anew.*\n\n3 ms\n": byHand + " `make record NAMES=x` does it anew.*\n",
	} {
		got, _, err := fill("<!-- bench:begin record x -->\n"+old+"<!-- bench:end -->", (data{}).block)
		if err != nil || got != "<!-- bench:begin record x -->\n"+want+"<!-- bench:end -->" {
			t.Errorf("%q became %q, %v", old, got, err)
		}
	}
	x := aRecord()
	for what, d := range map[string]data{"record latency": {records: map[string]Record{"latency": x}}, "moved": {run: &Run{}}} {
		got, _, err := fill("<!-- bench:begin "+what+" -->\n"+byHand+" `make record NAMES=latency` does it anew.*\n\n3 ms\n<!-- bench:end -->", d.block)
		if err != nil || strings.Contains(got, "3 ms") || strings.Contains(got, byHand) {
			t.Errorf("%s: what was copied by hand stays: %q, %v", what, got, err)
		}
	}
	for _, unknown := range []string{"", "summery", "record", "record ../x"} {
		if got, err := (data{}).block(unknown); err == nil {
			t.Errorf("block %q: %q", unknown, got)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(string(aRecord().encode()))
	f.Add("command: a\nbegan: 2001-02-03T04:05:06Z\nseconds: 1\ncommit: c\nmachine:\nload before: 0\nload after: 1e300\n\n```\n````")
	f.Fuzz(func(t *testing.T, file string) {
		r, err := decodeRecord("x", file)
		if err != nil {
			return
		}
		again, err := decodeRecord("x", string(r.encode()))
		if err != nil || !again.Began.Equal(r.Began.Truncate(time.Second)) {
			t.Fatalf("%+v came back as %+v, %v", r, again, err)
		}
		again.Began = r.Began
		if again != r {
			t.Fatalf("%+v came back as %+v", r, again)
		}
		if _, n, err := fill(blockBegin+"record x"+blockMark+blockEnd, func(string) (string, error) { return r.markdown(), nil }); err != nil || n != 1 {
			t.Fatalf("%d blocks, %v", n, err)
		}
	})
}
