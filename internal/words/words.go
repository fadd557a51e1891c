// Package words says durations and numbers the way hbagent's status does, in the terminal and on the
// status page.
package words

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Ago says for how long, in the two largest units that matter: "1d 2h", "3h 12m", "94s", "0s".
func Ago(now, since time.Time) string {
	if since.IsZero() {
		return "-"
	}
	d := max(now.Sub(since), 0).Round(time.Second)
	switch {
	case d < 100*time.Second:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return two(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "m")
	default:
		return two(d, 24*time.Hour, "d", time.Hour, "h")
	}
}

func two(d, big time.Duration, bigUnit string, small time.Duration, smallUnit string) string {
	if rest := d % big / small; rest > 0 {
		return fmt.Sprintf("%d%s %d%s", d/big, bigUnit, rest, smallUnit)
	}
	return fmt.Sprintf("%d%s", d/big, bigUnit)
}

// Millis gives milliseconds the digits they deserve: "0.3 ms", "42 ms", "1.2 s".
func Millis(ms float64) string {
	switch {
	case ms < 10:
		return decimal(ms) + " ms"
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return decimal(ms/1000) + " s"
	}
}

// decimal has one digit behind the point, or none if that is zero.
func decimal(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

// Count is "1 group", "2 groups", "no groups".
func Count(n int, thing string) string {
	switch n {
	case 0:
		return "no " + thing + "s"
	case 1:
		return "1 " + thing
	default:
		return fmt.Sprintf("%d %ss", n, thing)
	}
}

// Clean makes text from elsewhere (a service's answer, another node's message) harmless for a terminal
// and keeps it on one line.
func Clean(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)), " ")
}
