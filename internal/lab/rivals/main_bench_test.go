//go:build bench

package rivals

import (
	"os"
	"testing"

	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m, nil)) }
