package reload

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"

	"holdfast/rules/config"
	"holdfast/sync/wire"
)

// ImageMax bounds an image, in bytes.
const ImageMax = 32 << 20

// imageMagic opens what is compressed; its last byte is the version.
const imageMagic = "HFPOLIC\x01"

// pathMax bounds the name of a file of a policy, in bytes.
const pathMax = 4096

// ErrImage says that bytes are not an image of a policy.
var ErrImage = errors.New("not an image of a policy")

// NameOf returns what names an image on the wire.
func NameOf(image []byte) wire.Image {
	if len(image) == 0 {
		return wire.Image{}
	}
	return wire.Image{Size: uint32(len(image)), Sum: xxhash.Sum64(image)}
}

// Pack makes an image, the DEFLATE (RFC 1951) of:
//
//	 0                               8               10
//	+-------------------------------+---------------+
//	| "HFPOLIC" 1                   | files         |
//	+---------------+---------------+---------------+------+---------------
//	| path length   | path ...      | text length (4)      | text ...         for each file
//	+---------------+---------------+----------------------+---------------
func Pack(s config.Sources) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint16([]byte(imageMagic), uint16(len(s)))
	for _, one := range s {
		if one.Path == "" || len(one.Path) > pathMax {
			return nil, fmt.Errorf("policy file %.50q...: its name has %d bytes, at most %d can be told to other nodes", one.Path, len(one.Path), pathMax)
		}
		head = binary.BigEndian.AppendUint16(head, uint16(len(one.Path)))
		head = append(head, one.Path...)
		head = binary.BigEndian.AppendUint32(head, uint32(len(one.Text)))
		if _, err := w.Write(head); err != nil {
			return nil, err
		}
		if _, err := w.Write(one.Text); err != nil {
			return nil, err
		}
		head = head[:0]
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if out.Len() > ImageMax {
		return nil, fmt.Errorf("the policy has %d bytes when compressed, and %d can be told to other nodes: use tables from files that each node has", out.Len(), ImageMax)
	}
	return out.Bytes(), nil
}

// Unpack returns the files of an image. Errors wrap ErrImage.
func Unpack(image []byte) (config.Sources, error) {
	const most = config.SourcesBytesMax + config.SourcesMax*(pathMax+6) + len(imageMagic) + 2
	in := flate.NewReader(bytes.NewReader(image))
	flat, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	r := reader{rest: flat}
	if string(r.take(len(imageMagic))) != imageMagic {
		return nil, fmt.Errorf("%w: of another version", ErrImage)
	}
	count := r.number(2)
	if count == 0 || count > config.SourcesMax {
		return nil, fmt.Errorf("%w: %d files", ErrImage, count)
	}
	var s config.Sources
	for range count {
		path := r.take(r.number(2))
		text := r.take(r.number(4))
		if len(path) == 0 || len(path) > pathMax {
			return nil, fmt.Errorf("%w: a file without a name", ErrImage)
		}
		s = append(s, config.Source{Path: string(path), Text: text})
	}
	if r.short || len(r.rest) > 0 || len(flat) > most {
		return nil, fmt.Errorf("%w: cut or too long", ErrImage)
	}
	return s, nil
}

// reader takes bytes from the front; where there are not enough it yields nothing any more.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// number reads a number of n bytes, at most 4.
func (r *reader) number(n int) (v int) {
	for _, b := range r.take(n) {
		v = v<<8 | int(b)
	}
	return v
}
