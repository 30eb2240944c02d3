package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"holdfast/sync/seal"
)

// keyLog writes the keys of this node's sessions to the file that `[cluster] key_log`
// names, for `holdfast sync decode`. Whoever reads it reads the sync link, so nobody but
// its owner may, and `status` is degraded while it is written.
type keyLog struct {
	path  string
	file  *os.File
	lines chan string
	ended chan error
	log   *slog.Logger
}

// keyLogQueue is how many lines may wait for a slow disk: the reader of a link must not.
const keyLogQueue = 64

// openKeyLog opens the file, to append to it.
func openKeyLog(path string, log *slog.Logger) (*keyLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("[cluster] key_log: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("[cluster] key_log: %s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		err = fmt.Errorf("[cluster] key_log: %s has mode %04o, others can read session keys: run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	k := &keyLog{path: path, file: f, lines: make(chan string, keyLogQueue), ended: make(chan error, 1), log: log}
	log.Warn("session keys of the sync link are written to a file: whoever reads it reads the link", "file", path)
	go k.write()
	return k, nil
}

// add takes one key (seal.Config.Log).
func (k *keyLog) add(s seal.SessionKey) {
	select {
	case k.lines <- s.Line() + "\n":
	default:
		k.log.Warn("a session key was not written: the disk is slow", "session", fmt.Sprintf("%08x", s.Session))
	}
}

func (k *keyLog) write() {
	for line := range k.lines {
		if _, err := k.file.WriteString(line); err != nil {
			k.log.Warn("writing session keys", "err", err)
		}
	}
	k.ended <- k.file.Close()
}

// close writes what waits. Nothing may be added any more.
func (k *keyLog) close() error {
	close(k.lines)
	return <-k.ended
}

// keyLogTrouble is what status says of a key log.
func (d *daemon) keyLogTrouble() []string {
	if d.keys == nil {
		return nil
	}
	return []string{"session keys of the sync link are written to " + d.keys.path +
		": whoever reads it reads the link; take `key_log` out of the node file and restart when you are done"}
}
