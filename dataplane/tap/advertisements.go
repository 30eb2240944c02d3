package tap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ignoreAdvertisements makes a device of the calling thread's network namespace deaf
// to router advertisements: whoever can send one to the port would otherwise give the
// node a default route. There is no netlink message for it. It reports whether the
// kernel has IPv6 on the device at all.
//
// A service may see /proc/sys read-only (ProtectKernelTunables=); then it is enough
// that the administrator has made 0 the default.
func ignoreAdvertisements(device string) (present bool, err error) {
	name := "/proc/sys/net/ipv6/conf/" + device + "/accept_ra"
	err = os.WriteFile(name, []byte("0"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		return true, nil
	}
	if value, readErr := os.ReadFile(name); readErr == nil && strings.TrimSpace(string(value)) == "0" {
		return true, nil
	}
	return true, fmt.Errorf("ignore router advertisements: %w: let the daemon write there (no ProtectKernelTunables=), or set net.ipv6.conf.default.accept_ra=0", err)
}
