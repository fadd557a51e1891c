// Package mysql is the role of a database: where the group is active, the node's
// MySQL or MariaDB server is the master, and elsewhere it is a read-only replica that
// follows it by GTID. docs/mysql.md is the manual for people; internal/role has the
// contract with the agent, whose Role interface this package implements.
//
// # Where things are
//
//	position*.go  what a server has, as a set of transactions: both kinds of GTIDs
//	state.go      what was seen of a server at one moment
//	dialect*.go   how a kind of server is asked and told: statements, and reading answers
//	judge.go      may this server be the master? Pure: the agent's Situation in
//	observe.go    a look in words, for gossip. Pure but for what Run remembers
//	follow.go     what is to be done about following (plan is pure), and doing it
//	activate.go   the way to the master: Prepare, Activate
//	demote.go     the way back: Deactivate; who is writing, and how that is ended
//	handover.go   HandOver, with its undoing, and CatchUp
//	run.go        Run: looks, and keeps the server as it was last wanted
//	examine.go    what doctor looks at
//	server.go     statements over a bounded pool, each with a timeout
//	dsn.go        accounts, from files; words.go: errors without them
//
// # Who does what when
//
// Run is one goroutine. It looks at the server twice a second and owns memory. Steps
// (Prepare, Activate, HandOver, Deactivate, and what Run does to the server itself)
// take turns: one at a time. A step of Run's is given up for any other; Deactivate,
// and a lost lease, end whatever step is under way. What is wanted of the server (the
// intent) is set before a step waits for its turn, so that a step that fails, or an
// agent that loses patience, leaves Run knowing what to go on trying.
//
// # What is safe by what
//
//  1. read_only goes off by one statement only (makeWritable), which carries the end of
//     the lease with it: the server evaluates the deadline, see docs/decisions/0023.
//  2. A server follows another only if that one has everything that it has itself
//     (plan): what both have is read from both, the follower first. Nothing is ever
//     thrown away to make a server follow; RESET MASTER, and a position that the
//     server does not have, are not among the statements of this package.
//  3. HandOver returns nil only when the server is read-only, the target has said that
//     it has the position, and the position is still the same after that.
//  4. Nothing received is given up by a takeover, except by force (Prepare).
//
// # Dialects
//
// MariaDB is run for real in the tests. MySQL 8 is not in the distribution: its
// statements are tested against a stand-in that knows them word for word and answers
// as its manual shows (fakemysql_test.go). What only a real server can show, such as how
// long super_read_only waits, is not tested there.
package mysql
