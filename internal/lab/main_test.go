package lab_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m, helper)) }

// helper stands where hbagent's main would: roles of this test binary in processes of their own.
func helper(args []string) int {
	switch args[0] {
	case "exit":
		return 7
	case "hold": // says that it is there, and stays
		fmt.Println("inside", lab.Inside())
		select {}
	case "launch": // a sandbox with the rest as its worker
		code, err := lab.Sandbox{Args: append([]string{"hbagent"}, args[1:]...), Stdout: os.Stdout, Stderr: os.Stderr}.Run(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	case "agent", "crash":
		fmt.Fprintln(os.Stderr, "no such port: 7946")
		return 3
	case "env":
		fmt.Println(os.Getenv("HBAGENT_BOOT_ID"))
		return 0
	}
	return 2
}
