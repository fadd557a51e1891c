package config

import (
	"fmt"
	"net/url"
)

// Chosen by us: beyond what any server of a small site reaches.
const maxLimit = 1_000_000

// Values of read_only of a check.
const (
	readOnlyOn  = "on"
	readOnlyOff = "off"
)

// checkLimits judges the keys that make a check of a working service fail.
func (v *validator) checkLimits(raw *rawCheck, c *Check) {
	c.MaxBusy = v.limit("max_busy", &raw.MaxBusy)
	c.MaxActive = v.limit("max_active", &raw.MaxActive)
	c.MaxDropped = v.limit("max_dropped", &raw.MaxDropped)
	c.MaxThreads = v.limit("max_threads", &raw.MaxThreads)
	if raw.MaxLag.given() {
		if c.MaxLag = raw.MaxLag.value; c.MaxLag < minMaxLag || c.MaxLag > maxMaxLag {
			v.refuse(raw.MaxLag.at, fmt.Sprintf("max_lag = %s is out of bounds", quote(shortDuration(c.MaxLag))),
				fmt.Sprintf("write a duration from %s to %s, or delete the line to show the lag only", quote(shortDuration(minMaxLag)), quote(shortDuration(maxMaxLag))))
		}
	}
	if raw.ReadOnly.given() {
		c.ReadOnly = raw.ReadOnly.value
		if c.ReadOnly != readOnlyOn && c.ReadOnly != readOnlyOff {
			v.refuse(raw.ReadOnly.at, "read_only = "+quote(c.ReadOnly)+" is neither on nor off", `write read_only = "on" or "off", or delete the line to accept both`)
		}
	}
	if u, err := url.Parse(c.URL); c.Type == "apache" && raw.MaxBusy.given() && c.URL != "" && err == nil && !u.Query().Has("auto") {
		v.clash(raw.MaxBusy.key, "max_busy counts the workers that mod_status shows, and url is another page",
			`write url = "http://127.0.0.1/server-status?auto", or delete max_busy`, raw.URL.at, "the page")
	}
}

// limit is 0 where the file has none.
func (v *validator) limit(key string, s *setting[int64]) int {
	if s.given() && (s.value < 1 || s.value > maxLimit) {
		v.refuse(s.at, fmt.Sprintf("%s = %d is out of bounds", key, s.value), fmt.Sprintf("write a number from 1 to %d, or delete the line for no limit", maxLimit))
		return 0
	}
	return int(s.or(0))
}
