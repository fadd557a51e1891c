package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// allFamilies are those in which tables of ours can be.
var allFamilies = []family{familyINet, familyARP, familyNetdev}

// tablesOf are the families that have a table of that name.
func tablesOf(s *nftSocket, table string) ([]family, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.NFTA_TABLE_NAME, table)
	ask, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	var out []family
	for _, f := range allFamilies {
		found, err := s.has(f, unix.NFT_MSG_GETTABLE, ask)
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a family that this kernel does not have
			return nil, fmt.Errorf("looking for table %s: %w", table, err)
		}
		if found {
			out = append(out, f)
		}
	}
	return out, nil
}

// removeTables deletes the tables of that name in every family, in one transaction.
func removeTables(s *nftSocket, table string) error {
	var err error
	for range gateTries {
		var have []family
		if have, err = tablesOf(s, table); err != nil || len(have) == 0 {
			return err
		}
		b := &batch{table: table}
		for _, f := range have {
			b.delTable(f)
		}
		if err = s.commit(b); !errors.Is(err, unix.ENOENT) { // else somebody was faster: look again
			break
		}
	}
	return err
}

// attributes hands over each object of a listing.
func attributes(s *nftSocket, f family, kind uint16, ask []byte, each func(ad *netlink.AttributeDecoder) error) error {
	return s.dump(f, kind, ask, func(data []byte) error {
		ad, err := netlink.NewAttributeDecoder(data)
		if err != nil {
			return err
		}
		ad.ByteOrder = binary.BigEndian
		return each(ad)
	})
}

// remaining is a timed element, and how long it lives from now.
type remaining struct {
	nftElement
	expires time.Duration
}

// liveElements lists a timed set. A set that does not exist is empty.
func liveElements(s *nftSocket, table string, f family, set string) ([]remaining, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	ask, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	var out []remaining
	err = attributes(s, f, unix.NFT_MSG_GETSETELEM, ask, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(ad *netlink.AttributeDecoder) error {
						var e remaining
						for ad.Next() {
							switch ad.Type() {
							case unix.NFTA_SET_ELEM_KEY:
								ad.Nested(func(ad *netlink.AttributeDecoder) error {
									for ad.Next() {
										e.key = ad.Bytes()
									}
									return nil
								})
							case unix.NFTA_SET_ELEM_USERDATA:
								e.comment, _ = userdata.GetString(ad.Bytes(), userdata.NFTNL_UDATA_SET_ELEM_COMMENT)
							case unix.NFTA_SET_ELEM_EXPIRATION:
								e.expires = time.Duration(ad.Uint64()) * time.Millisecond
							}
						}
						if len(e.key) > 0 && e.expires > 0 {
							out = append(out, e)
						}
						return nil
					})
				}
				return nil
			})
		}
		return ad.Err()
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", set, err)
	}
	return out, nil
}

// liveGroup are the live elements of a group in one table.
type liveGroup struct {
	family   family
	set      string
	group    string
	elements []nftElement
}

// liveGroups finds the groups that are live in the tables, whoever made those.
func liveGroups(s *nftSocket, table string, have []family) ([]liveGroup, error) {
	var out []liveGroup
	for _, f := range have {
		var sets []string
		err := attributes(s, f, unix.NFT_MSG_GETSET, nil, func(ad *netlink.AttributeDecoder) error {
			var of, name string
			for ad.Next() {
				switch ad.Type() {
				case unix.NFTA_SET_TABLE:
					of = ad.String()
				case unix.NFTA_SET_NAME:
					name = ad.String()
				}
			}
			if of == table && strings.HasPrefix(name, liveSet) {
				sets = append(sets, name)
			}
			return ad.Err()
		})
		if err != nil {
			return nil, fmt.Errorf("listing sets: %w", err)
		}
		for _, set := range sets {
			elements, err := liveElements(s, table, f, set)
			if err != nil {
				return nil, err
			}
			l := liveGroup{family: f, set: set}
			for _, e := range elements {
				l.group = e.comment
				l.elements = append(l.elements, nftElement{key: e.key})
			}
			if len(l.elements) > 0 {
				out = append(out, l)
			}
		}
	}
	return out, nil
}
