// Package detect looks at this machine for `hbagent init`: its networks, who listens on which socket, which of the
// services that hbagent knows answer, how long the machine stands still at times, and how far the other nodes are.
//
//	network.go   interfaces, their addresses, the gateway (netlink)
//	sockets.go   who listens where, from /proc: pure, over an fs.FS
//	services.go  the sockets' owners asked by the checks of pkg/checks
//	stall.go     how late this machine wakes up
//	ping.go      round trips to the other nodes (ICMP)
//
// It looks, and changes nothing. What cannot be seen (a process of another user, a service that does not answer) is
// missing in the answer; only a machine that tells nothing at all is an error. Every wait has a bound, and
// ends with its context. Nothing is kept between calls: any goroutine may call.
package detect
