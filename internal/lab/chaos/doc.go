// Package chaos makes faults in a site of the lab, alone and several at once, looks at it from outside all the time,
// and holds what it saw against what hbagent promises:
//
//   - Safety. No question on the wire (ARP, neighbour discovery) is answered by two machines, no machine claims the
//     address in the middle of another one's reign, and no two gates are open at one moment.
//   - Progress. When every fault is over, one machine answers within a bound, the client's neighbour table
//     points at it, and it stays there.
//
// Faults are values ([Fault]): a test writes a list of them, [NewPlan] draws one from a seed. The same seed gives the
// same list, with the same lengths and pauses; what comes of it also depends on the machine's scheduling.
//
// Observers are those of package lab, which take nobody's word. [Judge] reads them while the run goes on, and keeps
// what it needs to tell of a violation: memory does not grow with the length of a run.
package chaos
