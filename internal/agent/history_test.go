package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbagent/hbagent/internal/control"
)

func openTestHistory(t *testing.T, path string) *history {
	t.Helper()
	h := openHistory(path, "web1", false, testLogger(t))
	t.Cleanup(h.close)
	return h
}

func reasons(events []control.Event) (out []string) {
	for _, e := range events {
		out = append(out, e.Reason)
	}
	return out
}

func TestHistorySurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	h := openTestHistory(t, path)
	h.add(control.Event{Kind: kindAgent, Reason: "started"})
	h.add(control.Event{Kind: kindOwner, Group: "web", To: "web1", Reason: "nobody had it", Epoch: 7})
	before := h.since(time.Time{}, 0)
	h.close()
	h.close() // harmless
	h.add(control.Event{Kind: kindAgent, Reason: "too late for the disk"})
	diff(t, "node", before[1].Node, "web1")

	h = openTestHistory(t, path)
	diff(t, "events", h.since(time.Time{}, 0), before)
}

func TestHistorySkipsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	line := func(reason string) string {
		b, err := json.Marshal(control.Event{At: noon, Kind: kindAgent, Reason: reason})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	torn := line("torn")
	text := line("first") + "\n" + "\x00\x00\x00\n{}\n[1]\n\n" + line("second") + "\n" + torn[:len(torn)/2]
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h := openTestHistory(t, path)
	diff(t, "events", reasons(h.since(time.Time{}, 0)), []string{"first", "second", "history-damaged"})
	diff(t, "problem", h.problem(), "the history is incomplete: "+path+": 3 damaged lines were left out")
	h.add(control.Event{Kind: kindAgent, Reason: "third"})
	h.close()
	h = openTestHistory(t, path) // it was written anew: there is no damage any more
	diff(t, "events after it", reasons(h.since(time.Time{}, 0)), []string{"first", "second", "history-damaged", "third"})
	diff(t, "problem after it", h.problem(), "")
}

// Half a line at the end is what a power cut leaves: nothing to be told of.
func TestHistoryTornByAPowerCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	h := openTestHistory(t, path)
	h.add(control.Event{Kind: kindAgent, Reason: "first"})
	h.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, b[:len(b)/2]...), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h = openTestHistory(t, path)
		diff(t, "events", reasons(h.since(time.Time{}, 0)), []string{"first"})
		diff(t, "problem", h.problem(), "")
		h.close()
	}
}

func TestHistoryLost(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.jsonl")
	h := openHistory(path, "web1", true, testLogger(t))
	defer h.close()
	diff(t, "events", reasons(h.since(time.Time{}, 0)), []string{"history-damaged"})
	diff(t, "problem", h.problem(), "the history is incomplete: "+path+" is gone, and with it what happened before this start")
	for _, path := range []string{dir, filepath.Join(dir, "missing", "events")} {
		h := openHistory(path, "web1", false, testLogger(t))
		defer h.close()
		h.add(control.Event{Kind: kindAgent, Reason: "in memory"})
		diff(t, path, reasons(h.since(time.Time{}, 0)), []string{"in memory"})
		if !strings.Contains(h.problem(), "kept in memory only") {
			t.Errorf("%s: problem %q", path, h.problem())
		}
	}
}

// Of a file that somebody made longer than an agent does, the end is read.
func TestHistoryOfALongFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	line, err := json.Marshal(control.Event{At: noon, Kind: kindAgent, Reason: "x", Detail: strings.Repeat("x", 4000)})
	if err != nil {
		t.Fatal(err)
	}
	lines := 2 * historyReadMax / len(line)
	if err := os.WriteFile(path, bytes.Repeat(append(line, '\n'), lines), 0o600); err != nil {
		t.Fatal(err)
	}
	h := openTestHistory(t, path)
	n := len(h.since(time.Time{}, 0))
	if n == 0 || n > lines/2 || h.problem() != "" {
		t.Errorf("%d events of %d; problem %q", n, lines, h.problem())
	}
}

// What an older agent has written has no numbers: they are made up, in order, and new ones follow.
func TestHistoryNumbersEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	var text []byte
	for i := range 3 {
		line, err := json.Marshal(control.Event{At: noon.Add(time.Duration(i/2) * time.Second), Kind: kindAgent, Reason: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, line...), '\n')
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	h := openTestHistory(t, path)
	h.add(control.Event{Kind: kindAgent, Reason: "3"})
	h.add(control.Event{Kind: kindAgent, Reason: "4"})
	var last uint64
	for _, e := range h.since(time.Time{}, 0) {
		if e.Seq <= last {
			t.Errorf("event %s has number %d behind %d", e.Reason, e.Seq, last)
		}
		last = e.Seq
	}
	diff(t, "first", h.since(time.Time{}, 0)[0].Seq, uint64(noon.UnixMicro()))
}

