package bench

// plotOf is the file of the outages at a pace.
func plotOf(pace string) string { return "outage-" + pace + ".svg" }

// The other plots.
const (
	takeoverFile = "takeover.svg"
	costFile     = "cost.svg"
)

// plots are the drawings of a run by the names of their files; without those that would show nothing.
func (r Run) plots() map[string][]byte {
	out := make(map[string][]byte)
	for _, pace := range Paces {
		if r.played(pace) {
			out[plotOf(pace)] = r.strips(pace)
		}
	}
	if plot := r.takeoverPlot(); plot != nil {
		out[takeoverFile] = plot
	}
	if plot := r.costBars(); plot != nil {
		out[costFile] = plot
	}
	return out
}

// played reports whether there is any outage at a pace.
func (r Run) played(pace string) bool {
	for _, c := range r.at(pace) {
		for _, scenario := range Scenarios {
			if _, ok := r.outages(c, scenario); ok {
				return true
			}
		}
	}
	return false
}
