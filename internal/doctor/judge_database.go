package doctor

// judgeDatabases passes on what the role of a group has to say of its server.
func judgeDatabases(s *sheet, f *Facts) {
	for _, r := range f.Services {
		for _, v := range r.Findings {
			level := Warning
			if v.Severe {
				level = Problem
			}
			s.add(level, "database", r.Group, v.Do, "%s", v.What)
		}
		switch {
		case r.Err != nil:
			s.problem("database", r.Group, "see docs/mysql.md for the account and the server's settings", "the database server of %s cannot be asked: %v", r.Group, r.Err)
		case len(r.Findings) == 0:
			s.ok("database", r.Group, "the server of %s is set up as a master and a replica have to be", r.Group)
		}
	}
}
