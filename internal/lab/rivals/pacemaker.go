package rivals

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
)

// Pacemaker is Pacemaker on Corosync 3 (knet, encrypted), set up as a small site has it: three cluster nodes, of which
// db1 only votes; the addresses are one group of ocf:heartbeat:IPaddr2, first on web1, and stay where they are
// (resource-stickiness) when a machine comes back.
//
// It runs without fencing (stonith-enabled=false), as small sites do whose machines have no power switch to reach:
// a partition is decided by quorum alone (no-quorum-policy=stop), a side that was declared lost is believed to have
// stopped its resources, and nothing makes sure of that. Its manual warns of exactly this. With fencing nobody would
// answer twice, and a takeover would take longer by the time that fencing takes.
type Pacemaker struct{}

// Name is "pacemaker".
func (Pacemaker) Name() string { return "pacemaker" }

// pacemakerPrograms are what is run, with the Debian package of each.
var pacemakerPrograms = [][2]string{
	{"corosync", "corosync"}, {"corosync-cfgtool", "corosync"}, {"pacemakerd", "pacemaker"},
	{"crm_mon", "pacemaker-cli-utils"}, {"crm_resource", "pacemaker-cli-utils"}, {"crmadmin", "pacemaker-cli-utils"},
	{ocfRoot + "/heartbeat/IPaddr2", "resource-agents"},
	{"unshare", "util-linux"}, {"nsenter", "util-linux"}, {"setpriv", "util-linux"}, {"mount", "mount"}, {"hostname", "hostname"},
}

// Version is that of both daemons. ErrMissing is also what an ordinary user gets: Pacemaker's daemons run as two users,
// which the sandbox of one does not have.
func (Pacemaker) Version(ctx context.Context) (string, error) {
	for _, p := range pacemakerPrograms {
		if _, err := lookup(p[0], p[1]); err != nil {
			return "", err
		}
	}
	if _, err := clusterUser(); err != nil {
		return "", err
	}
	var said []string
	for _, c := range [][]string{{"pacemakerd", "--version"}, {"corosync", "-v"}} {
		line, err := firstLine(ctx, c[0], c[1])
		if err != nil {
			return "", err
		}
		said = append(said, line)
	}
	return strings.Join(said, ", "), nil
}

// An owner is a user with its group.
type owner struct{ uid, gid int }

// clusterUser is the user of Pacemaker's unprivileged daemons, or ErrMissing: it is not there before the package is
// installed, nor in the sandbox of an ordinary user.
func clusterUser() (owner, error) {
	u, err := user.Lookup("hacluster")
	if err != nil {
		return owner{}, fmt.Errorf("%w (package pacemaker): %w", err, ErrMissing)
	}
	var o owner
	var errs [2]error
	o.uid, errs[0] = strconv.Atoi(u.Uid)
	o.gid, errs[1] = strconv.Atoi(u.Gid)
	if err := errors.Join(errs[:]...); err != nil {
		return owner{}, err
	}
	for file, id := range map[string]int{"/proc/self/uid_map": o.uid, "/proc/self/gid_map": o.gid} {
		if !mapped(file, id) {
			return owner{}, fmt.Errorf("user hacluster, which only root can become (run it as root): %w", ErrMissing)
		}
	}
	if os.Geteuid() != 0 {
		return owner{}, fmt.Errorf("root's rights: %w", ErrMissing)
	}
	return o, nil
}

// mapped reports whether an id means somebody in our user namespace (user_namespaces(7)).
func mapped(file string, id int) bool {
	f, err := os.Open(file)
	if err != nil {
		return true // a kernel without user namespaces
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var inside, outside, length int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &length); err == nil && id >= inside && id-inside < length {
			return true
		}
	}
	return false
}

// Settings are by Corosync's token: the time without the token after which a node is lost, in the one setting that is
// as it comes before 650 ms are added for the third node (corosync.conf(5), token_coefficient), in the others as it is.
//
// Corosync's heartbeat is the token, which goes round the nodes all the time. In a ring at rest the first node holds it
// back for a time that follows from its timeout and token_retransmits_before_loss_const, 4 (corosync 3.1.7,
// exec/totemconfig.c; `corosync-cmapctl runtime.config.totem.hold` tells the same):
//
//	hold = 0.8 x token / (4 + 0.2) - 10 ms
//
// By default that is 685 ms; once a second as keepalived it is with a token of 5306 ms. 1000 ms were the default of
// Corosync 2. The least that it accepts is 126 ms: a retransmission, token / 4.2, may not be shorter than 30 ms. With 130
// and 300 ms it was seen to form new memberships on its own beside other work on the machine, though its threads have a
// real-time priority; with 1000 ms it was not.
func (Pacemaker) Settings() []Setting {
	at := func(pace string, token, effective time.Duration) Setting {
		return Setting{Name: fmt.Sprintf("token %d", token.Milliseconds()), Pace: pace, Heartbeat: tokenHold(effective), Value: token}
	}
	const ms = time.Millisecond
	return []Setting{
		at(Default, tokenDefault, tokenDefault+tokenCoefficient), at(Equal, 5306*ms, 5306*ms),
		at(Fastest, 1000*ms, 1000*ms), at("", 300*ms, 300*ms),
	}
}

// Given by corosync.conf(5).
const (
	tokenDefault     = 3000 * time.Millisecond
	tokenCoefficient = 650 * time.Millisecond // for each node beyond the second
)

// tokenHold is how long the token is held back in a ring at rest, see Settings; in whole milliseconds, as Corosync
// calculates.
func tokenHold(token time.Duration) time.Duration {
	retransmit := int(float64(token.Milliseconds()) / 4.2)
	return time.Duration(int(float64(retransmit)*0.8)-10) * time.Millisecond
}

// mostAddresses of a group. They are started one after the other, each by a shell script.
const mostAddresses = 100

// Prepare writes what every machine has on its disk: corosync.conf, the shared key, and the CIB (Pacemaker's
// configuration) as cibadmin would have left it there.
func (Pacemaker) Prepare(w *lab.World, s Setting, o Options) (Cluster, error) {
	o = o.withDefaults()
	if len(o.Addresses) > mostAddresses {
		return nil, fmt.Errorf("%d addresses in one group of Pacemaker's, at most %d: %w", len(o.Addresses), mostAddresses, ErrCannot)
	}
	p := &pacemaker{w: w, o: o, corosync: newDaemons(w, "corosync"), pacemakerd: newDaemons(w, "pacemakerd")}
	if err := p.write(s); err != nil {
		return nil, fmt.Errorf("prepare pacemaker: %w", err)
	}
	return p, nil
}
