package config

import (
	"encoding/json"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Hash returns a number by which nodes compare policies. It is that of the policy's
// canonical form: what it means in fixed order, with macros and includes expanded and
// defaults filled in, without positions, comments and layout. Nodes of different
// versions may see different hashes for one text where a version adds a key.
func (p *Policy) Hash() uint64 {
	// Value writes itself without its position, and structs in the order of their fields.
	canonical, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("config: a policy without canonical form: %v", err)) // plain data always has one
	}
	return xxhash.Sum64(canonical)
}
