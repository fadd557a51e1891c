package lab

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// echoPort is where the stand-in of [Node.Echo] answers datagrams (RFC 862).
const echoPort = 7

// echoBytes is the number that a question of an [EchoProbe] carries; the answer adds the machine's name.
const echoBytes = 8

// Echo prepares a stand-in that answers HTTP like [Node.BuiltinWeb] and, for an [EchoProbe], every datagram to port 7
// of any address of the machine: from that address, with the datagram and the machine's name. Both go when it goes.
func (n *Node) Echo() *Service {
	return n.builtin("echo", &Service{Kind: "http", Label: "built-in web and echo server", Port: webPort, hello: getRoot})
}

// echoMain is that stand-in.
func echoMain(args []string) int {
	fs := flag.NewFlagSet("echo", flag.ContinueOnError)
	fs.String("listen", "", "address of the web server")
	name := fs.String("name", "", "name of the node")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	fd, err := echoSocket(net.IPv4zero.String(), echoPort)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go answerEcho(fd, []byte(*name))
	return webMain(args)
}

// echoSocket is a blocking socket: a datagram each millisecond costs less without the runtime's poller.
func echoSocket(addr string, port int) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return 0, fmt.Errorf("IP_PKTINFO: %w", err)
	}
	sa := &unix.SockaddrInet4{Port: port}
	copy(sa.Addr[:], net.ParseIP(addr).To4())
	if err := unix.Bind(fd, sa); err != nil {
		return 0, fmt.Errorf("bind %s: %w", net.JoinHostPort(addr, strconv.Itoa(port)), err)
	}
	return fd, nil
}

// answerEcho answers from the address that was asked (ip(7), IP_PKTINFO): with many on one card the kernel would
// choose another.
func answerEcho(fd int, name []byte) {
	buf, oob := make([]byte, 64), make([]byte, 128)
	for {
		n, k, _, from, err := unix.Recvmsg(fd, buf, oob, 0)
		if err != nil || n < echoBytes {
			continue // interrupted, or no question of ours
		}
		asked, ok := askedAddress(oob[:k])
		if !ok {
			continue
		}
		// Fails when the address has gone meanwhile: then nobody answers, which is true.
		_ = unix.Sendmsg(fd, append(buf[:echoBytes:echoBytes], name...), unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: asked}), from, 0)
	}
}

func askedAddress(oob []byte) (addr [4]byte, ok bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return addr, false
	}
	for _, m := range messages {
		// struct in_pktinfo: interface, local address, address in the header (ip(7)).
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12 {
			return [4]byte(m.Data[8:12]), true
		}
	}
	return addr, false
}
