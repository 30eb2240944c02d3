package saved

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"

	"holdfast/conntrack"
	"holdfast/sync/wire"
)

// Write writes the connections of a table to a file, in place of one that is there, and
// returns how many. Nobody else may use the table. What is at path afterwards is the whole
// file, or what was there before.
func Write(path string, h *Header, table *conntrack.Table) (n int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("saving the connections to %s: %w", path, err)
		}
	}()
	fresh := path + ".new"
	// One that a crash has left may have other rights.
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err = encode(f, h, table)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, os.Remove(fresh))
	}
	if err := os.Rename(fresh, path); err != nil {
		return 0, errors.Join(err, os.Remove(fresh))
	}
	return n, syncFolder(path)
}

// encode writes the file.
func encode(w io.Writer, h *Header, table *conntrack.Table) (n int, err error) {
	out := bufio.NewWriterSize(w, 1<<20)
	sum := xxhash.New()
	put := func(b []byte) error {
		_, _ = sum.Write(b) // never fails
		_, err := out.Write(b)
		return err
	}
	if err := put(h.append(nil)); err != nil {
		return 0, err
	}
	var s conntrack.State
	buf := make([]byte, 0, wire.InsertMax)
	for i := range table.High() {
		if !table.Export(i, h.Boottime, &s) {
			continue
		}
		if err := put(wire.AppendInsert(buf[:0], &s)); err != nil {
			return 0, err
		}
		n++
	}
	if err := put(binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
		return 0, err
	}
	if _, err := out.Write(binary.BigEndian.AppendUint64(nil, sum.Sum64())); err != nil {
		return 0, err
	}
	return n, out.Flush()
}

// syncFolder makes what was renamed or removed in a file's folder last.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
