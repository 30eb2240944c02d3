package config

import (
	"fmt"
	"strconv"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Clamp is the largest MSS that SYNs over a port may offer, in bytes. The zero value is any.
type Clamp uint16

// ClampPath is what the MTU of the ports on the way leaves.
const ClampPath Clamp = 1

// Bounds of a clamp: what every host takes (RFC 9293 section 3.7.1), and what fits IPv4.
const (
	clampMin = 536
	clampMax = 65535 - 40
)

// clamp reads 1400, or "path".
func clamp(n *node) (Clamp, *fault) {
	mend := fmt.Sprintf(`write a number of bytes from %d to %d, or "path" for what the MTU of the ports leaves`, clampMin, clampMax)
	if n.kind == unstable.String && n.text == "path" {
		return ClampPath, nil
	}
	if n.kind != unstable.Integer {
		return 0, &fault{what: n.literal() + " is not an MSS", mend: mend}
	}
	v, err := strconv.ParseInt(n.text, 0, 64)
	if err != nil || v < clampMin || v > clampMax {
		return 0, &fault{what: clip(n.text) + " is out of range for an MSS", mend: mend}
	}
	return Clamp(v), nil
}
