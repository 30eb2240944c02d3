package nat

// Blocks are the unit in which the ports of an external address are dealt out to nodes.
//
//	block 0: ports 0 to 511     block 1: 512 to 1023     block 2 to 127: the class of I2 above 1023
//
// The lower two are the small classes of I2, so that no class ends within a block. Today
// every block is this node's: the standby takes the ports of the connections that it hears
// of (Pool.Take) and gives none away, so nothing is gained by dividing them. Two nodes that
// give out ports of one address at the same time need a division; then what one node may
// not give is closed there by setClosed, as services are.
const (
	blockPorts = 512
	blocks     = 1 << 16 / blockPorts
)

// block numbers the blocks of an address and protocol.
type block uint8

// blockSet is a set of blocks.
type blockSet [blocks / 64]uint64

// allBlocks are every one.
var allBlocks = blockSet{^uint64(0), ^uint64(0)}

func (s *blockSet) has(b block) bool { return s[b/64]>>(b%64)&1 != 0 }

// addForeign adds the ports of all blocks that are not in the set to ports.
func (s *blockSet) addForeign(ports *portSet) {
	for b := range blocks {
		if s.has(block(b)) {
			continue
		}
		for i := range blockPorts {
			ports.add(uint16(b*blockPorts + i))
		}
	}
}
