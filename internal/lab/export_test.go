package lab

// BuiltinWeb and BuiltinMemcached give tests the stand-ins where the real servers are installed too.
func BuiltinWeb(n *Node) *Service       { return n.builtinWeb() }
func BuiltinMemcached(n *Node) *Service { return n.builtinMemcached() }
