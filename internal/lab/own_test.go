package lab

import (
	"context"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A namespace answers ARP for every address it owns and takes connections to it.
func TestOwnAnswersForEveryAddress(t *testing.T) {
	left, right := pair(t, ForTest(t))
	if err := right.Own(netip.MustParsePrefix("10.9.0.128/25")); err != nil {
		t.Fatal(err)
	}
	listener := must(right.Listen("tcp", "10.9.0.200:80"))(t)
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn := must(left.Dial(ctx, "tcp", "", "10.9.0.200:80"))(t)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOffloadsComeBackOn(t *testing.T) {
	left, _ := pair(t, ForTest(t))
	gets := []uint32{unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_GTSO, unix.ETHTOOL_GGSO, unix.ETHTOOL_GGRO}
	if err := left.OffloadsOff("x"); err != nil {
		t.Fatal(err)
	}
	if err := left.OffloadsOn("x", GRO); err != nil {
		t.Fatal(err)
	}
	for i, get := range gets {
		if value := offload(t, left, "x", get); (value == 1) != (i == 3) {
			t.Errorf("GRO alone: offload %#x is %d", get, value)
		}
	}
	if err := left.OffloadsOn("x"); err != nil {
		t.Fatal(err)
	}
	for _, get := range gets {
		if value := offload(t, left, "x", get); value != 1 {
			t.Errorf("all: offload %#x is %d", get, value)
		}
	}
}
