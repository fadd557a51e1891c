package vip

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
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
	values   *nftables.SetDatatype // makes it a map from keys to values
	size     uint32                // the most elements that packets may add; 0: packets add none
	timeout  time.Duration         // of elements that packets add
}

// nftElement is one element of a set: with a timeout where the set is timed, with a chain to jump to where
// it has verdicts.
type nftElement struct {
	key     []byte
	timeout time.Duration // cut to milliseconds; 0: none
	until   time.Duration // instead of a timeout: the deadline that stamp makes one of
	jump    string
	value   []byte // where the set is a map to values
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
	table  string
	buf    attrs // messages with their headers
	starts []int // of each message in buf
	about  []about
	stamps []stamp
	err    error
	// uses counts the rules of each chain and the jumps to it from elements, as the kernel does.
	uses map[family]map[string]uint32
}

// use counts n more things that belong to a chain.
func (b *batch) use(f family, chain string, n uint32) {
	if b.uses == nil {
		b.uses = make(map[family]map[string]uint32)
	}
	if b.uses[f] == nil {
		b.uses[f] = make(map[string]uint32)
	}
	b.uses[f][chain] += n
}

// about says what a message does, for errors.
type about struct {
	family     family
	what, name string
}

func (a about) String() string {
	return strings.TrimSpace(a.family.String() + " " + a.what + " " + a.name)
}

// stamp is a timeout that is filled in when the clock has been read.
type stamp struct {
	message, at int
	until       time.Duration
}

func (b *batch) add(f family, kind, flags uint16, of about, fill func(a *attrs)) {
	start := len(b.buf)
	b.starts, b.about = append(b.starts, start), append(b.about, of)
	b.buf = append(b.buf, make([]byte, unix.NLMSG_HDRLEN)...)
	binary.NativeEndian.PutUint16(b.buf[start+4:], unix.NFNL_SUBSYS_NFTABLES<<8|kind)
	binary.NativeEndian.PutUint16(b.buf[start+6:], unix.NLM_F_REQUEST|flags)
	b.buf = append(b.buf, byte(f), unix.NFNETLINK_V0, 0, 0)
	fill(&b.buf)
	binary.NativeEndian.PutUint32(b.buf[start:], uint32(len(b.buf)-start))
}

// stampAll fills in the timeouts. It is the last thing before the transaction: everything else is encoded by then, so
// that as little as possible can come between the clock and the kernel. An error, a *refusal, names the messages
// for which it is too late.
func (b *batch) stampAll(now time.Duration, t timing) error {
	no := &refusal{first: ErrDeadline, at: make(map[int]error)}
	for _, s := range b.stamps {
		timeout := t.timeout(s.until - now)
		if timeout <= 0 {
			no.about = b.about[s.message].String()
			no.at[s.message] = fmt.Errorf("%w: %v left, and the gate takes %v of them", ErrDeadline, s.until-now, t.shorter)
			no.first = no.at[s.message]
		}
		binary.BigEndian.PutUint64(b.buf[s.at:], uint64(timeout/time.Millisecond))
	}
	if len(no.at) > 0 {
		return no
	}
	return nil
}

// addTable makes the table of ours in that family.
func (b *batch) addTable(f family, flags uint32, comment string) {
	b.add(f, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, about{f, "table", b.table}, func(a *attrs) {
		a.string(unix.NFTA_TABLE_NAME, b.table)
		a.uint32(unix.NFTA_TABLE_FLAGS, flags)
		a.bytes(tableComment, commentData(0, comment))
	})
}

// delTable deletes the table with everything in it.
func (b *batch) delTable(f family) {
	b.add(f, unix.NFT_MSG_DELTABLE, 0, about{f, "old table", b.table}, func(a *attrs) {
		a.string(unix.NFTA_TABLE_NAME, b.table)
	})
}

func (b *batch) addSet(f family, s nftSet) {
	b.add(f, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, about{f, "set", s.name}, func(a *attrs) {
		var flags uint32
		order := uint32(1) // of the host, as nft has it
		if s.bigKey {
			order = 2
		}
		if s.timed {
			flags |= unix.NFT_SET_TIMEOUT
		}
		a.string(unix.NFTA_SET_TABLE, b.table)
		a.string(unix.NFTA_SET_NAME, s.name)
		a.uint32(unix.NFTA_SET_ID, uint32(len(b.starts))) // any number that is its own in the batch
		a.uint32(unix.NFTA_SET_KEY_TYPE, s.key.GetNFTMagic())
		a.uint32(unix.NFTA_SET_KEY_LEN, s.key.Bytes)
		if s.verdicts {
			flags |= unix.NFT_SET_MAP
			a.uint32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
		}
		flags |= s.extras(a)
		a.uint32(unix.NFTA_SET_FLAGS, flags)
		data := userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, order)
		a.bytes(unix.NFTA_SET_USERDATA, append(data, commentData(userdata.NFTNL_UDATA_SET_COMMENT, s.comment)...))
	})
}

