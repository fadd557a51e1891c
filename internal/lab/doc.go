// Package lab builds small sites inside throw-away Linux namespaces: machines with a network card each, a
// switch between them, a client, faults, real services and observers that measure what a client sees.
// `hbagent demo`, the end-to-end tests and the benchmarks stand on it.
//
// # Sandbox
//
// Everything happens in a process that was started again (see [Sandbox.Run]) in own network, mount and PID
// namespaces, and in an own user namespace when the caller is not root. The first process there is a
// small init; when it goes, the kernel kills every process of the sandbox, and with them go the
// namespaces, links, mounts and rules. It goes with its parent (PR_SET_PDEATHSIG), so that even SIGKILL
// leaves nothing behind. [New] refuses to work outside a sandbox: the host is never touched.
//
//	host: hbagent demo
//	└─ init (PID 1; own net, mnt, pid namespaces; /run is a tmpfs)
//	   └─ worker: the demo or the test binary
//	      ├─ netns switch    bridge br0 with the ports p-web1, p-web2, ...
//	      ├─ netns web1      eth0 10.77.0.11: agent, Apache, memcached
//	      └─ netns client    eth0 10.77.0.100: observers
//
// A program that uses the lab calls [Reexec] before anything else in main; a test binary calls
// labtest.Main in TestMain, which does it too.
//
// # Concurrency
//
// The methods of [World], [Node], [Service] and the observers may be called from any goroutine. Those that
// change one node exclude each other; the caller decides on the order of faults. Code that must
// run in a node's network namespace is handed to [Node.Do], which pins it to a thread.
package lab
