package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestHunt(t *testing.T) {
	if os.Getenv("HUNT") == "" {
		t.Skip()
	}
	n := number(t, "HUNT", 0)
	kinds := map[string]int{}
	first := map[string]string{}
	total := 0
	for s := number(t, "HBAGENT_SIM_FROM", 1); s <= n; s++ {
		_, err := Run(s, Options{Nodes: int(number(t, "NODES", 0))})
		if err == nil {
			continue
		}
		line := strings.SplitN(err.Error(), "\n", 2)[0]
		k := line
		if i := strings.Index(k, "): "); i > 0 {
			k = k[i+3:]
		}
		k = k[:min(len(k), 12)]
		kinds[k]++
		if kinds[k] <= 2 {
			first[k] += "\n   " + line
		}
		if total++; total >= 8 && os.Getenv("ALL") == "" {
			fmt.Println("stopped at", s)
			break
		}
	}
	for k, c := range kinds {
		fmt.Println(c, k, first[k])
	}
}
