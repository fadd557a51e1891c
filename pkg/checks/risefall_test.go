package checks

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The scripts have a letter for each result, and one for each status after it:
// o success, x failure, X final failure; P passing, F failing.
func TestRiseFall(t *testing.T) {
	for name, tt := range map[string]struct {
		rise, fall    int
		results, want string
	}{
		"first success decides":         {3, 3, "o", "P"},
		"first failure decides":         {3, 3, "x", "F"},
		"fall counts in a row":          {1, 3, "oxxoxxx", "PPPPPPF"},
		"rise counts in a row":          {3, 1, "xooxooo", "FFFFFFP"},
		"one is at once":                {1, 1, "oxoxo", "PFPFP"},
		"below one is one":              {0, -1, "oxo", "PFP"},
		"final does not wait":           {2, 5, "oX", "PF"},
		"final in the middle of a row":  {2, 5, "oxX", "PPF"},
		"final while failing":           {2, 2, "xoXoo", "FFFFP"},
		"the count starts anew":         {2, 2, "oxxoxoo", "PPFFFFP"},
		"a failure resets the rise row": {2, 2, "xoxoxoo", "FFFFFFP"},
	} {
		t.Run(name, func(t *testing.T) {
			rf := RiseFall{Rise: tt.rise, Fall: tt.fall}
			var got strings.Builder
			for _, r := range tt.results {
				rf = rf.Next(r == 'o', r == 'X')
				got.WriteString(map[Status]string{Pending: "-", Passing: "P", Failing: "F"}[rf.Status])
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("statuses after %s (-want +got):\n%s", tt.results, diff)
			}
		})
	}
}

func TestRiseFallExplain(t *testing.T) {
	rf := RiseFall{Rise: 3, Fall: 2}.Next(true, false).Next(false, false)
	if diff := cmp.Diff("down (failure 1 of 2)", rf.Explain("down")); diff != "" {
		t.Error(diff)
	}
	if got := rf.Explain(strings.Repeat("ü", 200)); len(got) > maxMessage || !strings.HasSuffix(got, "ü… (failure 1 of 2)") {
		t.Errorf("a long message: %q", got)
	}
	rf = rf.Next(false, false)
	if diff := cmp.Diff("down", rf.Explain("down")); diff != "" {
		t.Error(diff)
	}
	rf = rf.Next(true, false)
	if diff := cmp.Diff("up (success 1 of 3)", rf.Explain("up")); diff != "" {
		t.Error(diff)
	}
}

func TestStatusString(t *testing.T) {
	got := []string{Pending.String(), Passing.String(), Failing.String(), Status(9).String()}
	if diff := cmp.Diff([]string{"pending", "passing", "failing", "Status(9)"}, got); diff != "" {
		t.Error(diff)
	}
}
