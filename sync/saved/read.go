package saved

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// File is a file that was found whole, and that is in no folder any more.
type File struct {
	Header Header
	Count  uint64 // of its states

	f *os.File
}

// Open takes a file out of its folder and reads it through. It returns nil where there is
// none. The error says what is wrong with it; it is gone all the same.
func Open(path string) (_ *File, err error) {
	// A pipe or a device in its place must not hold up the start.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("the saved connections in %s are not used: %w", path, err)
		}
	}()
	if err != nil {
		return nil, err
	}
	file := &File{f: f}
	for _, step := range []func() error{
		file.regular,
		func() error { return os.Remove(path) },
		func() error { return syncFolder(path) },
		file.verify,
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return file, nil
}

// Close forgets the file.
func (f *File) Close() error { return f.f.Close() }

func (f *File) regular() error {
	info, err := f.f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is a %v", ErrForeign, info.Mode().Type())
	}
	return err
}

// verify reads the file once through: header, frames, count and checksum.
func (f *File) verify() error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	f.Header, f.Count, err = check(io.NewSectionReader(f.f, 0, info.Size()), info.Size())
	return err
}

// check reads size bytes of a file through.
func check(r io.Reader, size int64) (h Header, count uint64, err error) {
	if size < headerSize+trailerSize {
		return h, 0, fmt.Errorf("%w: it has %d bytes", ErrTorn, size)
	}
	sum := xxhash.New()
	in := bufio.NewReaderSize(io.TeeReader(io.LimitReader(r, size-8), sum), 1<<16)
	var head [headerSize]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return h, 0, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	if err := h.decode(&head); err != nil {
		return h, 0, err
	}
	found, err := frames(in, size-headerSize-trailerSize, func(*wire.Frame) error { return nil })
	if err != nil {
		return h, 0, err
	}
	var trailer [trailerSize]byte
	if _, err := io.ReadFull(in, trailer[:8]); err != nil {
		return h, 0, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	if _, err := io.ReadFull(r, trailer[8:]); err != nil {
		return h, 0, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	switch count = binary.BigEndian.Uint64(trailer[:]); {
	case binary.BigEndian.Uint64(trailer[8:]) != sum.Sum64():
		return h, 0, fmt.Errorf("%w: its checksum is another", ErrTorn)
	case count != found:
		return h, 0, fmt.Errorf("%w: it holds %d connections and says %d", ErrTorn, found, count)
	}
	return h, count, nil
}

// Each decodes the states one after the other. visit must not keep what it is given. It ends
// at the first error: a frame that no table has written, although the checksum is right.
func (f *File) Each(visit func(*conntrack.State)) error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	length := info.Size() - headerSize - trailerSize
	return decode(io.NewSectionReader(f.f, headerSize, length), length, visit)
}

// decode reads length bytes of frames.
func decode(r io.Reader, length int64, visit func(*conntrack.State)) error {
	var s conntrack.State
	_, err := frames(bufio.NewReaderSize(r, 1<<16), length, func(f *wire.Frame) error {
		if err := wire.DecodeInsert(f, &s); err != nil {
			return fmt.Errorf("%w: %w", ErrTorn, err)
		}
		visit(&s)
		return nil
	})
	return err
}

// frames walks over the frames in length bytes and returns how many there are. None is longer
// than an Insert can be, so a length that lies costs no memory.
func frames(in *bufio.Reader, length int64, visit func(*wire.Frame) error) (n uint64, err error) {
	var buf [wire.InsertMax]byte
	for length > 0 {
		if length < wire.FrameHeaderSize {
			return n, fmt.Errorf("%w: half a frame at its end", ErrTorn)
		}
		if _, err := io.ReadFull(in, buf[:wire.FrameHeaderSize]); err != nil {
			return n, fmt.Errorf("%w: %w", ErrTorn, err)
		}
		size := wire.FrameHeaderSize + int64(binary.BigEndian.Uint16(buf[2:]))
		if size > length || size > int64(len(buf)) {
			return n, fmt.Errorf("%w: a frame of %d bytes", ErrTorn, size)
		}
		if _, err := io.ReadFull(in, buf[wire.FrameHeaderSize:size]); err != nil {
			return n, fmt.Errorf("%w: %w", ErrTorn, err)
		}
		walk := wire.Frames{Rest: buf[:size]}
		var f wire.Frame
		if !walk.Next(&f) {
			return n, fmt.Errorf("%w: %w", ErrTorn, walk.Err())
		}
		if err := visit(&f); err != nil {
			return n, err
		}
		length -= size
		n++
	}
	return n, nil
}
