package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/hbagent/hbagent/internal/config"
)

// Chosen by us.
const (
	// Limit bounds everything.
	Limit = 10 * time.Second
	// Measuring takes at least and at most so long; VRRP advertises once a second.
	MinMeasure, DefaultMeasure, MaxMeasure = 200 * time.Millisecond, 2 * time.Second, 5 * time.Second
)

// Options say where to look.
type Options struct {
	ConfigFile   string        // empty: that of the running agent, else Default
	Default      string        // config file
	Node         string        // empty: that of the running agent, else found by host name or address
	RunDir       string        //
	StateDir     string        // empty: that of the running agent, else DefaultState
	DefaultState string        //
	Root         string        // of files of the machine (network managers, units, DMI); empty: "/"
	Measure      time.Duration // how long stalls, loss and VRRP are watched; 0: DefaultMeasure
	Ignore       []string      // identifiers of checks whose problems and warnings do not count
}

// Run looks at everything. The error says that nothing could be looked at: there is no config, or it cannot be read.
func Run(ctx context.Context, o Options) (Report, error) {
	for _, id := range o.Ignore {
		if !known(id) {
			return Report{}, fmt.Errorf("there is no check %q: docs/doctor.md lists them", id)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	began := time.Now()
	f, err := Collect(ctx, o)
	if err != nil {
		return Report{}, err
	}
	r := report(f, Judge(f), o.Ignore)
	r.TookMs = time.Since(began).Milliseconds()
	return r, nil
}

// loadConfig reads the config. One that is not valid is a finding; one that is not there, or is not for us, is an error.
func loadConfig(f *Facts, file string) error {
	cfg, err := config.Load(file)
	var not config.Problems
	switch {
	case err == nil:
		f.Config = cfg
	case errors.As(err, &not):
		f.ConfigErr = err.Error()
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; use sudo, or join the group hbagent", err)
	default:
		return err
	}
	return nil
}

// findNode finds out which node this is.
func findNode(f *Facts, o Options) {
	var err error
	if f.Hostname, err = os.Hostname(); err != nil {
		f.NodeWhy = err.Error()
	}
	f.Named = o.Node != "" || f.Agent.Running
	if f.Config == nil {
		return
	}
	name := o.Node
	if name == "" && f.Agent.Running {
		name = f.Agent.Status.Node
	}
	self, err := f.Config.Self(name, f.Hostname, f.LocalAddr)
	if err != nil {
		f.NodeWhy = err.Error()
		return
	}
	f.Node = self.Name
}
