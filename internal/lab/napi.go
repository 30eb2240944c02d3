package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ThreadedNAPI moves the receive work of a link to a kernel thread, or to one for each of
// its queues, and returns their process numbers. Without, a veth's work is done on the
// core of whoever sends to it. A veth has such work only with GRO on or an XDP program.
// The threads end with the link.
func (n *Namespace) ThreadedNAPI(link string) ([]int, error) {
	before, err := napiThreads(link)
	if err != nil {
		return nil, err
	}
	if err := n.writeSysfs("class/net/"+link+"/threaded", "1"); err != nil {
		return nil, fmt.Errorf("namespace %s: threaded NAPI of %s: %w", n.name, link, err)
	}
	after, err := napiThreads(link)
	if err != nil {
		return nil, err
	}
	var pids []int
	for pid := range after {
		if !before[pid] {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("namespace %s: threaded NAPI of %s: the kernel made no thread: switch GRO on first", n.name, link)
	}
	return pids, nil
}

// writeSysfs writes a file below /sys as the namespace sees it: a sysfs shows the network
// namespace of who mounted it. It is mounted in a mount namespace of one thread and ends
// with that.
func (n *Namespace) writeSysfs(path, value string) error {
	return n.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("making the mounts private: %w", err)
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			return fmt.Errorf("mounting sysfs: %w", err)
		}
		return os.WriteFile(filepath.Join("/sys", path), []byte(value), 0)
	})
}

// napiThreads returns the kernel threads of all links of a name, of whatever namespace:
// the kernel calls them napi/LINK-NUMBER (net/core/dev.c, napi_kthread_create).
func napiThreads(link string) (map[int]bool, error) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	pids := map[int]bool{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && strings.HasPrefix(string(text), "napi/"+link+"-") {
			pids[pid] = true
		}
	}
	return pids, nil
}
