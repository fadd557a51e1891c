package main

import (
	"testing"
	"time"
)

// What `make bench` asks for is remembered, and a time whose beginning would be forgotten is refused.
func TestWatchable(t *testing.T) {
	for span, want := range map[time.Duration]bool{2 * time.Minute: true, 15 * time.Minute: true, 16 * time.Minute: false, time.Hour: false} {
		if err := watchable(span); (err == nil) != want {
			t.Errorf("%v: %v", span, err)
		}
	}
}
