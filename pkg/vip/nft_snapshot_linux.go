package vip

import (
	"errors"
	"fmt"
	"maps"

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
			if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
				return nil, fmt.Errorf("listing tables: %w", err)
			}
		}
	}
	return out, nil
}
