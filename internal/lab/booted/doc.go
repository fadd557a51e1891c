// Package booted boots a real systemd on the machines of a lab: with the units of the distribution, a disk
// that survives a power cut, an Apache and an SSH server. What only systemd does to an agent (jobs, watchdog, restarts,
// boots, packages) is tested there.
//
// # How
//
// A machine is a systemd-nspawn(1) in the network namespace of its [lab.Node], so that the observers and the faults of
// the lab work as with any other node. Its root is an overlay over a base that scripts/hosts-base.sh makes once and
// that is never written to:
//
//	sandbox (see package lab)
//	├─ netns web1           eth0 10.77.0.11
//	├─ overlay web1         base, and the machine's own disk on the sandbox's tmpfs
//	├─ cgroup  web1         in cgroup2, for the machine's systemd
//	└─ systemd-nspawn web1
//	   └─ systemd (PID 1 of the machine), hbagent.service, apache2.service, ...
//
// All of it ends with the sandbox, except the control groups, which are no namespace: [Main] removes them.
//
// What differs from a machine of its own: the machines share the kernel and its clock; MemoryMax=, TasksMax=,
// IPAddressDeny= and a negative OOMScoreAdjust= have no effect where the cgroup2 of this machine has no controllers.
//
// # Concurrency
//
// The methods of a Machine may be called from any goroutine. Power changes exclude each other.
package booted
