// Package control is the agent's unix socket: HTTP and JSON on `<run-dir>/control.sock`.
//
// An [Agent] stands behind a [Server]; a [Client] asks from the outside. Everybody on the machine may
// read the status and the history. Commands (switchover, reload, running the checks) are for root, for
// the user the agent runs as, and for members of the group hbagent; the kernel says who is calling
// (SO_PEERCRED, unix(7)), so there is no password.
//
// Long answers (a switchover's steps, events to follow) are streams of one JSON object a line, with a
// sign of life in between, so that either side notices when the other has stopped.
//
// [Status.Problems] is the one place that judges a status: the verdict line of `hbagent status` and its
// exit code both come from there and cannot disagree.
package control
