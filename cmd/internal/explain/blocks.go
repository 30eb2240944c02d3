package explain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// blocks hands on a pcapng file block by block, and only blocks whose lengths are sound:
// pcapgo makes room for what a block says that it holds.
//
//	 0        4        8                      length-4
//	+--------+--------+----------------------+--------+
//	| type   | length | body                 | length |   each number in the section's order
//	+--------+--------+----------------------+--------+
//	enhanced packet (6), its body: interface 4, time 8, captured 4, original 4, data, options
type blocks struct {
	r     io.Reader
	order binary.ByteOrder
	named int // interfaces of the section
	block []byte
	err   error
}

func newBlocks(r io.Reader) *blocks { return &blocks{r: r, order: binary.LittleEndian} }

// Types of blocks, and the parts of their lengths that are fixed (draft-ietf-opsawg-pcapng).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockSimple    = 3
	blockEnhanced  = 6
	blockMin       = 12
	blockMax       = frameMax + 64<<10 // a frame and its options
	enhancedHead   = 28                // up to its data
)

// Read implements io.Reader.
func (b *blocks) Read(p []byte) (int, error) {
	if len(b.block) == 0 && b.err == nil {
		b.block, b.err = b.next()
	}
	if len(b.block) == 0 {
		return 0, b.err
	}
	n := copy(p, b.block)
	b.block = b.block[n:]
	return n, nil
}

// next reads a block. io.EOF is the end of the file between two.
func (b *blocks) next() ([]byte, error) {
	head := make([]byte, blockMin)
	if n, err := io.ReadFull(b.r, head); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, errors.New("it ends within a block")
	}
	if binary.LittleEndian.Uint32(head) == blockSection {
		b.order, b.named = binary.LittleEndian, 0
		if binary.BigEndian.Uint32(head[8:]) == 0x1a2b3c4d {
			b.order = binary.BigEndian
		}
	}
	kind, length := b.order.Uint32(head), b.order.Uint32(head[4:])
	if length < blockMin || length%4 != 0 || length > blockMax {
		return nil, fmt.Errorf("a block of %d bytes: it has %d to %d", length, blockMin, blockMax)
	}
	block := make([]byte, length)
	if _, err := io.ReadFull(b.r, block[copy(block, head):]); err != nil {
		return nil, errors.New("it ends within a block")
	}
	switch kind {
	case blockInterface:
		b.named++
	case blockSimple, blockEnhanced:
		if b.named == 0 {
			return nil, errors.New("a packet before any interface")
		}
		if kind == blockEnhanced && (length < enhancedHead+4 || b.order.Uint32(block[20:]) > length-enhancedHead-4) {
			return nil, errors.New("a packet that is longer than its block")
		}
	}
	return block, nil
}
