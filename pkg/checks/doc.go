// Package checks asks the services of this machine whether they work: Apache,
// nginx, MySQL, memcached, anything that speaks HTTP or TCP, Nagios plugins,
// systemd units, the network card and a neighbour on the wire.
//
// # From a probe to a status
//
//	Checker   one probe of one service: an answer, or a named reason why not
//	RiseFall  pure: results in, status out (pending, passing, failing)
//	Runner    runs every check on its own schedule and tells of changes
//
// A Checker knows its service and nothing of time: schedule, timeout, rise and
// fall belong to the Runner. Checker files hold no goroutines; the Runner's
// three small files hold them all.
//
// # What the Runner promises
//
//   - No check delays another, or the caller: each has its own goroutine, and
//     each probe one more, which is left behind when it outlives its timeout.
//   - At most one probe of a check exists at any time, abandoned or not. While
//     an abandoned one hangs, the next results are failures that say so.
//   - A probe starts one interval (±10 %) after the start of the one before;
//     starts that a slow probe has missed are skipped, not made up for.
//   - The first result decides at once. Later it takes Fall failures in a row
//     to fail and Rise successes in a row to pass; a Final failure fails at once.
//   - A change of status is reported at once, a change of the message at most
//     once a second and never lost.
//
// # Messages
//
// A message is one line of at most 200 bytes of printable text, whatever the
// service answered, and holds no credentials. It stays the same while nothing
// has changed: measured times go into Result.Took, not into the text.
//
// # Bounds
//
// Every answer is read up to a limit (see the constants of each file), every
// probe ends with its context, and a hostile answer can neither panic nor make
// the agent allocate more than that limit: the parsers are fuzzed.
package checks
