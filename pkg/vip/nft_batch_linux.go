package vip

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Given by the kernel (include/uapi/linux/netfilter/nf_tables.h), where golang.org/x/sys/unix has no name for it.
const (
	tableOwner   = 0x2 // NFT_TABLE_F_OWNER, since 5.12
	tablePersist = 0x4 // NFT_TABLE_F_PERSIST, since 6.9
	tableComment = 6   // NFTA_TABLE_USERDATA
	chainComment = 12  // NFTA_CHAIN_USERDATA
	// maxComment is what nft prints of a comment (NFTNL_UDATA_COMMENT_MAXLEN).
	maxComment = 127
	// elementsPerMessage keeps a list of elements far below the 64 kB of one attribute.
	elementsPerMessage = 256
)

// family is an nf_tables family, by the number the kernel knows it by.
type family uint8

const (
	familyINet   family = unix.NFPROTO_INET
	familyARP    family = unix.NFPROTO_ARP
	familyNetdev family = unix.NFPROTO_NETDEV
)

func (f family) String() string {
	switch f {
	case familyINet:
		return "inet"
	case familyARP:
		return "arp"
	case familyNetdev:
		return "netdev"
	}
	return fmt.Sprintf("family(%d)", uint8(f))
}

// nftSet is a set, or with verdicts a map from keys to verdicts.
type nftSet struct {
	name     string
	key      nftables.SetDatatype
	bigKey   bool // the key is in network byte order
	timed    bool
	verdicts bool
	comment  string
}

// nftElement is one element of a set: with a timeout where the set is timed, with a chain to jump to where
// it has verdicts.
type nftElement struct {
	key     []byte
	timeout time.Duration // cut to milliseconds; 0: none
	jump    string
	comment string
}

// nftChain is a chain; without a hook it is one to jump to.
type nftChain struct {
	name     string
	hooked   bool
	hook     uint32
	priority int32
	device   string // netdev only
	comment  string
}

// batch is one transaction: the kernel carries out all of its messages or none. google/nftables encodes the
// expressions; the rest is encoded here, because that package knows neither flags and comments of tables nor
// which message of a batch was refused.
type batch struct {
	table    string
	messages []netlink.Message
	about    []string // what each message does, for errors
	err      error
}

func (b *batch) add(f family, kind uint16, flags netlink.HeaderFlags, about string, fill func(ae *netlink.AttributeEncoder)) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	fill(ae)
	data, err := ae.Encode()
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", about, err)
	}
	b.messages = append(b.messages, netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{byte(f), unix.NFNETLINK_V0, 0, 0}, data...),
	})
	b.about = append(b.about, f.String()+" "+about)
}

// addTable makes the table of ours in that family.
func (b *batch) addTable(f family, flags uint32, comment string) {
	b.add(f, unix.NFT_MSG_NEWTABLE, netlink.Create, "table", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, b.table)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, flags)
		ae.Bytes(tableComment, commentData(0, comment))
	})
}

// delTable deletes the table with everything in it.
func (b *batch) delTable(f family) {
	b.add(f, unix.NFT_MSG_DELTABLE, 0, "old table", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, b.table)
	})
}

func (b *batch) addSet(f family, s nftSet) {
	b.add(f, unix.NFT_MSG_NEWSET, netlink.Create, "set "+s.name, func(ae *netlink.AttributeEncoder) {
		var flags uint32
		order := uint32(1) // of the host, as nft has it
		if s.bigKey {
			order = 2
		}
		if s.timed {
			flags |= unix.NFT_SET_TIMEOUT
		}
		ae.String(unix.NFTA_SET_TABLE, b.table)
		ae.String(unix.NFTA_SET_NAME, s.name)
		ae.Uint32(unix.NFTA_SET_ID, uint32(len(b.messages)+1)) // any number that is its own in the batch
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, s.key.GetNFTMagic())
		ae.Uint32(unix.NFTA_SET_KEY_LEN, s.key.Bytes)
		if s.verdicts {
			flags |= unix.NFT_SET_MAP
			ae.Uint32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
		}
		ae.Uint32(unix.NFTA_SET_FLAGS, flags)
		data := userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, order)
		ae.Bytes(unix.NFTA_SET_USERDATA, append(data, commentData(userdata.NFTNL_UDATA_SET_COMMENT, s.comment)...))
	})
}

