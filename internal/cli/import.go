package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/internal/draft"
	"github.com/hbagent/hbagent/internal/keepalived"
)

// importOptions are the flags of config import.
type importOptions struct {
	output, cluster, keyFile, witness string
	nodes                             []string
	force                             bool
}

func (a *app) configImport() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import [NAME=]FILE...",
		Short: "Make a config of keepalived's",
		Long: `Makes a config of keepalived.conf, one file from each machine, and says what was
not carried over, and why, with its place: on stderr and at the end of the
result. The node with the highest priority is preferred.

  hbagent config import web1=web1.conf web2=web2.conf --node db1=10.0.0.13

The nodes' addresses are those of unicast_src_ip; where keepalived speaks
multicast, --node gives them. A --node without a file only votes: with two
machines alone, add a third one, or a --witness. A file with @conditions is read
once for each machine.

docs/coming-from-keepalived.md compares the two, and says how to change over
without an outage.

Exit codes: 0 made (look at what it says), 1 failed, 2 wrong usage.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.runImport(args, o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "write it to `FILE` (default: stdout)")
	f.StringArrayVar(&o.nodes, "node", nil, "a machine and its own address, `NAME=ADDRESS`; once for each")
	f.StringVar(&o.cluster, "cluster", "site", "`NAME` of the cluster")
	f.StringVar(&o.keyFile, "key-file", "/etc/hbagent/gossip.key", "`FILE` of the key, as the nodes will have it")
	f.StringVar(&o.witness, "witness", "", "two machines only: `ADDRESS` that decides between them,\nusually the gateway")
	f.BoolVar(&o.force, "force", false, "replace a file that exists")
	return cmd
}

func (a *app) runImport(args []string, o importOptions) error {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	short, _, _ := strings.Cut(host, ".")
	in := keepalived.Options{Cluster: o.cluster, KeyFile: o.keyFile, Host: short}
	if o.witness != "" {
		if in.Witness, err = netip.ParseAddr(o.witness); err != nil {
			return usagef("--witness %s: not an address", o.witness)
		}
	}
	for _, text := range o.nodes {
		name, address, ok := strings.Cut(text, "=")
		if _, err := netip.ParseAddr(address); !ok || name == "" || err != nil {
			return usagef("--node %s: write NAME=ADDRESS, as in web1=10.0.0.11", text)
		}
		in.Nodes = append(in.Nodes, draft.Node{Name: name, Address: address})
	}
	for _, arg := range args {
		name, file, named := strings.Cut(arg, "=")
		if !named || strings.ContainsRune(name, '/') {
			name, file = "", arg
		}
		in.Inputs = append(in.Inputs, keepalived.Input{Name: name, Path: file})
	}

	d, notes, err := keepalived.Import(keepalived.Disk{}, in)
	for _, n := range notes {
		fmt.Fprintf(a.stderr, "%s: %s\n", n.Pos, clean(n.Text))
	}
	if err != nil {
		return err
	}
	text, cfg, err := d.Check("hbagent.toml")
	var problems config.Problems
	if errors.As(err, &problems) {
		p := problems[0]
		return fmt.Errorf("the config would not be valid, so nothing is written: %s; %s", p.Message, p.Hint)
	} else if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(a.stderr, "warning: %s; %s\n", w.Message, w.Hint)
	}
	if o.output == "" {
		_, err := fmt.Fprint(a.stdout, text)
		return err
	}
	err = placeFile(o.output, text, configMode, keepGroup, o.force)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: --force replaces it", o.output)
	}
	if err != nil {
		return fmt.Errorf("write the config: %w", err)
	}
	fmt.Fprintf(a.stderr, "%s: %s, %s; %s above and at its end\n", o.output, count(len(cfg.Nodes), "node"), count(len(cfg.Groups), "group"), count(len(notes), "note"))
	return nil
}
