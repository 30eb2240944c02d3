package config

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Hash returns a number by which nodes compare policies. It is that of the policy's
// canonical form: what it means in fixed order, with macros and includes expanded and
// defaults filled in, without positions, comments and layout. Behind that stands what the form
// leaves out: which rules say what they would have by default too, see overrides. Nodes of
// different versions may see different hashes for one text where a version adds a key.
func (p *Policy) Hash() uint64 {
	// Value writes itself without its position, and structs in the order of their fields.
	canonical, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("config: a policy without canonical form: %v", err)) // plain data always has one
	}
	if p.Defaults.Log.Written() {
		canonical = append(canonical, "log"...)
	}
	at := uint32(0)
	p.eachRule(func(r *Rule) {
		if said := r.overrides(); said != 0 {
			canonical = binary.BigEndian.AppendUint32(canonical, at)
			canonical = append(canonical, said)
		}
		at++
	})
	return xxhash.Sum64(canonical)
}

// overrides returns a bit for each key that the rule has and whose default another may
// change: what a match rule before it says, or the policy's [defaults]. ip_options = false
// asks for packets without.
func (r *Rule) overrides() (said uint8) {
	for i, written := range [8]bool{
		r.Mode.Written(), r.Sync.Written(), r.PickUp.Written(), r.SynProxy.Written(),
		r.Log.Written(), r.OnChange.Written(), r.Reject.Written(), r.IPOptions.Written(),
	} {
		if written {
			said |= 1 << i
		}
	}
	return said
}
