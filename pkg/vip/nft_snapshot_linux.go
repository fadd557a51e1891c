package vip

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// standing is a table or a chain in the kernel: its number (handle), which no other will have, and how many things
// belong to it. The rules of a chain and the jumps to it are counted in that, so that a rule or an address that
// goes shows.
type standing struct {
	handle    uint64
	use, flag uint32
}

// snapshot is what stands in the tables of each family, by tablePart or chainPart and the name.
type snapshot map[family]map[string]standing

const (
	tablePart = "table "
	chainPart = "chain "
)

func (s snapshot) same(f family, other snapshot) bool { return maps.Equal(s[f], other[f]) }

func takeSnapshot(s *nftSocket, table string) (snapshot, error) {
	out := make(snapshot)
	for _, f := range allFamilies {
		out[f] = make(map[string]standing)
		for _, kind := range []struct {
			part                           string
			get                            uint16
			table, name, handle, use, flag uint16
		}{
			{tablePart, unix.NFT_MSG_GETTABLE, unix.NFTA_TABLE_NAME, unix.NFTA_TABLE_NAME, 4, unix.NFTA_TABLE_USE, unix.NFTA_TABLE_FLAGS},
			{chainPart, unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_HANDLE, unix.NFTA_CHAIN_USE, unix.NFTA_CHAIN_POLICY},
		} {
			err := attributes(s, f, kind.get, nil, func(ad *netlink.AttributeDecoder) error {
				var of, name string
				var is standing
				for ad.Next() {
					typ := ad.Type()
					if typ == kind.table {
						of = ad.String()
					}
					switch typ {
					case kind.name:
						name = ad.String()
					case kind.handle:
						is.handle = ad.Uint64()
					case kind.use:
						is.use = ad.Uint32()
					case kind.flag:
						is.flag = ad.Uint32()
					}
				}
				if of == table {
					out[f][kind.part+name] = is
				}
				return ad.Err()
			})
			switch {
			case errors.Is(err, unix.EINTR): // NLM_F_DUMP_INTR
				return nil, fmt.Errorf("listing tables: %w: %w", errChanging, err)
			case err != nil && !errors.Is(err, unix.EOPNOTSUPP):
				return nil, fmt.Errorf("listing tables: %w", err)
			}
		}
	}
	return out, nil
}

// settledSnapshot repeats takeSnapshot while the tables change under it, a few times.
func settledSnapshot(s *nftSocket, table string) (snapshot, error) {
	var out snapshot
	var err error
	for range dumpTries {
		if out, err = takeSnapshot(s, table); !errors.Is(err, errChanging) {
			break
		}
	}
	return out, err
}

// missing tells whether a snapshot lacks something of the layout, or has more: ErrGateLost, unless it is only about raw
// frames, whose chains go with an interface.
func (l layout) missing(have snapshot) error {
	b := &batch{table: TableName}
	l.build(b)
	for _, f := range l.families() {
		var lacks error
		tables := 0
		for name := range have[f] {
			if strings.HasPrefix(name, tablePart) {
				tables++
			}
		}
		if tables == 0 {
			lacks = fmt.Errorf("no table of family %v", f)
		}
		for chain, uses := range b.uses[f] {
			is, stands := have[f][chainPart+chain]
			// Of a base chain the rules are counted and nothing else. What else may count for the others is the
			// kernel's affair; what goes is seen.
			base := !strings.HasPrefix(chain, toChain) && !strings.HasPrefix(chain, ofChain)
			if !stands || is.use < uses || base && is.use != uses {
				lacks = fmt.Errorf("chain %s of family %v: %d rules and jumps, want %d", chain, f, is.use, uses)
			}
		}
		switch {
		case lacks != nil && f != familyNetdev:
			return fmt.Errorf("%w: %w", ErrGateLost, lacks)
		case lacks != nil:
			return lacks
		}
	}
	return nil
}
