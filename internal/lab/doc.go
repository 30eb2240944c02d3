// Package lab builds small networks out of the running kernel: network namespaces,
// veth pairs, bridges, addresses, and real programs inside. The tests that need more
// than one machine, the demo and the benchmarks stand on it.
//
// # Nothing is left behind
//
// A namespace of the lab has no name: it is held by a file descriptor of this
// process alone, never by a mount. Every process that the lab starts dies with this
// one (PR_SET_PDEATHSIG). So the kernel takes everything back by itself, also after
// SIGKILL, and two laboratories, in one process or in two, cannot meet: no name, no
// file and no address is shared between them. Who needs no namespace has addresses of its own on
// the loopback (Loopback).
//
// Close does the same in order and waits for it: first the processes with all they
// started, then the captures, then the links, then the namespaces.
//
// # Threads
//
// A namespace is an attribute of an operating-system thread. Whatever must happen
// inside one runs on a thread made for it, which ends with the work and is never
// given back to the Go scheduler: no failed restore can leave a goroutine in the
// wrong network. The process's main thread is never used, because /proc/self shows
// its namespaces for the whole process.
//
// All methods may be called from several goroutines at once.
//
// # Bad links
//
// Impair is a link for UDP that loses, duplicates, delays and thereby reorders, from a seed,
// and counts exactly what it did: kernels without netem have it too.
//
// # What it is not
//
// It changes nothing outside the namespaces it made: no name in /run/netns, no link,
// address or sysctl of the namespace it was called from. It needs root.
package lab