func TestHistoryPages(t *testing.T) {
	h := openTestHistory(t, filepath.Join(t.TempDir(), "events.jsonl"))
	for i := range 10 {
		h.add(control.Event{Kind: kindAgent, Reason: fmt.Sprint(i)})
	}
	all := h.since(time.Time{}, 0)
	one := encodedSize(all[0])
	for _, tt := range []struct {
		name         string
		before       uint64
		since        time.Time
		limit, bytes int
		want         string
		more         bool
	}{
		{"newest", 0, time.Time{}, 3, 1 << 20, "789", true},
		{"next", all[7].Seq, time.Time{}, 3, 1 << 20, "456", true},
		{"last", all[3].Seq, time.Time{}, 3, 1 << 20, "012", false},
		{"nothing older", all[0].Seq, time.Time{}, 3, 1 << 20, "", false},
		{"everything", 0, time.Time{}, 100, 1 << 20, "0123456789", false},
		{"few bytes", 0, time.Time{}, 100, 2*one + one/2, "89", true},
		{"too few bytes for one", 0, time.Time{}, 100, 1, "9", true},
		{"young ones only", 0, time.Now().Add(time.Hour), 100, 1 << 20, "", false},
	} {
		events, more := h.page(tt.before, tt.since, tt.limit, tt.bytes)
		if got := strings.Join(reasons(events), ""); got != tt.want || more != tt.more {
			t.Errorf("%s: %q, more %v, want %q, %v", tt.name, got, more, tt.want, tt.more)
		}
	}
}

func TestHistoryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		h := openTestHistory(t, path)
		h.add(control.Event{Kind: kindAgent, Reason: "earlier run"})
		h.close()
		h = openTestHistory(t, path)
		for i := range 4 {
			h.add(control.Event{Kind: kindAgent, Reason: fmt.Sprint(i)})
		}
		all := h.since(time.Time{}, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		get := func(seq uint64, since time.Time, limit, size int) string {
			events, last := h.after(ctx, seq, since, limit, size)
			if len(events) > 0 && last != events[len(events)-1].Seq {
				t.Errorf("last is %d", last)
			}
			return strings.Join(reasons(events), "")
		}
		diff(t, "behind the second", get(all[2].Seq, time.Time{}, 10, 1<<20), "23")
		diff(t, "one", get(all[2].Seq, time.Time{}, 1, 1<<20), "2")
		diff(t, "one, for its size", get(all[2].Seq, time.Time{}, 10, 1), "2")
		diff(t, "a number that it never had", get(1<<62, time.Time{}, 10, 1<<20), "0123")
		began := time.Now()
		time.AfterFunc(time.Second, func() { h.add(control.Event{Kind: kindAgent, Reason: "4"}) })
		diff(t, "waits", get(all[4].Seq, time.Time{}, 10, 1<<20), "4")
		diff(t, "too old", get(0, time.Now(), 10, 1<<20), "4")
		diff(t, "it waited", time.Since(began), time.Second)
		time.AfterFunc(time.Second, h.close)
		diff(t, "the agent ends", get(h.newest(), time.Time{}, 10, 1<<20), "")
		diff(t, "it waited", time.Since(began), 2*time.Second)
	})
}

func TestHistoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	h := openTestHistory(t, path)
	fill := strings.Repeat("x", 400)
	const n = 3 * historyKeep
	for i := range n {
		h.add(control.Event{Kind: kindAgent, Reason: fmt.Sprint(i), Detail: fill})
		if i%(historyQueue/2) == 0 {
			h.drained(t)
		}
	}
	diff(t, "in memory", len(h.since(time.Time{}, 0)), historyKeep)
	h.close()
	diff(t, "problem", h.problem(), "")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > historyFileMax+1000 || len(b) < historyFileMax/4 {
		t.Errorf("the file has %d bytes", len(b))
	}
	h = openTestHistory(t, path)
	events := h.since(time.Time{}, 0)
	for i, e := range events {
		if want := fmt.Sprint(n - len(events) + i); e.Reason != want {
			t.Fatalf("event %d of %d is %s, want %s: one is lost, or twice there", i, len(events), e.Reason, want)
		}
	}
	if _, err := os.Stat(path + ".tmp"); err == nil {
		t.Error("the temporary file is left")
	}
}

