package wire

import (
	"bufio"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestP6_RecordedStreamsDecode reads what nodes of released versions have said to each
// other (sync/simulator records it, and lets such a node join one of today).
func TestP6_RecordedStreamsDecode(t *testing.T) {
	// What a run of two nodes without policies and neighbours brings about; the golden vectors
	// have the rest.
	want := []Type{
		TypeHello, TypeHeartbeat, TypeNack, TypeLost, TypeInsert, TypeUpdate, TypeDelete, TypeKill, TypeKilled,
		TypeDigest, TypeProof, TypeTransferRequest, TypeTransferEnd,
	}
	files, err := filepath.Glob("testdata/recorded/*.batches")
	if err != nil || len(files) == 0 {
		t.Fatal("no recording", err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		types, lanes := map[Type]int{}, map[uint16]bool{}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "#") {
				continue
			}
			words := strings.Fields(lines.Text())
			batch, err := hex.DecodeString(words[len(words)-1])
			if err != nil {
				t.Fatal(err)
			}
			h, rest, err := DecodeHeader(batch)
			if err != nil {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			if h.Kind == Stream {
				lanes[h.Lane] = true
			}
			var frame Frame
			frames := Frames{Rest: rest}
			for frames.Next(&frame) {
				types[frame.Type]++
				if _, err := Words(&frame); err != nil {
					t.Errorf("%s: %v: %v", file, frame.Type, err)
				}
			}
			if frames.Err() != nil {
				t.Errorf("%s: %v", lines.Text(), frames.Err())
			}
		}
		for _, typ := range want {
			if types[typ] == 0 {
				t.Errorf("%s has no %v: it has %v", file, typ, types)
			}
		}
		if got := slices.Sorted(maps.Keys(lanes)); len(got) < 4 {
			t.Errorf("%s has lanes %v: want those of two workers, the shared one and that of transfers", file, got)
		}
	}
}
