package rivals

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hbagent/hbagent/internal/lab"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Hbagent is hbagent itself: agents on web1, web2 and db1, one group on the first two.
type Hbagent struct {
	Program string // for Version
	// Handover is the group's: "drain" (the default) or "strict".
	Handover string
}

const (
	hbagentGroup = "web"
	// hbagentNice is that of hbagent.service.
	hbagentNice = -10
)

// Name is "hbagent".
func (Hbagent) Name() string { return "hbagent" }

// Version is what `hbagent version` prints.
func (t Hbagent) Version(ctx context.Context) (string, error) {
	program, err := lookup(t.Program, "hbagent")
	if err != nil {
		return "", err
	}
	return firstLine(ctx, program, "version")
}

// Settings are the default ttl, the one at which the owner renews once a second, and shorter ones.
func (Hbagent) Settings() []Setting {
	at := func(pace string, ttl time.Duration) Setting {
		return Setting{Name: "ttl " + shortly(ttl), Pace: pace, Heartbeat: lease.RenewInterval(ttl), Value: ttl}
	}
	return []Setting{at(Default, time.Second), at(Equal, renewedEvery(time.Second)), at("", 300*time.Millisecond), at("", 100*time.Millisecond),
		at(Fastest, 50*time.Millisecond)}
}

// renewedEvery is the ttl of a lease that is renewed that often, in whole milliseconds.
func renewedEvery(d time.Duration) time.Duration {
	perTTL := float64(time.Second) / float64(lease.RenewInterval(time.Second))
	return time.Duration(float64(d) * perTTL).Truncate(time.Millisecond)
}

// shortly is a duration as a config file has it: "1s", "300ms".
func shortly(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

type hbagent struct {
	w *lab.World
	s Setting
}

// realtimeBelow is the ttl below which the agents get the drop-in that docs/operations.md has for a short one, as
// keepalived gets its real-time priority.
const realtimeBelow = 300 * time.Millisecond

const realtimeDropIn = `[Service]
Environment=HBAGENT_REALTIME=1
LimitRTPRIO=1
RestrictRealtime=no
LimitRTTIME=3s
`

// Prepare writes one config for all three.
func (t Hbagent) Prepare(w *lab.World, s Setting, o Options) (Cluster, error) {
	o = o.withDefaults()
	c := w.Config()
	c.Lease.TTL = shortly(s.Value)
	g := w.WebGroup("web1", "web2")
	g.Addresses, g.Hold, g.MaxMoves, g.Handover = texts(o.Addresses), "0s", "1000/1m", t.Handover
	if o.Service {
		c.Checks = []lab.CheckConfig{{Name: "web", Type: "http", URL: "http://127.0.0.1/", Interval: "200ms", Timeout: "1s", Fall: 2, Rise: 1, Nodes: []string{"web1", "web2"}}}
		g.Checks = []string{"web"}
	}
	c.Groups = []lab.GroupConfig{g}
	if o.Groups > furtherMost {
		return nil, fmt.Errorf("%d further groups, at most %d", o.Groups, furtherMost)
	}
	for i := range o.Groups {
		further := w.WebGroup("web1", "web2")
		further.Name, further.Addresses = fmt.Sprintf("g%d", i+1), []string{furtherAddress(i).String()}
		c.Groups = append(c.Groups, further)
	}
	if s.Value < realtimeBelow {
		w.AgentEnvironment("HBAGENT_REALTIME=1")
	}
	return &hbagent{w, s}, w.WriteConfig(c)
}

// furtherMost is how many addresses furtherAddress has.
const furtherMost = 1000

// furtherAddress is the address of the i-th further group, beside what the lab gives its machines.
func furtherAddress(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(64 + i/250), byte(1 + i%250)}), 32)
}

func texts(prefixes []netip.Prefix) []string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return out
}

func (h *hbagent) Nodes() []string { return []string{"web1", "web2", "db1"} }

func (h *hbagent) Start(ctx context.Context, node string) error {
	if err := h.w.Node(node).StartAgent(ctx); err != nil {
		return err
	}
	return h.w.Node(node).NiceAgent(hbagentNice)
}

func (h *hbagent) Stop(ctx context.Context, node string) error { return h.w.Node(node).StopAgent(ctx) }

// Restart ends the agent with SIGUSR2, as the unit's restart does: it keeps what it has.
func (h *hbagent) Restart(ctx context.Context, node string) error {
	return errors.Join(h.w.Node(node).RestartAgent(ctx, false), h.w.Node(node).NiceAgent(hbagentNice))
}

// Ready asks the agents. Who has the addresses is for observers: reading a thousand of them takes longer than a ttl.
func (h *hbagent) Ready(ctx context.Context, owner string) error {
	err := lab.Poll(ctx, func() error {
		g, err := h.w.Node(owner).Group(ctx, hbagentGroup)
		if err == nil && g.Owner != owner {
			err = fmt.Errorf("group %s: owner %q as %s says (%s: %s)", hbagentGroup, g.Owner, owner, g.State, g.Reason)
		}
		return err
	})
	return errors.Join(err, h.w.WaitEligible(ctx, hbagentGroup, pair()...))
}

func (h *hbagent) Kill(_ context.Context, node string) error { return h.w.Node(node).KillAgent() }

func (h *hbagent) Signal(node string, sig syscall.Signal) error {
	return h.w.Node(node).SignalAgent(sig)
}

func (h *hbagent) Switchover(ctx context.Context, from, to string) error {
	out, err := h.w.Node(from).Hbagent(ctx, "switchover", hbagentGroup, "--to", to, "--no-wait")
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
	}
	return nil
}

func (h *hbagent) PIDs(node string) []int {
	pid, ok := h.w.Node(node).AgentPID()
	if !ok {
		return nil
	}
	return family(pid)
}

func (h *hbagent) Configs() map[string]string {
	f := files(h.w.Node("web1").ConfigFile())
	if h.s.Value < realtimeBelow {
		f["hbagent.service.d-realtime.conf"] = realtimeDropIn
	}
	return f
}

// files reads configuration files; of one that cannot be read it says why.
func files(paths ...string) map[string]string {
	out := make(map[string]string)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte(err.Error())
		}
		out[path[strings.LastIndexByte(path, '/')+1:]] = string(text)
	}
	return out
}

// family is a process with its children and theirs.
func family(pid int) []int {
	all := []int{pid}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // gone: no children either
	for _, task := range tasks {
		list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, child := range strings.Fields(string(list)) {
			var n int
			if _, err := fmt.Sscan(child, &n); err == nil {
				all = append(all, family(n)...)
			}
		}
	}
	slices.Sort(all)
	return all
}
