package checks

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestOneLine(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"plain":          {"200 OK", "200 OK"},
		"lines and tabs": {"a\r\n\tb  c\n", "a b c"},
		"terminal codes": {"\x1b[31mred\x1b[0m\x07", "[31mred [0m"},
		"invalid UTF-8":  {"a\xff\xfeb", "a b"},
		"text direction": {"a\u202eb\u200bc", "a b c"},
		"other scripts":  {"Größe 大", "Größe 大"},
		"nothing":        {"\x00\x01", ""},
		"long":           {strings.Repeat("a", 300), strings.Repeat("a", 197) + "…"},
		"just fits":      {strings.Repeat("a", 200), strings.Repeat("a", 200)},
		"long and wide":  {strings.Repeat("é", 150), strings.Repeat("é", 98) + "…"},
		"megabytes":      {strings.Repeat("\x00", 1<<20) + "a", "…"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, oneLine(tt.in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("a\nb")
	f.Fuzz(func(t *testing.T, s string) {
		got := withSuffix(oneLine(s), " (failure 1 of 2)")
		if len(got) > maxMessage || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\t\x1b\x00") {
			t.Errorf("oneLine(%q) = %q", s, got)
		}
		if again := oneLine(got); again != strings.TrimSpace(got) {
			t.Errorf("not stable: %q, then %q", got, again)
		}
	})
}
