package config

import (
	"errors"
	"os"
	"testing"
	"unicode/utf8"
)

// FuzzParse: no input panics, every refusal is a bounded list of problems with a hint
// and a place inside the text, and what is accepted is accepted the same way again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte(Reference()))
	for _, dir := range []string{"bad", "warn"} {
		for _, name := range files(f, dir) {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("fuzz.toml", data)
		if err == nil {
			again, err := Parse("fuzz.toml", data)
			if err != nil || again.Hash != cfg.Hash || !Diff(cfg, again).Empty() {
				t.Fatalf("a second Parse differs: %v", err)
			}
			if len(cfg.Warnings) > maxCollected {
				t.Fatalf("%d warnings", len(cfg.Warnings))
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 || len(problems) > maxProblems+1 {
			t.Fatalf("error is %T with %d entries", err, len(problems))
		}
		if !utf8.ValidString(err.Error()) {
			t.Fatalf("the message is not UTF-8: %q", err.Error())
		}
		for _, p := range problems {
			if p.Hint == "" || p.Message == "" {
				t.Fatalf("no hint or no message: %+v", p)
			}
			if runes := utf8.RuneCountInString(p.Text); p.Line > 0 && (p.Col < 1 || p.Width < 1 || p.caret < 0 || p.caret > runes || runes > maxLineShown) {
				t.Fatalf("place out of the line: %+v caret %d", p, p.caret)
			}
		}
	})
}