// drained waits until every event is on disk.
func (h *history) drained(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); len(h.lines) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the history is not written")
		}
		time.Sleep(time.Millisecond) // no event tells of it
	}
}

func TestHistoryOfHugeEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	// The last one alone is more than the file may hold: nothing is left, and it ends.
	h := newHistory(path, "web1", testLogger(t))
	h.file, h.events = file, []control.Event{
		{Kind: kindAgent, Reason: "small"}, {Kind: kindAgent, Reason: "huge", Detail: strings.Repeat("x", historyFileMax)},
	}
	if err := h.rewrite(); err != nil {
		t.Fatal(err)
	}
	defer h.file.Close()
	diff(t, "events on disk", len(openTestHistory(t, path).since(time.Time{}, 0)), 0)
}

func TestHistoryWithoutADisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.jsonl")
	h := openTestHistory(t, path)
	// Rewriting fails, as on a full disk.
	if err := os.Mkdir(path+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		h.add(control.Event{Kind: kindAgent, Detail: strings.Repeat("x", historyFileMax/4)})
	}
	<-h.done
	h.add(control.Event{Kind: kindAgent, Reason: "the last"})
	events := h.since(time.Time{}, 1)
	diff(t, "newest", reasons(events), []string{"the last"})
	if !strings.Contains(h.problem(), "kept in memory only") {
		t.Errorf("problem %q", h.problem())
	}
}

func TestHistoryDoesNotWaitForTheDisk(t *testing.T) {
	h := newHistory("", "web1", testLogger(t))
	h.lines = make(chan []byte, 2) // nobody writes
	for range 5 {
		h.add(control.Event{Kind: kindAgent})
	}
	diff(t, "problem", h.problem(), "the disk is too slow for the history: 3 events are in memory only")
	diff(t, "in memory", len(h.since(time.Time{}, 0)), 5)
	diff(t, "taken back for a rewrite", len(h.unwritten()), 5)
	diff(t, "problem after it", h.problem(), "")
	diff(t, "waiting after it", len(h.lines), 0)
}

func TestHistorySince(t *testing.T) {
	at := func(s int, reason string) control.Event {
		return control.Event{At: noon.Add(time.Duration(s) * time.Second), Reason: reason}
	}
	h := &history{events: []control.Event{at(1, "a"), at(2, "b"), at(9, "c"), at(3, "d: the clock went back"), at(4, "e")}}
	for _, tt := range []struct {
		since time.Time
		limit int
		want  []string
	}{
		{time.Time{}, 0, []string{"a", "b", "c", "d: the clock went back", "e"}},
		{noon.Add(2 * time.Second), 0, []string{"b", "c", "d: the clock went back", "e"}},
		{noon.Add(5 * time.Second), 0, []string{"c", "d: the clock went back", "e"}},
		{noon, 2, []string{"d: the clock went back", "e"}},
		{noon.Add(time.Hour), 0, nil},
	} {
		diff(t, fmt.Sprint(tt.since, tt.limit), reasons(h.since(tt.since, tt.limit)), tt.want)
	}
}

func TestHistorySubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openTestHistory(t, filepath.Join(t.TempDir(), "events.jsonl"))
		slow, _ := h.subscribe()
		quick, cancel := h.subscribe()
		var got []string
		done := make(chan struct{})
		go func() {
			for e := range quick {
				got = append(got, e.Reason)
			}
			close(done)
		}()
		var want []string
		for i := range subscriberQueue + 1 {
			h.add(control.Event{Kind: kindAgent, Reason: fmt.Sprint(i)})
			want = append(want, fmt.Sprint(i))
			synctest.Wait()
		}
		n := 0
		for range slow { // it ends, and what it got is without a gap
			n++
		}
		diff(t, "the slow one got", n, subscriberQueue)
		cancel()
		cancel()
		<-done
		diff(t, "the quick one got", got, want)

		last, _ := h.subscribe()
		h.close()
		if _, open := <-last; open {
			t.Error("the end of the agent does not end the stream")
		}
		late, _ := h.subscribe()
		if _, open := <-late; open {
			t.Error("a stream of an agent that has ended does not end")
		}
	})
}

func TestHistoryIsJSONLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	h := openTestHistory(t, path)
	h.add(control.Event{Kind: kindHook, Reason: "two\nlines"})
	h.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "lines", bytes.Count(b, []byte("\n")), 1)
}
