package lab

// BuiltinWeb and BuiltinMemcached give tests the stand-ins where the real servers are installed too.
func BuiltinWeb(n *Node) *Service       { return n.builtinWeb() }
func BuiltinMemcached(n *Node) *Service { return n.builtinMemcached() }

// AgentTimerSlack and StartWithSlack are what StartAgent uses.
const AgentTimerSlack = agentTimerSlack

var StartWithSlack = (*Node).start