// addElements adds elements. With netlink.Excl the kernel refuses (EEXIST) what is there already.
func (b *batch) addElements(f family, set string, flags netlink.HeaderFlags, elements []nftElement) {
	for len(elements) > 0 {
		n := min(len(elements), elementsPerMessage)
		b.elements(f, unix.NFT_MSG_NEWSETELEM, netlink.Create|flags, "elements of "+set, set, elements[:n])
		elements = elements[n:]
	}
}

// delElements deletes elements. The kernel refuses (ENOENT) if one is not there, or has run out.
func (b *batch) delElements(f family, set string, elements []nftElement) {
	b.elements(f, unix.NFT_MSG_DELSETELEM, 0, "old elements of "+set, set, elements)
}

func (b *batch) elements(f family, kind uint16, flags netlink.HeaderFlags, about, set string, elements []nftElement) {
	b.add(f, kind, flags, about, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
		ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
			for _, e := range elements {
				list.Nested(unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) error {
					e.encode(ae)
					return nil
				})
			}
			return nil
		})
	})
}

func (e nftElement) encode(ae *netlink.AttributeEncoder) {
	ae.Nested(unix.NFTA_SET_ELEM_KEY, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.NFTA_DATA_VALUE, e.key)
		return nil
	})
	if e.timeout > 0 {
		ae.Uint64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(e.timeout/time.Millisecond))
	}
	if e.jump != "" {
		ae.Nested(unix.NFTA_SET_ELEM_DATA, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(unix.NFTA_DATA_VERDICT, func(ae *netlink.AttributeEncoder) error {
				ae.Uint32(unix.NFTA_VERDICT_CODE, uint32(math.MaxUint32+int64(expr.VerdictJump)+1))
				ae.String(unix.NFTA_VERDICT_CHAIN, e.jump)
				return nil
			})
			return nil
		})
	}
	if e.comment != "" {
		ae.Bytes(unix.NFTA_SET_ELEM_USERDATA, commentData(userdata.NFTNL_UDATA_SET_ELEM_COMMENT, e.comment))
	}
}

func (b *batch) addChain(f family, c nftChain) {
	b.add(f, unix.NFT_MSG_NEWCHAIN, netlink.Create, "chain "+c.name, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, b.table)
		ae.String(unix.NFTA_CHAIN_NAME, c.name)
		if c.comment != "" {
			ae.Bytes(chainComment, commentData(0, c.comment))
		}
		if !c.hooked {
			return
		}
		ae.String(unix.NFTA_CHAIN_TYPE, "filter")
		ae.Uint32(unix.NFTA_CHAIN_POLICY, 1) // NF_ACCEPT
		ae.Nested(unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, c.hook)
			ae.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
			if c.device != "" {
				ae.String(unix.NFTA_HOOK_DEV, c.device)
			}
			return nil
		})
	})
}

func (b *batch) addRule(f family, chain, comment string, exprs ...expr.Any) {
	b.add(f, unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, "rule of "+chain+" ("+comment+")", func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, b.table)
		ae.String(unix.NFTA_RULE_CHAIN, chain)
		ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(list *netlink.AttributeEncoder) error {
			for _, e := range exprs {
				data, err := expr.Marshal(byte(f), e)
				if err != nil {
					return fmt.Errorf("%T: %w", e, err)
				}
				list.Bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
			}
			return nil
		})
		ae.Bytes(unix.NFTA_RULE_USERDATA, commentData(userdata.TypeComment, comment))
	})
}

// commentData is a comment as nft keeps it beside an object.
func commentData(typ userdata.Type, comment string) []byte {
	return userdata.AppendString(nil, typ, comment[:min(len(comment), maxComment)])
}
