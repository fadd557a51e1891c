package config

import _ "embed" // for the two files below

var (
	//go:embed example.toml
	example string
	//go:embed reference.toml
	reference string
)

// Example returns a short, commented configuration to start from.
func Example() string { return example }

// Reference returns a configuration with every key, its meaning, unit and default.
func Reference() string { return reference }
