package capture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/dataplane"
)

// FileConfig is where packets are written, and how much of them.
type FileConfig struct {
	Path        string
	Size        int64 // bytes, after which the next file is begun
	Keep        int   // finished files that stay, as Path.1, the newest, and so on
	SnapLen     int   // bytes of a packet
	Ports       []string
	Application string // of the section's header
}

// batchMax is how many bytes are written at once.
const batchMax = 32 << 10

// File is a pcapng file that is rotated by size. One goroutine uses it. A file that is there
// when the first packet comes is rotated too, so each is one section, and never torn in the
// middle: what was written in part is taken back.
//
// Nothing is synced to the disk: after a power failure the end may be missing.
type File struct {
	config  FileConfig
	header  []byte
	open    func(path string) (sink, error) // a new file
	out     sink                            // nil: none
	written int64                           // bytes of out that are whole blocks
	batch   []byte                          // blocks to be written
	packets uint64                          // in batch
	stored  uint64                          // packets ever written
	lost    uint64                          // packets that could not be
	failing bool                            // and that has been told
}

// sink is the file being written.
type sink interface {
	io.WriteCloser
	Truncate(size int64) error
}

// NewFile returns a File; nothing is opened before Open or the first packet.
func NewFile(c FileConfig) *File {
	return &File{config: c, header: appendHeader(nil, c.Ports, c.SnapLen, c.Application), open: create}
}

// create makes a new file that root alone may read: it holds what others say to each other.
// A link in its place is not followed. It appends, because what is taken back ends before.
func create(path string) (sink, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err // a nil *os.File would not be a nil sink
	}
	return f, nil
}

// Open begins a file, after it has rotated those before it. The folder is made, for root
// alone, where there is none.
func (f *File) Open() error {
	if f.out != nil {
		return nil
	}
	path := f.config.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("packets are not written to %s: %w", path, err)
	}
	if err := f.rotate(); err != nil {
		return fmt.Errorf("packets are not written to %s: %w", path, err)
	}
	out, err := f.open(path)
	if err != nil {
		return fmt.Errorf("packets are not written to %s: %w", path, err)
	}
	if _, err = out.Write(f.header); err != nil {
		return errors.Join(fmt.Errorf("packets are not written to %s: %w", path, err), out.Close(), os.Remove(path))
	}
	f.out, f.written = out, int64(len(f.header))
	return nil
}

// rotate makes Path free: what is there becomes Path.1, that Path.2, and what is too many goes.
func (f *File) rotate() error {
	path := f.config.Path
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if f.config.Keep == 0 {
		return os.Remove(path)
	}
	numbered := func(n int) string { return fmt.Sprintf("%s.%d", path, n) }
	for n := f.config.Keep - 1; n > 0; n-- {
		if err := os.Rename(numbered(n), numbered(n+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(path, numbered(1))
}

// Add puts a packet into the next batch. The error is Flush's.
func (f *File) Add(p *dataplane.LoggedPacket, at time.Time, comment string) error {
	f.batch = appendPacket(f.batch, p, at, comment)
	f.packets++
	if len(f.batch) < batchMax {
		return nil
	}
	return f.Flush()
}

// Flush writes the batch. Where that fails its packets are lost, and the error says why, but
// only once until it works again: then it is nil.
func (f *File) Flush() error {
	if f.packets == 0 {
		return nil
	}
	err := f.write()
	if err == nil {
		f.stored += f.packets
	} else {
		f.lost += f.packets
	}
	f.batch, f.packets = f.batch[:0], 0
	if err != nil && f.failing {
		return nil
	}
	f.failing = err != nil
	return err
}

func (f *File) write() error {
	if f.out != nil && f.written > int64(len(f.header)) && f.written+int64(len(f.batch)) > f.config.Size {
		err := f.out.Close()
		f.out = nil
		if err != nil {
			return fmt.Errorf("%s: %w", f.config.Path, err)
		}
	}
	if err := f.Open(); err != nil {
		return err
	}
	if _, err := f.out.Write(f.batch); err != nil {
		err = fmt.Errorf("packets are not written to %s: %w", f.config.Path, err)
		// A torn block would make all behind it unreadable.
		if back := f.out.Truncate(f.written); back != nil {
			err = errors.Join(err, back, f.out.Close())
			f.out = nil
		}
		return err
	}
	f.written += int64(len(f.batch))
	return nil
}

// Close writes what waits and closes the file.
func (f *File) Close() error {
	err := f.Flush()
	if f.out != nil {
		err = errors.Join(err, f.out.Close())
		f.out = nil
	}
	return err
}
