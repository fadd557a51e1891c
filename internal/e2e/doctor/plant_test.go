package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbagent/hbagent/internal/doctor"
	"github.com/hbagent/hbagent/internal/lab"
)

// A plant is one fault, and what doctor must say of it.
type plant struct {
	name string
	on   string   // the node on which doctor looks
	want []string // what must be found: the fault's own identifier first, then what else always follows from it
	may  []string // what may follow from it
	says string   // in the text of the first
	fine []string // what must be found to be good all the same
	run  run      // how doctor is called; on is filled in
	// plant makes the fault, and returns what ends it. It may change the run.
	plant func(t *testing.T, s *site, r *run) (mend func() error)
}

// try plants one fault, looks, and mends it.
func (s *site) try(t *testing.T, p plant) {
	t.Helper()
	r := p.run
	r.on = p.on
	mend := p.plant(t, s, &r)
	report, code := s.doctor(t, r, append(slices.Clone(p.want), p.may...)...)
	if mend != nil {
		defer func() { must(t, mend()) }()
	}
	found := bad(report)
	worst, ok := 0, false
	for _, f := range report.Findings {
		switch f.Level {
		case doctor.Problem:
			worst = 2
		case doctor.Warning:
			worst = max(worst, 1)
		default:
			continue
		}
		if f.Do == "" {
			t.Errorf("%s: nothing to do is said: %s", f.ID, f.Text)
		}
		ok = ok || f.ID == p.want[0] && strings.Contains(f.Text, p.says)
	}
	if code != worst {
		t.Errorf("doctor exits %d, want %d", code, worst)
	}
	if !ok {
		t.Errorf("nothing of %s says %q", p.want[0], p.says)
	}
	for _, id := range p.want {
		if !slices.Contains(found, id) {
			t.Errorf("%s was not found", id)
		}
	}
	for _, id := range p.fine {
		if slices.ContainsFunc(report.Findings, func(f doctor.Finding) bool { return f.ID == id && f.Level != doctor.OK }) {
			t.Errorf("%s is not fine", id)
		}
	}
	for _, id := range found {
		if !slices.Contains(p.want, id) && !slices.Contains(p.may, id) {
			t.Errorf("%s was found, which was not planted", id)
		}
	}
	if t.Failed() {
		t.Logf("doctor on %s said:\n%s", p.on, said(report))
	}
}

// Small steps for plants.

// sysctl sets one on a node until it is mended.
func sysctl(node, key, value string) func(*testing.T, *site, *run) func() error {
	return func(t *testing.T, s *site, _ *run) func() error {
		was, err := s.Node(node).Sysctl(key, value)
		must(t, err)
		return func() error {
			_, err := s.Node(node).Sysctl(key, was)
			return err
		}
	}
}

// rooted gives doctor a machine's files.
func rooted(files map[string]string) func(*testing.T, *site, *run) func() error {
	return func(t *testing.T, _ *site, r *run) func() error {
		r.root = root(t, files)
		return nil
	}
}

// do runs programs on a node, one after the other, and undo when mended.
func do(node string, steps []string, undo []string) func(*testing.T, *site, *run) func() error {
	return func(t *testing.T, s *site, _ *run) func() error {
		for _, step := range steps {
			must(t, s.shell(t.Context(), node, step))
		}
		return func() error {
			var errs []error
			for _, step := range undo {
				errs = append(errs, s.shell(context.WithoutCancel(t.Context()), node, step))
			}
			return errors.Join(errs...)
		}
	}
}

func (s *site) shell(ctx context.Context, node, line string) error {
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	_, err := s.Node(node).Output(ctx, cmd)
	return err
}

// rule drops packets on a node, by nftables.
func rule(node, rule string) func(*testing.T, *site, *run) func() error {
	return do(node, []string{
		"nft 'add table inet fault'",
		"nft 'add chain inet fault in { type filter hook input priority 0; }'",
		fmt.Sprintf("nft 'add rule inet fault in %s drop'", rule),
	}, []string{"nft 'delete table inet fault'"})
}

// mode changes that of a file.
func mode(t *testing.T, path string, mode os.FileMode) func() error {
	st, err := os.Stat(path)
	must(t, err)
	must(t, os.Chmod(path, mode))
	return func() error { return os.Chmod(path, st.Mode()) }
}

// listen serves pages on a node at an address.
func (s *site) listen(t *testing.T, node, addr string) func() error {
	var l net.Listener
	// Whoever had the port before may take a moment to be gone.
	must(t, retry(within(t), func() error {
		return s.Node(node).Do(func() (err error) {
			l, err = net.Listen("tcp", addr)
			return err
		})
	}))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "here") })}
	go func() { _ = srv.Serve(l) }()
	return srv.Close
}

// configure gives one node a config of its own, which its agent loads by a restart; mend takes both back.
func (s *site) configure(t *testing.T, node string, edit func(*lab.Config)) func() error {
	t.Helper()
	n := s.Node(node)
	c := s.config
	c.Groups = slices.Clone(c.Groups)
	edit(&c)
	restart := func(ctx context.Context) error { return errors.Join(n.KillAgent(), n.StartAgent(ctx)) }
	must(t, n.WriteConfig(c))
	must(t, restart(within(t)))
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return errors.Join(n.WriteConfig(s.config), restart(ctx), s.meshed(ctx))
	}
}

// stopped stops the agent of a node until it is mended.
func stopped(node string) func(*testing.T, *site, *run) func() error {
	return func(t *testing.T, s *site, _ *run) func() error {
		must(t, s.Node(node).StopAgent(within(t)))
		return func() error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return errors.Join(s.Node(node).StartAgent(ctx), s.meshed(ctx))
		}
	}
}

// background runs f until mended.
func background(f func(stop <-chan struct{})) func() error {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); f(stop) }()
	return func() error { close(stop); <-ended; return nil }
}

// every calls f each d until stop.
func every(d time.Duration, stop <-chan struct{}, f func()) {
	for {
		f()
		select {
		case <-stop:
			return
		case <-time.After(d):
		}
	}
}

// unitFile is the unit as it is shipped.
func unitFile(t *testing.T) string {
	b, err := os.ReadFile(filepath.Join("../../..", "deploy/systemd/hbagent.service"))
	must(t, err)
	return string(b)
}
