package mysql

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hbagent/hbagent/internal/role"
)

// noSecrets scans what a role has said. Every test of a site ends with it.
func noSecrets(t *testing.T, who string, said ...string) {
	t.Helper()
	for _, text := range said {
		for _, secret := range []string{"heim-agent", "heim\\repl", "heim\\\\repl", "falsch-agent", "falsch-repl", "ge'heim", `ge"heim`, `ge\"heim`} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s has told a password: ...%.200s", who, text[max(0, i-80):])
			}
		}
	}
}

// Passwords that are wrong, that change, and that a server quotes are told nowhere;
// what is wrong is.
func TestPasswordsAreNotTold(t *testing.T) {
	s := newSite(t, 2)
	db1, db2 := s.nodes[0], s.nodes[1]
	agentFile, replFile := db2.role.o.DSNFile, db2.role.o.ReplicationDSNFile
	read := func(path string) string { b, err := os.ReadFile(path); must(t, err); return string(b) }
	goodAgent, goodRepl := read(agentFile), read(replFile)

	writeFile(t, agentFile, strings.Replace(goodAgent, agentPassword, "falsch-agent", 1))
	db2.role.server.db.SetMaxIdleConns(0) // the next look logs in anew
	db2.sees("the wrong password", func(o role.Observation) bool {
		return o.Down == fmt.Sprintf("access denied (error 1045): see user, password and host in %s", agentFile)
	})
	writeFile(t, agentFile, goodAgent)
	db2.sees("the right password", func(o role.Observation) bool { return o.Down == "" })

	writeFile(t, replFile, strings.Replace(goodRepl, replicationPassword, "falsch-repl", 1))
	db2.sees("the wrong password of replication", func(o role.Observation) bool {
		return o.Warning == fmt.Sprintf("cannot ask the server of db1: access denied (error 1045): see user, password and host in %s", replFile)
	})
	// The master's account gets a new password: the replica is told it.
	db1.do("SET sql_log_bin = 0", "ALTER USER repl@'%' IDENTIFIED BY 'falsch-repl'", killDumps)
	db2.do("STOP SLAVE IO_THREAD")
	db2.sees("the new password", func(o role.Observation) bool { return o.Connected && o.Warning == "" })
	// A server that does not understand a statement quotes it.
	for _, secret := range []string{"falsch-repl", "falsch-agent", agentPassword, replicationPassword} {
		err := db2.role.server.exec(t.Context(), "CHANGE MASTER TO NONSENSE, MASTER_PASSWORD = ?", secret)
		if err == nil || !strings.Contains(err.Error(), "near 'NONSENSE, MASTER_PASSWORD = '***'") {
			t.Errorf("%v", err)
		}
	}
}
