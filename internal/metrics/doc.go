// Package metrics is what Prometheus reads of an agent: every name, with its
// labels, in one place. docs/metrics.md lists them, and a test compares.
//
// # Two ways
//
// What happens is counted when it happens, by the methods of [Set]: an atomic
// addition, so that the agent's loop and the renewal of leases do not wait for
// anybody. What is so at a moment (who owns what, which checks fail) is asked of
// the agent when somebody scrapes, by a collector ([Sources]): nothing is kept
// twice, and an agent that nobody scrapes spends nothing on it.
//
// A loop that does not answer a scrape within [stateWait] shows as
// hbagent_loop_responding 0; the counters are served all the same.
//
// # Names
//
// All of them begin with hbagent_ and are in seconds or bytes. Labels take their
// values from the config (group, node, check) or from a fixed list in this
// repository (reason, kind, result, state, ...), never from a text for people:
// the number of series is bounded by the config. The name of the cluster is no
// label: that is for the scrape config to add (deploy/monitoring).
//
// Histograms have classic buckets: the limits that matter are known (shares of a
// ttl, the token of the gate), and every Prometheus and every reader of the text
// format understands them.
//
// # Concurrency
//
// All methods are safe for concurrent use. Those that count do nothing on a nil
// *Set, so that a part of the agent can be tested without.
package metrics
