package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Finding is something that a person should know of a server before it matters.
type Finding struct {
	Severe bool // transactions, or a takeover, can be lost by it
	What   string
	Do     string
}

// examined is a setting, what it should be, and what it costs if it is not.
type examined struct {
	names  []string // it was renamed: the first that the server has counts
	want   []string // what is good; "-" is a server that has no such setting
	severe bool
	what   string
	do     string
}

// The settings that doctor looks at, beside those without which a server is no part
// of a site (dialect.settings).
var settingsToExamine = []examined{
	{[]string{"sync_binlog"}, []string{"1"}, true, "a power cut can take transactions out of the binary log that replicas have: the server comes back behind them, and has diverged", "sync_binlog = 1"},
	{[]string{"innodb_flush_log_at_trx_commit"}, []string{"1"}, true, "a power cut can lose transactions that were acknowledged", "innodb_flush_log_at_trx_commit = 1"},
	{[]string{"log_replica_updates", "log_slave_updates"}, []string{"ON"}, true, "as a master it cannot pass on what it received as a replica", "log_slave_updates = ON"},
	{[]string{"gtid_strict_mode"}, []string{"ON", "-"}, true, "a replica may take transactions out of order, and positions cannot be compared", "gtid_strict_mode = ON"},
	{[]string{"enforce_gtid_consistency"}, []string{"ON", "-"}, true, "statements may be written that have no place in a GTID", "enforce_gtid_consistency = ON"},
	{[]string{"binlog_format"}, []string{"ROW", "MIXED", "-"}, false, "statements are replicated as they were written, and may do something else on a replica", "binlog_format = ROW"},
}

// slaveNetTimeoutMax: a replica notices a dead line to its master within this, in
// seconds (chosen by us: the default is 60, longer than any max_lag should be).
const slaveNetTimeoutMax = 10

// Examine looks for what is wrong with this node's server, for `hbagent doctor`.
func (r *Role) Examine(ctx context.Context) ([]Finding, error) {
	st, d, err := look(ctx, r.server, time.Now())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range settingsToExamine {
		names = append(names, e.names...)
	}
	names = append(names, "replica_net_timeout", "slave_net_timeout", "rpl_semi_sync_master_wait_no_slave", "rpl_semi_sync_source_wait_no_replica")
	vars, err := r.server.pairs(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN "+listOf(names))
	if err != nil {
		return nil, err
	}
	found := examineSettings(st, vars)
	return append(found, r.examineAccounts(ctx, d, st)...), nil
}

// examineSettings is pure.
func examineSettings(st state, vars map[string]string) []Finding {
	var found []Finding
	if st.unfit != "" {
		found = append(found, Finding{Severe: true, What: st.unfit, Do: "set it in the server's own file, and restart the server"})
	}
	for _, e := range settingsToExamine {
		value, name := "-", e.names[0]
		for _, n := range e.names {
			if v, ok := vars[n]; ok {
				value, name = v, n
				break
			}
		}
		if slices.Contains(e.want, value) || value == "-" && !slices.Contains(e.want, "-") {
			continue
		}
		found = append(found, Finding{Severe: e.severe, What: fmt.Sprintf("%s is %s: %s", name, value, e.what), Do: e.do})
	}
	for _, name := range []string{"replica_net_timeout", "slave_net_timeout"} {
		var seconds int
		if _, err := fmt.Sscan(vars[name], &seconds); err == nil && seconds > slaveNetTimeoutMax {
			found = append(found, Finding{What: fmt.Sprintf("%s is %d: so many seconds may pass until a replica notices that the line to its master is dead", name, seconds),
				Do: fmt.Sprintf("%s = %d", name, slaveNetTimeoutMax)})
			break
		}
	}
	for _, name := range []string{"rpl_semi_sync_master_wait_no_slave", "rpl_semi_sync_source_wait_no_replica"} {
		if st.semi.masterEnabled && isOn(vars[name]) {
			found = append(found, Finding{Severe: true, What: name + " is ON: as a replica it waits itself for a replica that it has not, and does not apply anything until rpl_semi_sync_*_timeout has passed",
				Do: name + " = OFF"})
		}
	}
	if !st.semi.known || !st.semi.masterEnabled || !st.semi.slaveEnabled {
		found = append(found, Finding{What: "replication is asynchronous: what a master acknowledged in its last moments is lost with it",
			Do: "enable semi-synchronous replication on both servers (docs/mysql.md), if that matters more than the time of a commit"})
	}
	return found
}

// Questions about accounts that write in spite of read_only.
const (
	askAdmins = `SELECT DISTINCT GRANTEE FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE IN `
	// Whoever sees one account only cannot see the others.
	askAccounts = `SELECT COUNT(DISTINCT GRANTEE), MAX(SUBSTRING_INDEX(USER(), '@', 1)) FROM information_schema.USER_PRIVILEGES`
)

// admins are the privileges with which an account writes in spite of read_only, and
// what to say of it.
func admins(d *dialect, version string) (privileges []string, why string) {
	number := version[strings.LastIndexByte(version, ' ')+1:]
	switch {
	case d == &mySQL8:
		return []string{"SUPER", "CONNECTION_ADMIN"}, "only super_read_only, which the agent sets on standbys, keeps these accounts from writing there, and they can switch it off"
	case atLeast(number, 10, 11, 0): // MDEV-29596
		return []string{"READ_ONLY ADMIN"}, "read_only does not stop accounts with READ_ONLY ADMIN: what they write on a standby makes it diverge"
	}
	return []string{"READ_ONLY ADMIN", "SUPER"}, "read_only does not stop accounts with READ_ONLY ADMIN or SUPER: what they write on a standby makes it diverge"
}

func (r *Role) examineAccounts(ctx context.Context, d *dialect, st state) []Finding {
	privileges, why := admins(d, st.version)
	var visible int
	var self string
	if err := r.server.row(ctx, askAccounts, &visible, &self); err != nil || visible <= 1 {
		return []Finding{{What: "accounts that write in spite of read_only cannot be seen by this account", Do: "grant it SELECT ON mysql.* to have them listed here"}}
	}
	var list []string
	err := r.server.each(ctx, askAdmins+listOf(privileges), func(scan func(...any) error) error {
		var grantee string
		err := scan(&grantee)
		if user, _, _ := strings.Cut(strings.Trim(grantee, "'"), "'@'"); user != self && !slices.Contains(harmless, user) {
			list = append(list, grantee)
		}
		return err
	})
	switch {
	case err != nil:
		return []Finding{{What: "accounts that write in spite of read_only cannot be listed: " + err.Error()}}
	case len(list) == 0:
		return nil
	}
	slices.Sort(list)
	return []Finding{{What: why + ": " + strings.Join(list[:min(len(list), 10)], ", "), Do: "take the privilege from accounts of applications"}}
}

// harmless are accounts of the servers themselves.
var harmless = []string{"root", "mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema", "mysql"}
