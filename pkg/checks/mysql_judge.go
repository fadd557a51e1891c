package checks

import (
	"fmt"
	"strings"
	"time"
)

// judge says what a person wants to know first: what is wrong, then the numbers.
func (c *mysqlCheck) judge(seen mysqlSeen) Result {
	load := fmt.Sprintf("%d connections, %d running", seen.connected, seen.running)
	if seen.readOnly {
		load += ", read-only"
	}
	replication, broken := c.judgeReplication(seen)
	var wrong []string
	if got := onOff(seen.readOnly); c.readOnly != "" && got != c.readOnly {
		wrong = append(wrong, fmt.Sprintf("read_only is %s, want %s", got, c.readOnly))
	}
	if broken && c.maxLag > 0 {
		wrong = append(wrong, replication)
		replication = ""
	}
	if c.maxThreads > 0 && seen.running > c.maxThreads {
		wrong = append(wrong, fmt.Sprintf("%d threads running, at most %d", seen.running, c.maxThreads))
	}
	if replication != "" {
		load += "; " + replication
	}
	if len(wrong) > 0 {
		return fail("%s (%s)", strings.Join(wrong, "; "), load)
	}
	return pass("%s", load)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// judgeReplication describes the worst channel; empty if the server is no replica.
func (c *mysqlCheck) judgeReplication(seen mysqlSeen) (text string, broken bool) {
	if seen.denied {
		if c.maxLag == 0 {
			return "", false
		}
		return "the account may not see the replication: grant it REPLICATION CLIENT (MariaDB: SLAVE MONITOR)", true
	}
	lags := make(map[string]int64, len(seen.channels)) // channels that are gone are forgotten
	worst := int64(-1)
	for _, ch := range seen.channels {
		t, bad, lag := c.judgeChannel(ch, lags)
		if bad && !broken || bad == broken && lag > worst {
			text, worst = t, lag
		}
		broken = broken || bad
	}
	c.lags = lags
	return text, broken
}

// judgeChannel keeps the lag that was last seen for the time when the source does
// not answer. That is when this server may be wanted in its place: a replica is not
// to blame for a source that is gone.
func (c *mysqlCheck) judgeChannel(ch channel, lags map[string]int64) (text string, broken bool, lag int64) {
	who := "replica of " + ch.source
	if ch.name != "" {
		who += " (" + ch.name + ")"
	}
	last, heard := c.lags[ch.name]
	if heard {
		lags[ch.name] = last
	}
	switch {
	case ch.applies != "Yes":
		return who + " applies nothing" + because(ch.applyError), true, 0
	case ch.receives == "Connecting" && heard:
		text = fmt.Sprintf("%s, which does not answer, %ds behind before", who, last)
		return text + because(ch.receiveError), c.late(last), last
	case ch.receives != "Yes":
		return who + " receives nothing" + because(ch.receiveError), true, 0
	case !ch.known:
		return who + ", lag unknown", true, 0
	}
	lags[ch.name] = ch.behind
	return fmt.Sprintf("%s, %ds behind", who, ch.behind), c.late(ch.behind), ch.behind
}

func (c *mysqlCheck) late(seconds int64) bool {
	return c.maxLag > 0 && seconds > int64(c.maxLag/time.Second)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
