package scale_test

import (
	"os"
	"testing"

	"github.com/hbagent/hbagent/internal/cli"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, func(args []string) int { return cli.Main(args, os.Stdin, os.Stdout, os.Stderr) }))
}
