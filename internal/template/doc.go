// Package template decides what the files say that follow the cluster: the
// upstreams of an nginx, the memcached pool of a PHP. It is pure: a View of the
// cluster goes in, and out comes what the file should be, and what to do next.
//
//	View      the cluster as one node knows it, at one moment
//	Template  text/template with functions for the cluster: View in, Outcome out
//	Machine   outcomes, results and a time in, the next action out
//
// Reading, writing and the commands are internal/template/apply; who calls
// whom is said there.
//
// # What is never written
//
//   - A list without an entry. A proxy that is told "no web server" serves nobody,
//     where it would otherwise try the last ones it knew: they may well work for
//     visitors, and fail the check for another reason. The file stays, and the
//     status says so. So it is with the owner of a group that has none.
//   - Anything at all, while this node hears fewer voters than a majority. It
//     cannot tell whether the others are down or itself is cut off; if it is, the
//     web servers may still be reachable, and a list of those it hears is worth
//     less than the last one. A node that is cut off notices its peers one by one:
//     so after each that goes down, a majority has to answer first (View.Doubt).
//   - Anything, in the first moments of the agent or after it was cut off, until
//     every node was heard or StartPatience is over: a restart must not take
//     servers out and put them back.
//
// # What counts as healthy
//
// A node is healthy by a check if its agent is heard, it is not in maintenance,
// and the check passes there. A check that has not answered yet, because the
// agent there was restarted, counts as before (View.After).
package template
