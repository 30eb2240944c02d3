package wire

import (
	"encoding/binary"

	"holdfast/rules/table"
)

// TableSum is what was added to one table comes to.
type TableSum struct {
	Table string
	table.Digest
}

// TableSums tells, in one or more parts, what was added to each of the sender's tables comes to.
type TableSums struct {
	Round       uint32 // of the sender's life; the parts of one round are told together
	Part, Parts uint8  // counted from 0; at most TablePartsMax
	Sums        []TableSum
}

// TablePartsMax is enough for table.Max tables with names of any length, of which a batch of
// 1,400 bytes holds 14 at least.
const TablePartsMax = 19

// TableSumMax is the longest of Sums, in bytes.
const TableSumMax = 1 + TableNameMax + 28

// TableSumsFixed is the length of TableSums without Sums, in bytes with its frame header.
const TableSumsFixed = FrameHeaderSize + 7

// Append appends m:
//
//	 0               4       5       6       7
//	+---------------+-------+-------+-------+
//	| round         | part  | parts | n     |
//	+---------------+-------+-------+-------+
//	and of each of n tables:
//	+-------+-------+---------------+-------+---------------+---------------+
//	| length| name  | floor (8)     | count | sum (8)       | left, ms (8)  |
//	|       |       |               | (4)   |               | of all        |
//	+-------+-------+---------------+-------+---------------+---------------+
func (m *TableSums) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeTableSums, 0)
	dst = binary.BigEndian.AppendUint32(dst, m.Round)
	dst = append(dst, m.Part, m.Parts, uint8(len(m.Sums)))
	for i := range m.Sums {
		s := &m.Sums[i]
		dst = appendTableName(dst, s.Table)
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.Floor))
		dst = binary.BigEndian.AppendUint32(dst, s.Count)
		dst = binary.BigEndian.AppendUint64(dst, s.Sum)
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.Left))
	}
	return endFrame(dst, start)
}

// Decode reads TableSums.
func (m *TableSums) Decode(f *Frame) error {
	c := f.open(TypeTableSums, 0)
	*m = TableSums{Round: c.u32(), Part: c.u8(), Parts: c.u8()}
	c.must(m.Part < m.Parts && m.Parts <= TablePartsMax, BadValue)
	for n := c.u8(); n > 0 && c.bad == 0; n-- {
		s := TableSum{Table: c.tableName()}
		s.Floor, s.Count, s.Sum, s.Left = table.Version(c.u64()), c.u32(), c.u64(), int64(c.u64())
		c.must(s.Floor>>63 == 0 && s.Left >= 0, BadValue)
		m.Sums = append(m.Sums, s)
	}
	return c.end()
}

// TableRequest asks for all that was added to some tables, and what has left of late.
type TableRequest struct{ Tables []string }

// Append appends m, which names 1 to 255 tables:
//
//	+-------+-------+---------------+-------+-----
//	| n     | length| name          | length| ...
//	+-------+-------+---------------+-------+-----
func (m *TableRequest) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeTableRequest, 0)
	dst = append(dst, uint8(len(m.Tables)))
	for _, name := range m.Tables {
		dst = appendTableName(dst, name)
	}
	return endFrame(dst, start)
}

// Decode reads a TableRequest.
func (m *TableRequest) Decode(f *Frame) error {
	c := f.open(TypeTableRequest, 0)
	m.Tables = nil
	n := c.u8()
	c.must(n > 0, BadValue)
	for ; n > 0 && c.bad == 0; n-- {
		m.Tables = append(m.Tables, c.tableName())
	}
	return c.end()
}
