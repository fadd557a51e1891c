package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// plightWait bounds each question: a server that hangs is a part of the answer.
const plightWait = 2 * time.Second

// Plight tells why the site's page may not be served: what the agents say of the groups, and what each database says of
// itself. For the message of a failure that nobody expected.
func (s *Stage3) Plight(ctx context.Context) string {
	var b strings.Builder
	for _, name := range []string{"web1", "web2"} {
		ctx, cancel := context.WithTimeout(ctx, plightWait)
		st, err := s.Node(name).Status(ctx)
		cancel()
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
			continue
		}
		for _, g := range st.Groups {
			fmt.Fprintf(&b, "%s by %s: owner %q, %s: %s\n", g.Name, name, g.Owner, g.State, g.Reason)
		}
		break // one that answers is enough
	}
	for _, name := range dbNodes {
		fmt.Fprintf(&b, "%s:", name)
		for _, q := range []string{"SELECT @@read_only", "SELECT CONCAT(VARIABLE_VALUE, ' connections') FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Threads_connected'",
			"SELECT CONCAT(COUNT(*), ' in \"', IFNULL(state, ''), '\", the oldest for ', MAX(time), ' s') FROM information_schema.PROCESSLIST GROUP BY state ORDER BY COUNT(*) DESC LIMIT 3"} {
			ctx, cancel := context.WithTimeout(ctx, plightWait)
			rows, err := s.DB.Servers[name].Rows(ctx, q)
			cancel()
			if err != nil {
				fmt.Fprintf(&b, " %v;", err)
				break
			}
			fmt.Fprintf(&b, " %s;", strings.Join(rows, ", "))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}
