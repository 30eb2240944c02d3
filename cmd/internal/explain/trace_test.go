package explain

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"holdfast/cmd/internal/api"
	"holdfast/dataplane/packet"
)

// office loads the policy of docs/explain.md.
func office(t testing.TB) *View {
	t.Helper()
	page, err := os.ReadFile("../../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "office.toml")
	if err := os.WriteFile(file, regexp.MustCompile("(?s)```toml\n(.*?)```").FindSubmatch(page)[1], 0o644); err != nil {
		t.Fatal(err)
	}
	v, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// conversation is a trace on the lan: a connection of TCP, one that is refused, and a frame
// that is none.
func conversation(t testing.TB) (frames [][]byte) {
	const client, server = "10.0.0.5:40000", "198.51.100.9:443"
	for _, p := range []api.ExplainRequest{
		{Proto: "tcp", From: client, To: server, Flags: "S"},
		{Proto: "tcp", From: server, To: client, Flags: "SA"},
		{Proto: "tcp", From: client, To: server, Flags: "A"},
		{Proto: "tcp", From: "10.0.0.5:40001", To: "198.51.100.9:23", Flags: "S"},
		{Proto: "tcp", From: "10.0.0.5:40002", To: server, Flags: "A"},
	} {
		frame, err := frameOf(&p, packet.MAC{2})
		if err != nil {
			t.Fatal(err)
		}
		seq, ack := uint32(0), uint32(0) // SYN 0, SYN/ACK 0 of 1, ACK of 1
		if p.Flags != "S" {
			ack = 1
		}
		if p.Flags == "A" {
			seq = 1
		}
		frames = append(frames, numbered(t, frame, seq, ack))
	}
	return append(frames, make([]byte, 20))
}

// numbered gives a segment other numbers.
func numbered(t testing.TB, frame []byte, seq, ack uint32) []byte {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	tcp, ip := p.Layer(layers.LayerTypeTCP).(*layers.TCP), p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	tcp.Seq, tcp.Ack = seq, ack
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), ip, tcp); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// files writes frames as pcap and as pcapng.
func files(t testing.TB, frames [][]byte) map[string][]byte {
	t.Helper()
	var classic, ng bytes.Buffer
	w := pcapgo.NewWriter(&classic)
	n, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1e9+int64(i), 0), CaptureLength: len(f), Length: len(f)}
		if err := w.WritePacket(info, f); err != nil {
			t.Fatal(err)
		}
		if err := n.WritePacket(info, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"pcap": classic.Bytes(), "pcapng": ng.Bytes()}
}

// TestTrace: later packets of a connection belong to it, and each other gets its reason.
func TestTrace(t *testing.T) {
	for name, file := range files(t, conversation(t)) {
		t.Run(name, func(t *testing.T) {
			var got []string
			if err := office(t).Trace(bytes.NewReader(file), "lan", func(x *api.Explanation) error {
				state := "-"
				for _, s := range x.Steps {
					if s.Step == "connection" && s.Before != "" {
						state = "connection"
					}
				}
				got = append(got, strings.Join([]string{x.In, x.Verdict, x.Reason, x.Rule, state}, " "))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			want := []string{
				"lan pass  out -", "wan pass  out connection", "lan pass  out connection", "lan reject rule-reject no-telnet -",
				"lan drop tcp-no-connection  -", "lan drop ethertype-unknown  -",
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestTraceBroken: a broken file gives an error, and asks for no more memory than it has.
func TestTraceBroken(t *testing.T) {
	all := files(t, conversation(t))
	huge := bytes.Clone(all["pcapng"])
	for i := 0; i+8 <= len(huge); { // the first packet says that it has 4 GiB
		if binary.LittleEndian.Uint32(huge[i:]) == blockEnhanced {
			binary.LittleEndian.PutUint32(huge[i+20:], 0xfffffff0)
			break
		}
		i += int(binary.LittleEndian.Uint32(huge[i+4:]))
	}
	for name, file := range map[string][]byte{
		"empty": nil, "text": []byte("no trace at all, this"), "pcap cut": all["pcap"][:len(all["pcap"])-5],
		"pcapng cut": all["pcapng"][:len(all["pcapng"])-5], "huge": huge,
	} {
		if err := office(t).Trace(bytes.NewReader(file), "lan", func(*api.Explanation) error { return nil }); err == nil {
			t.Errorf("%s: taken for a trace", name)
		} else {
			t.Log(name, err)
		}
	}
}

// FuzzTrace: whatever a file holds, reading it ends.
func FuzzTrace(f *testing.F) {
	for _, file := range files(f, conversation(f)) {
		f.Add(file)
	}
	v := office(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		_ = v.Trace(io.LimitReader(bytes.NewReader(file), 1<<16), "lan", func(*api.Explanation) error { return nil })
	})
}
