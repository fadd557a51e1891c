// Package apply keeps files on this machine as templates want them (see
// internal/template, which decides): it reads and replaces files, runs the check
// and the reload, and remembers what it owes over a restart of the agent.
//
// # Who calls whom
//
// A Task is one file, with a goroutine of its own in Run: a command that hangs
// holds up no other file. The agent's loop calls Show with each new View and never
// waits; of several that come while a command runs, the Task sees the last. What
// becomes of it is told through Options.OnChange, and is asked for with Status.
//
// # How a file is replaced
//
// The new content is written beside the file, under a hidden name that the usual
// patterns of include directives do not match (*.conf), flushed to the disk, and
// renamed over the file. With a check there are two ways:
//
//   - A check that names {{.Path}} looks at the new content where it was written,
//     and the file is replaced if it passes: `haproxy -c -f {{.Path}}`.
//   - A check that does not looks at the whole configuration of the service, of
//     which the file is a part that cannot be checked alone: `nginx -t`. The file
//     is replaced first, checked in its place, and put back if the check fails. A
//     hard link keeps the old content meanwhile. An agent that dies in between puts
//     it back when it is started again, since nobody has said that the new one is
//     good.
//
// A service that is started by somebody else in the middle of a check of the
// second kind reads content that was not checked yet; that lasts as long as the
// check.
//
// # What is owed
//
// Between the rename and a successful reload there is a note in the run directory,
// so that an agent that is restarted in between does not take the file for old
// news. After a boot the note is gone, and the service has read the file.
//
// # Root
//
// Where the agent is not root, the commands of a template with AsRoot are run by
// root: the agent asks at a socket of systemd's, and Serve, which systemd starts as
// root, runs what the config says for that template, and nothing else.
package apply
