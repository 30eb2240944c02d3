package wire

import (
	"net/netip"
	"strings"
	"testing"

	"holdfast/conntrack"
	"holdfast/rules/table"
)

// Sizes, with the frame header. N7 of the benchmark's figures: at most 80, 32 and 16
// bytes for a new connection, an update and a delete, IPv4 TCP with NAT, with its share
// of the headers of a full datagram: batch 12, sealing 32, UDP 8, IPv4 20.
func TestSizes(t *testing.T) {
	const batch, headers = 1400 - BatchHeaderSize, BatchHeaderSize + 32 + 8 + 20
	open := established(begun())
	for _, row := range []struct {
		name string
		s    conntrack.State
		enc  func([]byte, *conntrack.State) []byte
		must float64
	}{
		{"new", begun(), AppendInsert, 80},
		{"new, established already", open, AppendInsert, 80},
		{"new, closing", closing(), AppendInsert, 80},
		{"update", open, AppendUpdate, 32},
		{"update, closing", closing(), AppendUpdate, 32},
		{"delete", open, func(b []byte, s *conntrack.State) []byte {
			return AppendDelete(b, &Delete{Index: s.Index, Incarnation: uint32(s.Incarnation), Why: conntrack.EndExpired})
		}, 16},
	} {
		n := len(row.enc(nil, &row.s))
		share := float64(n) + headers/float64(batch/n)
		t.Logf("%-26s %2d bytes, %4.1f with its share of headers, must be <= %v", row.name, n, share, row.must)
		if share > row.must {
			t.Errorf("%s: %.1f bytes, must be at most %v", row.name, share, row.must)
		}
	}
	both := six()
	both.Flags |= conntrack.Proxied
	if n := len(AppendInsert(nil, &both)); n != InsertMax {
		t.Errorf("the longest insert has %d bytes, InsertMax is %d", n, InsertMax)
	}
	if n := len(AppendUpdate(nil, &both)); n != UpdateMax {
		t.Errorf("the longest update has %d bytes, UpdateMax is %d", n, UpdateMax)
	}
	if n := len(AppendDelete(nil, &Delete{})); n != DeleteMax {
		t.Errorf("a delete has %d bytes, DeleteMax is %d", n, DeleteMax)
	}
	if n := len(messages["neighbor6"].sample.Append(nil)); n != NeighborMax {
		t.Errorf("the longest neighbor has %d bytes, NeighborMax is %d", n, NeighborMax)
	}
	if n := len(messages["poison"].sample.Append(nil)); n != PoisonMax {
		t.Errorf("a poison has %d bytes, PoisonMax is %d", n, PoisonMax)
	}
	long := TableChange{table.Change{
		Kind: table.Put, Version: 1, Table: strings.Repeat("n", TableNameMax), Prefix: netip.MustParsePrefix("2001:db8::/32"), Cause: table.Cause{Kind: table.Overload},
	}}
	if n := len(long.Append(nil)); n != TableChangeMax {
		t.Errorf("the longest table change has %d bytes, TableChangeMax is %d", n, TableChangeMax)
	}
	sums := TableSums{Parts: 1, Sums: []TableSum{{Table: long.Table}}}
	if n := len(sums.Append(nil)); n != TableSumsFixed+TableSumMax {
		t.Errorf("table sums of one table have %d bytes, want %d", n, TableSumsFixed+TableSumMax)
	}
	full := Heartbeat{Sent: Lanes{n: LanesMax}, Acked: Lanes{n: LanesMax}}
	if n := len(full.Append(nil)); n != HeartbeatMax {
		t.Errorf("the longest heartbeat has %d bytes, HeartbeatMax is %d", n, HeartbeatMax)
	}
}

func TestNoAllocations(t *testing.T) {
	s, d := established(begun()), Delete{Index: 1, Incarnation: 2, Why: conntrack.EndExpired}
	h := heartbeat()
	buf := make([]byte, 0, 1400)
	var got conntrack.State
	var u Update
	var to conntrack.Update
	var hb Heartbeat
	n := testing.AllocsPerRun(100, func() {
		b := AppendStreamHeader(buf, 1, 2)
		b = AppendInsert(b, &s)
		b = AppendUpdate(b, &s)
		b = AppendDelete(b, &d)
		b = h.Append(b)
		_, rest, err := DecodeHeader(b)
		var f Frame
		frames := Frames{Rest: rest}
		for frames.Next(&f) && err == nil {
			switch f.Type {
			case TypeInsert:
				err = DecodeInsert(&f, &got)
			case TypeUpdate:
				if err = DecodeUpdate(&f, &u); err == nil && !u.Onto(&got, &to) {
					err = BadValue
				}
			case TypeDelete:
				err = DecodeDelete(&f, &d)
			case TypeHeartbeat:
				err = hb.Decode(&f)
			}
		}
		f.Body = f.Body[:5]
		if err != nil || frames.Err() != nil || hb.Decode(&f) != Truncated {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got != s || to.Dir != s.Dir {
		t.Error("an update over its own insert changed something")
	}
}