// addElements adds elements. With unix.NLM_F_EXCL the kernel refuses (EEXIST) what is there already.
func (b *batch) addElements(f family, set string, flags uint16, elements []nftElement) {
	for len(elements) > 0 {
		n := min(len(elements), elementsPerMessage)
		b.elements(f, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|flags, about{f, "elements of", set}, elements[:n])
		elements = elements[n:]
	}
}

// delElements deletes elements. The kernel refuses (ENOENT) if one is not there, or has run out.
func (b *batch) delElements(f family, set string, elements []nftElement) {
	b.elements(f, unix.NFT_MSG_DELSETELEM, 0, about{f, "old elements of", set}, elements)
}

func (b *batch) elements(f family, kind, flags uint16, of about, elements []nftElement) {
	b.add(f, kind, flags, of, func(a *attrs) {
		a.string(unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
		a.string(unix.NFTA_SET_ELEM_LIST_SET, of.name)
		list := a.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for _, e := range elements {
			if e.jump != "" {
				b.use(f, e.jump, 1)
			}
			b.element(a, e)
		}
		a.end(list)
	})
}

func (b *batch) element(a *attrs, e nftElement) {
	elem := a.nest(unix.NFTA_LIST_ELEM)
	key := a.nest(unix.NFTA_SET_ELEM_KEY)
	a.bytes(unix.NFTA_DATA_VALUE, e.key)
	a.end(key)
	if e.until != 0 {
		at := a.uint64(unix.NFTA_SET_ELEM_TIMEOUT, 0)
		b.stamps = append(b.stamps, stamp{message: len(b.starts) - 1, at: at, until: e.until})
	} else if e.timeout > 0 {
		a.uint64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(e.timeout/time.Millisecond))
	}
	if e.jump != "" {
		data := a.nest(unix.NFTA_SET_ELEM_DATA)
		verdict := a.nest(unix.NFTA_DATA_VERDICT)
		a.uint32(unix.NFTA_VERDICT_CODE, uint32(math.MaxUint32+int64(expr.VerdictJump)+1))
		a.string(unix.NFTA_VERDICT_CHAIN, e.jump)
		a.end(verdict)
		a.end(data)
	}
	if e.value != nil {
		data := a.nest(unix.NFTA_SET_ELEM_DATA)
		a.bytes(unix.NFTA_DATA_VALUE, e.value)
		a.end(data)
	}
	if e.comment != "" {
		a.bytes(unix.NFTA_SET_ELEM_USERDATA, commentData(userdata.NFTNL_UDATA_SET_ELEM_COMMENT, e.comment))
	}
	a.end(elem)
}

func (b *batch) addChain(f family, c nftChain) {
	b.use(f, c.name, 0)
	b.add(f, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, about{f, "chain", c.name}, func(a *attrs) {
		a.string(unix.NFTA_CHAIN_TABLE, b.table)
		a.string(unix.NFTA_CHAIN_NAME, c.name)
		if c.comment != "" {
			a.bytes(chainComment, commentData(0, c.comment))
		}
		if !c.hooked {
			return
		}
		a.string(unix.NFTA_CHAIN_TYPE, "filter")
		a.uint32(unix.NFTA_CHAIN_POLICY, 1) // NF_ACCEPT
		hook := a.nest(unix.NFTA_CHAIN_HOOK)
		a.uint32(unix.NFTA_HOOK_HOOKNUM, c.hook)
		a.uint32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
		if c.device != "" {
			a.string(unix.NFTA_HOOK_DEV, c.device)
		}
		a.end(hook)
	})
}

func (b *batch) addRule(f family, chain, comment string, exprs ...expr.Any) {
	b.use(f, chain, 1)
	b.add(f, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, about{f, "rule of", chain + " (" + comment + ")"}, func(a *attrs) {
		a.string(unix.NFTA_RULE_TABLE, b.table)
		a.string(unix.NFTA_RULE_CHAIN, chain)
		list := a.nest(unix.NFTA_RULE_EXPRESSIONS)
		for _, e := range exprs {
			data, err := marshalExpr(f, e)
			if err != nil && b.err == nil {
				b.err = fmt.Errorf("%s: %T: %w", chain, e, err)
			}
			a.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
		}
		a.end(list)
		a.bytes(unix.NFTA_RULE_USERDATA, commentData(userdata.TypeComment, comment))
	})
}

// commentData is a comment as nft keeps it beside an object.
func commentData(typ userdata.Type, comment string) []byte {
	return userdata.AppendString(nil, typ, comment[:min(len(comment), maxComment)])
}
