// Command hbagent keeps floating IP addresses on one healthy machine of a few, and never on two.
package main

import (
	"os"

	"github.com/hbagent/hbagent/internal/cli"
	"github.com/hbagent/hbagent/internal/lab"
)

func main() {
	lab.Reexec() // the demo starts this program again, as the first process of its sandbox
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
