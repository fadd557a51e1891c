package scale

import "testing"

func TestBrief(t *testing.T) {
	for why, want := range map[string]string{
		"one":                                   "one",
		"n1 ended; its last words:\na\nb":       "n1 ended; its last words: (and 2 more lines)",
		"n1 ended:\na\npanic: x\n\ngoroutine 1": "n1 ended: panic: x (and 3 more lines)",
	} {
		if got := brief(why); got != want {
			t.Errorf("%q: %q, want %q", why, got, want)
		}
	}
}
