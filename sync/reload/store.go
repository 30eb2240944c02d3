package reload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"

	"holdfast/sync/wire"
)

// storeMagic opens the file; its last byte is the version.
const storeMagic = "HFKEPT\x00\x01"

const storeHead = len(storeMagic) + 8 + 8 + 4

// ErrStore says that a file is not a kept policy.
var ErrStore = errors.New("not a kept policy")

// Store is the file in which a node keeps the policy that was confirmed last, so that a
// restart brings that and nothing else:
//
//	 0                               8                               16
//	+-------------------------------+-------------------------------+
//	| "HFKEPT" 0 1                  | number of the generation      |
//	+-------------------------------+---------------+---------------+
//	| hash of the policy            | image size    | image ...     |
//	+-------------------------------+---------------+---------------+
//	| xxHash64 of all before        |
//	+-------------------------------+
//
// Writing has two steps, because a full disk must be noticed before a policy is in force and
// not when it is confirmed: Write makes a whole file beside the kept one and has it reach the
// disk; Adopt renames it. At any instant the kept file is the old one or the new one.
type Store struct {
	Path string
	At   func(Point) // called at each point of writing; nil: not. Tests end the process there
}

// Point is a place in writing.
type Point uint8

// The points, in their order.
const (
	PointBegun   Point = 1 + iota // the new file is there, and empty
	PointHalf                     // it has half of what it will
	PointWritten                  // all of it
	PointSynced                   // on the disk
	PointRenamed                  // it is the kept one
	PointAdopted                  // that is on the disk too
)

func (s *Store) at(p Point) {
	if s.At != nil {
		s.At(p)
	}
}

func (s *Store) fresh() string { return s.Path + ".new" }

// Write writes a policy beside the kept one.
func (s *Store) Write(g wire.Generation, image []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing the policy to %s, to have it after a restart: %w", s.fresh(), err)
		}
	}()
	if err := s.Discard(); err != nil {
		return err
	}
	f, err := os.OpenFile(s.fresh(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s.at(PointBegun)
	b := make([]byte, 0, storeHead+len(image)+8)
	b = append(b, storeMagic...)
	b = binary.BigEndian.AppendUint64(b, g.Number)
	b = binary.BigEndian.AppendUint64(b, g.Hash)
	b = binary.BigEndian.AppendUint32(b, uint32(len(image)))
	b = append(b, image...)
	b = binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
	_, err = f.Write(b[:len(b)/2])
	s.at(PointHalf)
	if err == nil {
		_, err = f.Write(b[len(b)/2:])
	}
	s.at(PointWritten)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.Discard())
	}
	s.at(PointSynced)
	return nil
}

// Has reports whether a policy is kept, whatever it is worth.
func (s *Store) Has() bool {
	_, err := os.Lstat(s.Path)
	return err == nil
}

// Adopt makes what was written the kept policy.
func (s *Store) Adopt() error {
	if err := os.Rename(s.fresh(), s.Path); err != nil {
		return fmt.Errorf("keeping the policy: %w", err)
	}
	s.at(PointRenamed)
	folder, err := os.Open(filepath.Dir(s.Path))
	if err == nil {
		err = errors.Join(folder.Sync(), folder.Close())
	}
	if err != nil {
		return fmt.Errorf("keeping the policy in %s: %w", s.Path, err)
	}
	s.at(PointAdopted)
	return nil
}

// Discard removes what was written and not adopted.
func (s *Store) Discard() error {
	if err := os.Remove(s.fresh()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Read returns the kept policy; a Generation of number 0 where there is none. An error that
// wraps ErrStore says that the file is damaged.
func (s *Store) Read() (g wire.Generation, image []byte, err error) {
	f, err := os.Open(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil, nil
	}
	if err != nil {
		return g, nil, fmt.Errorf("the kept policy: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(storeHead+ImageMax+8)+1))
	if err != nil {
		return g, nil, fmt.Errorf("the kept policy %s: %w", s.Path, err)
	}
	g, image, err = decodeStore(b)
	if err != nil {
		return g, nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	return g, image, nil
}

func decodeStore(b []byte) (g wire.Generation, image []byte, err error) {
	if len(b) < storeHead+8 || string(b[:len(storeMagic)]) != storeMagic {
		return g, nil, fmt.Errorf("%w, or of another version", ErrStore)
	}
	end := len(b) - 8
	if xxhash.Sum64(b[:end]) != binary.BigEndian.Uint64(b[end:]) {
		return g, nil, fmt.Errorf("%w: it is damaged", ErrStore)
	}
	head := b[len(storeMagic):]
	g = wire.Generation{Number: binary.BigEndian.Uint64(head), Hash: binary.BigEndian.Uint64(head[8:])}
	image = b[storeHead:end:end]
	if g.Number == 0 || g.Number>>63 != 0 || int(binary.BigEndian.Uint32(head[16:])) != len(image) {
		return wire.Generation{}, nil, fmt.Errorf("%w: it contradicts itself", ErrStore)
	}
	return g, image, nil
}
