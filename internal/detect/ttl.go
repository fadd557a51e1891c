package detect

import "time"

// Chosen by us: a ttl is comfortable at so many round trips and so many of the worst stalls.
const (
	comfortTrips  = 20
	comfortStalls = 8
)

// ttls are what ProposeTTL chooses from.
var ttls = []time.Duration{
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
}

// ProposeTTL is a lease time for a network and machines: the shortest usual one that is at least 20 round trips and 8 of
// the worst stalls. 0 stands for what was not measured.
func ProposeTTL(trip, stall time.Duration) time.Duration {
	want := max(comfortTrips*trip, comfortStalls*stall)
	for _, ttl := range ttls {
		if ttl >= want {
			return ttl
		}
	}
	return ttls[len(ttls)-1]
}
