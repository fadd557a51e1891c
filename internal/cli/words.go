package cli

import "github.com/hbagent/hbagent/internal/words"

var (
	ago    = words.Ago
	millis = words.Millis
	count  = words.Count
	clean  = words.Clean
)

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
