package mysql

import (
	"fmt"
	"time"
)

// Chosen by us, in seconds: a replica that has lost its master tries once a second,
// and hears from an idle one every two, so that a broken line is noticed.
const (
	connectRetry = 1
	heartbeat    = 2
)

// mySQL8 is MySQL 8.0.23 and later, 8.4 and 9 included. MySQL 8.4 Reference Manual:
// 15.4.2 (CHANGE REPLICATION SOURCE TO), 15.7.7.36 (SHOW REPLICA STATUS), 14.18.2 (GTID
// functions), 19.1.3 (GTIDs), 19.4.10 (semi-synchronous replication), 7.1.8
// (read_only, super_read_only).
var mySQL8 = dialect{
	name:  "MySQL",
	gtids: "SELECT @@global.gtid_executed",
	variables: []string{
		"read_only", "super_read_only", "log_bin", "log_replica_updates", "log_slave_updates", "gtid_mode",
		"rpl_semi_sync_source_enabled", "rpl_semi_sync_replica_enabled", "rpl_semi_sync_source_wait_point",
		"rpl_semi_sync_master_enabled", "rpl_semi_sync_slave_enabled", "rpl_semi_sync_master_wait_point",
	},
	status: []string{
		"Uptime", "Handler_write", "Handler_update", "Handler_delete",
		"Rpl_semi_sync_source_status", "Rpl_semi_sync_replica_status", "Rpl_semi_sync_source_clients",
		"Rpl_semi_sync_master_status", "Rpl_semi_sync_slave_status", "Rpl_semi_sync_master_clients",
	},
	replica: "SHOW REPLICA STATUS",

	stopReceiver: "STOP REPLICA IO_THREAD",
	stopReplica:  "STOP REPLICA",
	startApplier: "START REPLICA SQL_THREAD",
	startReplica: "START REPLICA",
	// Otherwise the next start of the server would follow the old source again.
	forgetSource: "RESET REPLICA ALL",
	readOnly:     "SET GLOBAL super_read_only = 1", // and read_only with it

	readGTIDs: func(st *state, gtids []string, columns map[string]string) (err error) {
		if st.position, err = ParsePosition(gtids[0]); err != nil {
			return err
		}
		st.replica.received, err = ParsePosition(columns["Retrieved_Gtid_Set"])
		return err
	},

	settings: func(st *state, vars map[string]string) {
		switch {
		case !isOn(vars["log_bin"]):
			st.unfit = "log_bin is off: no replica can follow this server"
		case vars["gtid_mode"] != "ON":
			st.unfit = "gtid_mode is " + vars["gtid_mode"] + ": it must be ON"
		case !isOn(vars["log_replica_updates"]) && !isOn(vars["log_slave_updates"]):
			st.warning = "log_replica_updates is off: set it in the server's own file"
		}
	},

	follow: func(_ state, s source) []statement {
		ssl := 0
		if s.tls {
			ssl = 1
		}
		return []statement{{
			fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = %d, SOURCE_USER = ?, SOURCE_PASSWORD = ?, SOURCE_SSL = %d, "+
				"GET_SOURCE_PUBLIC_KEY = %d, SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = %d, SOURCE_HEARTBEAT_PERIOD = %d",
				s.port, ssl, 1-ssl, connectRetry, heartbeat),
			[]any{s.host, s.user, s.password},
		}}
	},

	wait: func(p Position, moment time.Duration) string {
		return fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', %.3f)", p.my.String(), moment.Seconds())
	},
}
