package xdp

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// identify opens an attached program by its number and says whether it is Holdfast's,
// which it is by its name: the instructions differ between versions. A nil program
// without an error is one that went away meanwhile. The caller closes it.
func identify(id ebpf.ProgramID) (program *ebpf.Program, name string, err error) {
	program, err = ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("program %d: %w", id, explain(err))
	}
	info, err := program.Info()
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("program %d: %w", id, explain(err)), program.Close())
	}
	return program, info.Name, nil
}

// inUse reports whether a receive program has a living socket in some slot.
//
// A process's death empties its slots, so that is the sign of life that no file, name
// or process number could give across mount, network and process namespaces. The map
// does not let itself be read; but it refuses to fill a slot that is taken
// (xsk_map_update_elem). Not seen is a daemon that is just between Attach and its
// first SetSocket: the daemon's own lock is for that.
func inUse(program *ebpf.Program) (bool, error) {
	info, err := program.Info()
	if err != nil {
		return false, fmt.Errorf("maps of the earlier program: %w", explain(err))
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("map %d of the earlier program: %w", id, explain(err))
		}
		taken := false
		if m.Type() == ebpf.XSKMap {
			taken, err = slotTaken(m)
		}
		if err = errors.Join(err, m.Close()); err != nil || taken {
			return taken, err
		}
	}
	return false, nil
}

// slotTaken tries to put a socket that is bound to nothing into each slot and takes it
// out again. A frame that meets it there is dropped, as it would be without.
func slotTaken(slots *ebpf.Map) (bool, error) {
	fd, err := probeSocket()
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }() // leaves the map by itself
	for slot := range slots.MaxEntries() {
		switch err := slots.Update(slot, uint32(fd), ebpf.UpdateNoExist); {
		case errors.Is(err, ebpf.ErrKeyExist):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("slot %d of the earlier program: %w", slot, explain(err))
		}
		if err := slots.Delete(slot); err != nil {
			return false, fmt.Errorf("slot %d of the earlier program: %w", slot, explain(err))
		}
	}
	return false, nil
}

// probeSocket makes the least that the kernel takes into a slot: a socket with a fill
// ring (xsk_is_setup_for_bpf_map).
func probeSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("AF_XDP socket: %w", explain(err))
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_XDP, unix.XDP_UMEM_FILL_RING, 1); err != nil {
		_ = unix.Close(fd) // nothing was done with it
		return -1, fmt.Errorf("AF_XDP socket: fill ring: %w", err)
	}
	return fd, nil
}
