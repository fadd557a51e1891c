// Package web serves the status page and its neighbours over HTTP: what
// `hbagent status` and `hbagent events` say, for browsers and for programs that
// have no access to the agent's socket.
//
//	/            the page, for people
//	/live        its live updates (server-sent events)
//	/api/status  the same as `hbagent status --json`
//	/metrics     whatever [Options].Metrics answers
//	/healthz     200 while the agent's loop answers
//
// # What it may cost
//
// The agent has an address to keep, and the page must not get in its way,
// whoever asks and however often. Nothing here can change anything: GET and HEAD
// only, and the package knows no command. The agent's loop is asked five times a
// second at most, for all readers together; connections, live readers, the size
// of a request and the time for each step have a bound. A page that cannot be
// served never stops the agent: it is said in the status, and tried again.
//
// # Who may read
//
// Whoever can reach the address: there is no login. A browser must not become
// the way in for a web site that cannot reach it itself, so a request must name
// this machine in its Host header (else a name of the attacker's that leads to
// this address would do), and must not come from another site's script.
//
// # Goroutines
//
// Run owns the listeners. Set and Problems may be called from any goroutine.
package web
