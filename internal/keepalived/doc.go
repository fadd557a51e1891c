// Package keepalived reads keepalived.conf and makes a draft of hbagent.toml of it, for `hbagent config import`.
//
//	lines.go     files -> lines: comments, continuation, include, $PARAMETER, @condition
//	parse.go     lines -> tree of statements and blocks
//	model.go     tree -> what one machine's keepalived does, and notes about the rest
//	instance.go  the part of it about vrrp_instance
//	words.go     the keywords that mean nothing here, and those whose loss must be told
//	merge.go     the models of several machines -> groups of addresses, by who shares them
//	convert.go   groups -> a draft.Draft, with names and addresses
//	groups.go    one group, and the checks and hooks it takes along
//	checks.go    scripts, interfaces and processes -> checks
//
// The syntax is that of keepalived.conf(5) of version 2.2, as its parser takes it (lib/parser.c): a statement is a
// line, a block may open on the next one. Not read are ~SEQ and ~LST; that is noted, as is everything else that
// cannot be carried over: each [Note] has its file and line, and says why.
//
// The package is pure but for the [Files] it is given. What it reads may be hostile: depth, size, number of files, and the
// growth of parameters are bounded, and no input panics (FuzzParse).
package keepalived
