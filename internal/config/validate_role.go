package config

import (
	"time"
)

// Chosen by us. The lag that a server tells is in whole seconds.
const (
	minMaxLag, maxMaxLag               = time.Second, 24 * time.Hour
	minApplyTimeout, maxApplyTimeout   = time.Second, time.Hour
	minDemoteTimeout, maxDemoteTimeout = 100 * time.Millisecond, 5 * time.Minute
	maxWaitForLast                     = 30 * 24 * time.Hour

	defaultMaxLag        = 10 * time.Second
	defaultApplyTimeout  = 30 * time.Second
	defaultDemoteTimeout = 5 * time.Second
	defaultWaitForLast   = 2 * time.Minute
)

// role returns the group's role, "" if it has none.
func (v *validator) role(raw *rawGroup) string {
	if !raw.Role.given() {
		return ""
	}
	if raw.Role.value != RoleMySQL {
		hint := `write role = "mysql", or delete it: most groups have none`
		if near, ok := suggest(raw.Role.value, []string{RoleMySQL, "mariadb"}); ok {
			hint = "did you mean " + quote(RoleMySQL) + "?"
			if near != RoleMySQL {
				hint = `write role = "mysql": it is for MariaDB as well`
			}
		}
		v.refuse(raw.Role.at, "unknown role "+quote(raw.Role.value), hint)
		return ""
	}
	return RoleMySQL
}

// mysql reads [group.mysql].
func (v *validator) mysql(raw *rawGroup, g *Group) {
	my := &raw.MySQL
	label := "group " + quote(raw.Name.value)
	written := my.At != (span{})
	if g.Role != RoleMySQL {
		if written && !raw.Role.written() {
			v.refuse(my.At, label+" has a table [group.mysql] and no role", `write role = "mysql" above it, below [[group]], or delete the table`)
		}
		return
	}
	if v.raw.spoiled["group.mysql"] {
		return
	}
	if !written {
		v.refuse(raw.Role.at, label+" has the role \"mysql\" and no table [group.mysql]",
			"write [group.mysql] with dsn_file and replication_dsn_file at the end of the group")
		return
	}
	g.MySQL = MySQL{
		DSNFile:            v.dsnFile("dsn_file", &my.DSNFile, "the account with which the agent asks and steers this node's server"),
		ReplicationDSNFile: v.dsnFile("replication_dsn_file", &my.ReplicationDSNFile, "the account with which a replica follows its master"),
		MaxLag:             v.duration("max_lag", &my.MaxLag, defaultMaxLag, minMaxLag, maxMaxLag),
		ApplyTimeout:       v.duration("apply_timeout", &my.ApplyTimeout, defaultApplyTimeout, minApplyTimeout, maxApplyTimeout),
		DemoteTimeout:      v.duration("demote_timeout", &my.DemoteTimeout, defaultDemoteTimeout, minDemoteTimeout, maxDemoteTimeout),
		WaitForLast:        v.duration("wait_for_last", &my.WaitForLast, defaultWaitForLast, 0, maxWaitForLast),
	}
	if g.MySQL.DSNFile == "" {
		return
	}
	if first, dup := v.servers[g.MySQL.DSNFile]; dup {
		v.clash(my.DSNFile.at, "two groups have the role of one server", "give the second group another dsn_file, for another server, or no role", first, "first here")
		return
	}
	v.servers[g.MySQL.DSNFile] = my.DSNFile.at
}

// dsnFile is a required path.
func (v *validator) dsnFile(key string, s *setting[string], what string) string {
	if !s.written() {
		v.refuse(s.at, "[group.mysql] has no "+key, "write "+key+" = \"/etc/hbagent/"+map[string]string{"dsn_file": "mysql", "replication_dsn_file": "replication"}[key]+".dsn\": "+what)
	}
	return v.path(key, s)
}
