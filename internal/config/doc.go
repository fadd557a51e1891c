// Package config reads hbagent's configuration file: raw TOML in, a validated
// Config out, and nothing half-checked in between.
//
// The way of a file, one step a file of this package:
//
//	source.go    bytes -> text that can be shown line by line (size, UTF-8, BOM)
//	scan*.go     text -> tree of places: where each key and each value stands
//	read.go      text -> values (BurntSushi/toml), joined with their places
//	raw.go       the keys that exist, as Go structs: the schema
//	decode.go    values -> raw structs: unknown keys, wrong types
//	validate*.go raw structs -> Config: names, bounds, relations, defaults
//
// Each step that finds something wrong reports it and goes on, so that a person
// sees every mistake of a file at once (at most maxProblems of them), each with
// its line, a caret, and what to write instead. A value that could not be read is
// marked and not judged a second time.
//
// A Config is immutable once Parse has returned it: any goroutine may read it, and
// a reload makes a new one (Diff tells the two apart). The package has no state, it
// logs nothing, and only Load and ReadKeys touch the file system.
//
// reference.toml is the documentation of every key, and a test: it must parse, and
// every key of raw.go must be in it.
package config
