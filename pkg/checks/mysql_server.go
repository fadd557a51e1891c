package checks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Given by MySQL (Server Error Message Reference).
const (
	erParse                = 1064 // also what a server says to a statement of a newer or older one
	erSpecificAccessDenied = 1227
)

// maxChannels bounds the sources of one replica that are looked at (chosen by us).
const maxChannels = 64

// mysqlSeen is what one probe has seen of a server.
type mysqlSeen struct {
	connected, running int
	readOnly           bool
	channels           []channel // none: it is no replica
	// denied tells that the account may not see the replication.
	denied bool
}

// channel is the replication from one source.
type channel struct {
	name, source      string
	receives, applies string // "Yes", "No", "Connecting"
	behind            int64  // seconds
	known             bool   // behind is: it is NULL while the source is not heard
	receiveError      string
	applyError        string
}

// lookAtServer asks for everything that a probe wants to know.
func lookAtServer(ctx context.Context, conn *sql.Conn) (mysqlSeen, error) {
	var seen mysqlSeen
	rows, err := conn.QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Threads_running')")
	if err != nil {
		return seen, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return seen, err
		}
		switch name {
		case "Threads_connected":
			seen.connected = n
		case "Threads_running":
			seen.running = n
		}
	}
	if err := rows.Err(); err != nil {
		return seen, err
	}
	var readOnly, version string
	if err := conn.QueryRowContext(ctx, "SELECT @@global.read_only, VERSION()").Scan(&readOnly, &version); err != nil {
		return seen, err
	}
	seen.readOnly = isReadOnly(readOnly)
	seen.channels, err = lookAtReplication(ctx, conn, version)
	if my := (*mysql.MySQLError)(nil); errors.As(err, &my) && my.Number == erSpecificAccessDenied {
		seen.denied, err = true, nil
	}
	return seen, err
}

// isReadOnly reads the variable: 0 and 1, and since MariaDB 12 words, of which some
// name the ways to be read-only.
func isReadOnly(value string) bool {
	return value != "" && value != "0" && !strings.EqualFold(value, "off")
}

// replicationStatements are those of each dialect, the one to try first first.
// MySQL 8.0.22 has the new words, 8.4 no others; MariaDB shows all connections
// only with ALL.
func replicationStatements(version string) []string {
	if strings.Contains(strings.ToLower(version), "mariadb") {
		return []string{"SHOW ALL SLAVES STATUS"}
	}
	return []string{"SHOW REPLICA STATUS", "SHOW SLAVE STATUS"}
}

func lookAtReplication(ctx context.Context, conn *sql.Conn, version string) (channels []channel, err error) {
	for _, statement := range replicationStatements(version) {
		channels, err = readChannels(ctx, conn, statement)
		if my := (*mysql.MySQLError)(nil); !errors.As(err, &my) || my.Number != erParse {
			return channels, err
		}
	}
	return nil, err
}

func readChannels(ctx context.Context, conn *sql.Conn, statement string) ([]channel, error) {
	rows, err := conn.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values := make([]sql.RawBytes, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	var channels []channel
	for rows.Next() {
		if len(channels) == maxChannels {
			return nil, fmt.Errorf("it replicates from more than %d sources", maxChannels)
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		channels = append(channels, parseChannel(columns, values))
	}
	return channels, rows.Err()
}

// parseChannel reads a row in the words of MySQL 8 or in those of MySQL 5.7 and
// MariaDB. A column that is not there is as one that is empty.
func parseChannel(columns []string, values []sql.RawBytes) channel {
	var c channel
	for i, name := range columns {
		value := truncate(oneLine(string(values[i])), maxMessage)
		switch name {
		case "Connection_name", "Channel_Name":
			c.name = value
		case "Master_Host", "Source_Host":
			c.source = value
		case "Slave_IO_Running", "Replica_IO_Running":
			c.receives = value
		case "Slave_SQL_Running", "Replica_SQL_Running":
			c.applies = value
		case "Seconds_Behind_Master", "Seconds_Behind_Source":
			n, err := strconv.ParseInt(value, 10, 64)
			if c.known = values[i] != nil && err == nil && n >= 0; c.known {
				c.behind = n
			}
		case "Last_IO_Error":
			c.receiveError = value
		case "Last_SQL_Error":
			c.applyError = value
		}
	}
	return c
}
