package mysql

import (
	"fmt"
	"strings"
	"testing"
)

// What doctor is told of a real server, before and after it is put right.
func TestExamine(t *testing.T) {
	s := newSite(t, 1)
	db1 := s.nodes[0]
	find := func() (text string) {
		t.Helper()
		list, err := db1.role.Examine(t.Context())
		must(t, err)
		for _, f := range list {
			if f.What == "" {
				t.Errorf("nothing said: %+v", f)
			}
			text += fmt.Sprintf("%v %s | %s\n", f.Severe, f.What, f.Do)
		}
		return text
	}
	has := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in\n%s", w, text)
			}
		}
	}
	db1.do("SET GLOBAL sync_binlog = 0", "SET GLOBAL slave_net_timeout = 60", "SET GLOBAL gtid_strict_mode = OFF",
		"SET GLOBAL binlog_format = STATEMENT")
	has(find(),
		"true sync_binlog is 0: ", "| sync_binlog = 1", "true innodb_flush_log_at_trx_commit is 2: ", "true gtid_strict_mode is OFF: ",
		"false binlog_format is STATEMENT: ", "false slave_net_timeout is 60: ", "replication is asynchronous",
		"accounts that write in spite of read_only cannot be seen by this account | grant it SELECT ON mysql.*")
	db1.do("SET GLOBAL sync_binlog = 1", "SET GLOBAL innodb_flush_log_at_trx_commit = 1", "SET GLOBAL slave_net_timeout = 10",
		"SET GLOBAL gtid_strict_mode = ON", "SET GLOBAL binlog_format = ROW",
		"SET GLOBAL rpl_semi_sync_master_enabled = ON", "SET GLOBAL rpl_semi_sync_slave_enabled = ON")
	has(find(), "true rpl_semi_sync_master_wait_no_slave is ON: ")
	db1.do("SET GLOBAL rpl_semi_sync_master_wait_no_slave = OFF",
		"GRANT SELECT ON mysql.* TO hbagent@'%'")
	if got := find(); got != "" {
		t.Errorf("a server that is as it should be:\n%s", got)
	}
	db1.do("CREATE USER boss@'%' IDENTIFIED BY 'app'", "GRANT READ_ONLY ADMIN ON *.* TO boss@'%'", "GRANT ALL ON shop.* TO boss@'%'",
		"CREATE USER old@'%' IDENTIFIED BY 'app'", "GRANT SUPER ON *.* TO old@'%'", "GRANT ALL ON shop.* TO old@'%'")
	got := find()
	has(got, "read_only does not stop accounts with READ_ONLY ADMIN", "'boss'@'%'")
	if strings.Contains(got, "'old'") { // SUPER is not enough in MariaDB 10.11
		t.Errorf("an account that read_only does stop:\n%s", got)
	}
	// It is so.
	must(t, db1.role.Deactivate(t.Context(), "test"))
	for user, writes := range map[string]bool{"boss": true, "old": false, "app": false} {
		if _, err := db1.as(user).Exec("INSERT INTO shop.t (v) VALUES ('x')"); (err == nil) != writes {
			t.Errorf("%s writes on a read-only server: %v, want %v", user, err, writes)
		}
	}
}

func TestAdmins(t *testing.T) {
	for version, tt := range map[string]struct {
		d    *dialect
		want string
	}{
		"MySQL 8.4.3":      {&mySQL8, "('SUPER', 'CONNECTION_ADMIN')"},
		"MariaDB 10.11.6":  {&mariaDB, "('READ_ONLY ADMIN')"},
		"MariaDB 10.10.2":  {&mariaDB, "('READ_ONLY ADMIN', 'SUPER')"},
		"MariaDB 10.6.18":  {&mariaDB, "('READ_ONLY ADMIN', 'SUPER')"},
		"MariaDB 11.4.2":   {&mariaDB, "('READ_ONLY ADMIN')"},
		"MariaDB nonsense": {&mariaDB, "('READ_ONLY ADMIN', 'SUPER')"},
	} {
		if got, _ := admins(tt.d, version); listOf(got) != tt.want {
			t.Errorf("%s: %s, want %s", version, listOf(got), tt.want)
		}
	}
}
