package wire

import (
	"encoding/binary"
	"net/netip"

	"holdfast/dataplane/packet"
	"holdfast/rules/table"
)

// TellsTables: the node tells what is added to its tables of addresses, and compares it.
const TellsTables Capabilities = 1 << 0

// TableChangeMax is the longest TableChange, in bytes with its frame header.
const TableChangeMax = FrameHeaderSize + 8 + 1 + TableNameMax + 1 + 16 + 6 + 6 + 4

// Frame flags of a TableChange.
const (
	tableKind     = 3 << 0
	tableV6       = 1 << 2
	tableExclude  = 1 << 3
	tableOverload = 1 << 4
)

// TableChange tells of an entry that was added to a table of addresses, or has left it.
type TableChange struct{ table.Change }

// Append appends m, whose table has a name that ValidTableName accepts. Nothing is allocated
// if dst has room.
//
//	frame flags: bits 0-1: 1 put, 2 drop, 3 clear; bit 2: the address has 16 bytes;
//	of a put, bit 3: it excludes; bit 4: by the overload of a rule
//
//	 0                               8               9
//	+-------------------------------+---------------+---------------
//	| version                       | length of name| name
//	+-------------------------------+---------------+---------------
//	put and drop:
//	+-------+-----------------------+
//	| bits  | address, 4 or 16      |
//	+-------+-----------------------+
//	put:
//	+-------------------------------+-------------------------------+
//	| left of its lifetime, ms (6)  | age, ms (6)                   |
//	+-------------------------------+-------------------------------+
//	put by an overload:
//	+---------------+
//	| rule (4)      |
//	+---------------+
//
// Nothing left stands for an entry that stays.
func (m *TableChange) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeTableChange, m.flags())
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Version))
	dst = appendTableName(dst, m.Table)
	if m.Kind == table.Clear {
		return endFrame(dst, start)
	}
	a := packet.AddrFrom(m.Prefix.Addr())
	dst = append(dst, uint8(m.Prefix.Bits()))
	dst = appendAddress(dst, familyOf(&a), &a)
	if m.Kind == table.Put {
		left := uint64(m.Left) / msNS
		if m.Left != 0 {
			left = max(left, 1)
		}
		dst = appendUint(dst, left, 6)
		dst = appendUint(dst, uint64(m.Age)/msNS, 6)
		if m.Cause.Kind == table.Overload {
			dst = binary.BigEndian.AppendUint32(dst, m.Cause.Rule)
		}
	}
	return endFrame(dst, start)
}

const msNS = 1_000_000

func (m *TableChange) flags() uint8 {
	flags := uint8(m.Kind)
	if m.Kind != table.Clear && m.Prefix.Addr().Is6() {
		flags |= tableV6
	}
	if m.Kind == table.Put {
		if m.Sense == table.Exclude {
			flags |= tableExclude
		}
		if m.Cause.Kind == table.Overload {
			flags |= tableOverload
		}
	}
	return flags
}

// timeMax bounds a time of a TableChange, in ms: 146 years, half of what fits ns.
const timeMax = (1<<63 - 1) / msNS / 2

// Decode reads a TableChange.
func (m *TableChange) Decode(f *Frame) error {
	c := f.open(TypeTableChange, tableKind|tableV6|tableExclude|tableOverload)
	m.Change = table.Change{Kind: table.ChangeKind(f.Flags & tableKind), Version: table.Version(c.u64())}
	m.Table = c.tableName()
	c.must(m.Kind != 0 && (m.Kind == table.Put || f.Flags&(tableExclude|tableOverload) == 0), BadFlags)
	c.must(m.Kind != table.Clear || f.Flags&tableV6 == 0, BadFlags)
	c.must(m.Version.Valid(), BadValue)
	if m.Kind == table.Clear {
		return c.end()
	}
	m.Prefix = c.prefix(f.Flags&tableV6 != 0)
	if m.Kind == table.Put {
		left, age := c.uint(6), c.uint(6)
		c.must(left <= timeMax && age <= timeMax, BadValue)
		m.Left, m.Age = int64(left%(timeMax+1))*msNS, int64(age%(timeMax+1))*msNS
		m.Cause.Kind = table.Command
		if f.Flags&tableExclude != 0 {
			m.Sense = table.Exclude
		}
		if f.Flags&tableOverload != 0 {
			m.Cause = table.Cause{Kind: table.Overload, Rule: c.u32()}
		}
	}
	return c.end()
}

// prefix reads length and address of one, which has no bits set behind its length.
func (c *cursor) prefix(six bool) netip.Prefix {
	bits, fam := int(c.u8()), v4
	if six {
		fam = v6
	}
	a := c.address(fam)
	p := netip.PrefixFrom(a.Netip(), bits)
	c.must(p.IsValid() && p == p.Masked(), BadAddress)
	return p
}
