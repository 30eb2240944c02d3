package node

import (
	"fmt"

	"holdfast/sync/seal"
)

// rereadKeys takes over what the key file says now. Where it cannot be read the keys stay as
// they are. Addresses of ports and the secret of SYN cookies stay those of the start.
func (d *daemon) rereadKeys() {
	if !d.node.KeyFile.Written() {
		return
	}
	keys, err := seal.ReadKeyFile(d.node.KeyFile.V)
	if err != nil {
		d.log.Error("the keys stay as they are", "err", fmt.Errorf("%v: %w", d.node.KeyFile.Pos, err))
		return
	}
	changed, err := d.cluster.SetKeys(keys)
	if err != nil {
		d.log.Error("the keys stay as they are", "err", err)
		return
	}
	if changed {
		accepted := make([]string, len(keys))
		for i, k := range keys {
			accepted[i] = k.Fingerprint()
		}
		d.log.Info("new keys", "used", accepted[0], "accepted", accepted)
	}
}
