package config

import (
	"regexp"
	"strconv"
	"strings"
)

// maxSuggested is the longest word that is compared; names are at most 63 characters.
const maxSuggested = 64

var number = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// quote puts s into quotes for a message; very long text is cut.
func quote(s string) string {
	if r := []rune(s); len(r) > maxSuggested {
		s = string(r[:maxSuggested-3]) + "..."
	}
	return strconv.Quote(s)
}

// suggest returns the candidate that was probably meant by word, if one is near
// enough: a third of its letters wrong, or one of the two begins with the other.
func suggest(word string, candidates []string) (string, bool) {
	if word == "" || len(word) > maxSuggested {
		return "", false
	}
	word = strings.ToLower(word)
	best, bestDistance := "", maxSuggested
	for _, c := range candidates {
		low := strings.ToLower(c)
		limit := max(1, (max(len(low), len(word))+1)/3)
		dist := distance(word, low)
		if shorter := min(len(low), len(word)); shorter >= 3 && low[:shorter] == word[:shorter] {
			dist = min(dist, limit) // addr for address, checks_for for checks
		}
		if dist <= limit && dist < bestDistance {
			best, bestDistance = c, dist
		}
	}
	return best, best != ""
}

// distance is the number of letters to insert, delete, replace, or swap with their
// neighbour (Damerau-Levenshtein, restricted form) to make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(replace, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
