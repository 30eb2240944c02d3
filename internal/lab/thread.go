package lab

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// startOnThread runs fn on an operating-system thread that ends when fn returns.
// fn may change what belongs to a thread (namespaces) without putting it back.
//
// The runtime ends a thread whose goroutine exits while locked to it, but can only
// park the main thread, so the main thread is held here until fn has another one.
func startOnThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			fn()
			return
		}
		moved := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(moved)
			fn()
		}()
		<-moved
		runtime.UnlockOSThread()
	}()
}
