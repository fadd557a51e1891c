// Package deploy has the files that are installed beside the program, for those of its parts that show them or run
// with them.
package deploy

import "embed"

// Examples are the configurations of deploy/examples, below "examples".
//
//go:embed examples
var Examples embed.FS
