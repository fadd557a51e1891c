package cli

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hbagent/hbagent/internal/config"
)

// next prints what is left to do, as commands to copy.
func (in *installer) next(existed bool) {
	w := in.stdout
	dir := filepath.Dir(in.s.File)
	files := in.s.File + " " + in.s.KeyFile
	if filepath.Dir(in.s.KeyFile) == dir {
		files = fmt.Sprintf("%s/{%s,%s}", dir, filepath.Base(in.s.File), filepath.Base(in.s.KeyFile))
	}
	start := "systemctl enable --now hbagent"
	if existed {
		start = "hbagent reload"
	}
	agent := ""
	if in.s.File != defaultConfig {
		agent = fmt.Sprintf("The unit reads %s: start an agent with `hbagent agent -c %s`, or move the files.\n", defaultConfig, in.s.File)
	}
	if in.madeKey && in.gid == keepGroup {
		fmt.Fprintf(w, "The key belongs to the group of whoever made it; the agent runs in the group %s:\n  chgrp %s %s\n\n", agentGroup, agentGroup, in.s.KeyFile)
	}
	self := in.s.Self()
	if self != "" {
		fmt.Fprintf(w, "On this machine:\n  %s\n%s\n", start, agent)
	}
	others := "the others"
	if self == "" {
		others = "each of them"
		in.say("note: this machine is none of the nodes")
	}
	fmt.Fprintf(w, "On "+others+", with hbagent installed; port %d, UDP and TCP, must be open between all of them:\n", cmp.Or(in.cfg.Cluster.Port, config.DefaultPort))
	for _, n := range in.s.Nodes {
		if n.Name == self {
			continue
		}
		at := n.Address
		if strings.Contains(at, ":") {
			at = "[" + at + "]"
		}
		fmt.Fprintf(w, "  scp -p %s root@%s:%s/\n", files, at, dir)
		fmt.Fprintf(w, "  ssh root@%s chgrp %s %s\n", n.Address, agentGroup, in.s.KeyFile)
		fmt.Fprintf(w, "  ssh root@%s %s\n", n.Address, start)
	}
	in.nextMySQL(w)
	fmt.Fprintf(w, "\nThen, on any of them: hbagent status\n")
}

// nextMySQL says how the check may log in: without a password, since the server knows the agent's system user.
func (in *installer) nextMySQL(w io.Writer) {
	nodes, ok := in.s.Has("mysql")
	if !ok {
		return
	}
	slices.Sort(nodes)
	fmt.Fprintf(w, "\nFor the check of MySQL, on %s: an account without rights, which the server knows by its system user\n", strings.Join(slices.Compact(nodes), ", "))
	fmt.Fprintf(w, "  mariadb -e \"CREATE USER IF NOT EXISTS hbagent@localhost IDENTIFIED VIA unix_socket\"\n")
	fmt.Fprintf(w, "  (MySQL 8: mysql -e \"CREATE USER hbagent@localhost IDENTIFIED WITH auth_socket\")\n")
	if !in.madeDSN || len(nodes) > 1 {
		fmt.Fprintf(w, "and its file, root:%s with mode 0640:\n  echo 'hbagent@unix(%s)/' > %s\n", agentGroup, usualSocket, in.s.DSNFile)
	}
}
