package config

import (
	"os"
	"path/filepath"
	"testing"
)

// TestVLAN_PortsOfOneDevice: ports share a device when their VLANs differ, one of them
// untagged at most; the same VLAN may stand on another device.
func TestVLAN_PortsOfOneDevice(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"node.toml": `policy = "policy.toml"
[node]
name = "fw-a"
[devices]
lan = { device = "eth1" }
dmz = { device = "eth1", vlan = 10 }
lab = { device = "eth1", vlan = 4094 }
wan = { device = "eth2", vlan = 10 }
`,
		"policy.toml": "[ports.lan]\n[ports.dmz]\n[ports.lab]\n[ports.wan]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n, _, err := Load(filepath.Join(dir, "node.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[string]struct {
		device string
		vlan   uint16
	}{"lan": {"eth1", 0}, "dmz": {"eth1", 10}, "lab": {"eth1", 4094}, "wan": {"eth2", 10}} {
		if d := n.Device(port); d.Name.V != want.device || d.VLAN.V != want.vlan {
			t.Errorf("%s is VLAN %d of %s, want %v", port, d.VLAN.V, d.Name.V, want)
		}
	}
}
