package role

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewer(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	old, late := Last{Node: "db1", Epoch: 4, At: at}, Last{Node: "db1", Epoch: 4, At: at.Add(time.Second)}
	next := Last{Node: "db2", Epoch: 5, At: at.Add(-time.Hour)} // its clock is wrong
	for name, tt := range map[string]struct {
		a, b Last
		want bool
	}{
		"later":           {late, old, true},
		"earlier":         {old, late, false},
		"the same":        {old, old, false},
		"a later epoch":   {next, late, true},
		"an epoch before": {late, next, false},
		"none before":     {old, Last{}, true},
		"none":            {Last{}, old, false},
	} {
		if got := tt.a.Newer(tt.b); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// What is gossiped comes back as it was, and an observation of nothing is short.
func TestObservationTravels(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	o := Observation{
		At: at, Down: "a", Position: "0-1-5", Received: "0-1-7", Writable: true, Following: "db1", Connected: true,
		CurrentTo: at.Add(-time.Second), LagMs: 1000, Broken: "b", Diverged: "c", SemiSync: "on", Warning: "d", Version: "e",
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var got Observation
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if o.Has() != "0-1-7" || (Observation{Position: "0-1-5"}).Has() != "0-1-5" {
		t.Error("Has is not what has been received")
	}
	if lag, ok := o.Lag(); lag != time.Second || !ok {
		t.Errorf("lag %v, %v", lag, ok)
	}
	if _, ok := (Observation{LagMs: -1}).Lag(); ok {
		t.Error("a lag of -1 is known")
	}
}
