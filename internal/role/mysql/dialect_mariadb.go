package mysql

import (
	"fmt"
	"time"
)

// mariaDB is MariaDB 10.5 and later. Its documentation: "Global Transaction ID",
// "CHANGE MASTER TO", "SHOW REPLICA STATUS", "Semisynchronous Replication".
var mariaDB = dialect{
	name:  "MariaDB",
	gtids: "SELECT @@global.gtid_binlog_state, @@global.gtid_slave_pos, @@global.gtid_current_pos",
	variables: []string{
		"read_only", "log_bin", "log_slave_updates", "gtid_strict_mode",
		"rpl_semi_sync_master_enabled", "rpl_semi_sync_slave_enabled", "rpl_semi_sync_master_wait_point",
	},
	status: []string{
		"Uptime", "Handler_write", "Handler_update", "Handler_delete",
		"Rpl_semi_sync_master_status", "Rpl_semi_sync_slave_status", "Rpl_semi_sync_master_clients",
	},
	replica: "SHOW SLAVE STATUS",

	stopReceiver: "STOP SLAVE IO_THREAD",
	stopReplica:  "STOP SLAVE",
	startApplier: "START SLAVE SQL_THREAD",
	startReplica: "START SLAVE",
	// Otherwise the next start of the server would follow the old master again.
	forgetSource: "RESET SLAVE ALL",
	readOnly:     "SET GLOBAL read_only = 1",

	readGTIDs: func(st *state, gtids []string, columns map[string]string) error {
		st.slavePos = gtids[1]
		for _, text := range gtids {
			p, err := ParsePosition(text)
			if err != nil {
				return err
			}
			st.position = st.position.With(p)
		}
		received, err := ParsePosition(columns["Gtid_IO_Pos"])
		st.replica.received = received
		return err
	},

	settings: func(st *state, vars map[string]string) {
		switch {
		case !isOn(vars["log_bin"]):
			st.unfit = "log_bin is off: no replica can follow this server"
		case !isOn(vars["log_slave_updates"]):
			st.warning = "log_slave_updates is off: set it in the server's own file"
		case !isOn(vars["gtid_strict_mode"]):
			st.warning = "gtid_strict_mode is off: set it in the server's own file"
		}
	},

	follow: func(st state, s source) []statement {
		out := []statement{}
		// The position of a server that was the master is in its binary log.
		if heads := st.position.maria.heads(); heads != st.slavePos {
			out = append(out, statement{"SET GLOBAL gtid_slave_pos = ?", []any{heads}})
		}
		ssl := 0
		if s.tls {
			ssl = 1
		}
		return append(out, statement{
			fmt.Sprintf("CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = %d, MASTER_USER = ?, MASTER_PASSWORD = ?, MASTER_SSL = %d, "+
				"MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = %d, MASTER_HEARTBEAT_PERIOD = %d", s.port, ssl, connectRetry, heartbeat),
			[]any{s.host, s.user, s.password},
		})
	},

	wait: func(p Position, moment time.Duration) string {
		return fmt.Sprintf("SELECT MASTER_GTID_WAIT('%s', %.3f)", p.maria.heads(), moment.Seconds())
	},
}
