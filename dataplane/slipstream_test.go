package dataplane

import (
	"encoding/binary"
	"fmt"
	"testing"

	"holdfast/dataplane/packet"
)

// announcements are what application helpers of other firewalls look for in payload, to
// open a way in to an address and a port that it names.
func announcements(port int) map[string]string {
	high, low := port>>8, port&0xff
	sip := "REGISTER sip:203.0.113.10;transport=TCP SIP/2.0\r\nContact: <sip:x@10.0.0.10:%d;transport=tcp>\r\nContent-Length: 0\r\n\r\n"
	return map[string]string{
		"FTP PORT": fmt.Sprintf("PORT 10,0,0,10,%d,%d\r\n", high, low), "FTP EPRT": fmt.Sprintf("EPRT |1|10.0.0.10|%d|\r\n", port),
		"FTP 227": fmt.Sprintf("227 Entering Passive Mode (10,0,0,10,%d,%d)\r\n", high, low), "FTP 229": fmt.Sprintf("229 Entering (|||%d|)\r\n", port),
		"IRC DCC": fmt.Sprintf("PRIVMSG x :\x01DCC SEND f 167772170 %d\x01\r\n", port), "SIP": fmt.Sprintf(sip, port),
		"SDP":   fmt.Sprintf("INVITE sip:x SIP/2.0\r\n\r\nc=IN IP4 10.0.0.10\r\nm=audio %d RTP/AVP 0\r\n", port),
		"RTSP":  fmt.Sprintf("SETUP rtsp://x RTSP/1.0\r\nTransport: RTP/AVP;unicast;client_port=%d-%d\r\n\r\n", port, port+1),
		"H.323": string([]byte{3, 0, 0, 40, 8, 2, 0, 0, 5, 0x7e, 0, 10, 5, 0, 10, 0, 0, 10, byte(high), byte(low)}),
		"TFTP":  "\x00\x01file\x00octet\x00",
	}
}

// listens are the ports at which such helpers look.
var listens = []uint16{21, 69, 80, 554, 1720, 1723, 5060, 5061, 6667, 10080}

// TestREL38_Slipstream: an inside host is made to send what helpers take for announcements,
// at the ports where they look, as the first bytes of a segment or datagram or behind
// padding: nothing is opened, and no byte of the payload is changed. 200 shapes, and each
// by TCP and by UDP.
func TestREL38_Slipstream(t *testing.T) {
	const announced = 5000
	shapes, r := 0, newRig(t)
	for name, said := range announcements(announced) {
		for _, dport := range listens {
			for _, padding := range []int{0, 512} {
				shapes++
				for _, proto := range []packet.Proto{packet.TCP, packet.UDP} {
					before := r.w.snapshot.Table.Len()
					payload := append(make([]byte, padding), said...)
					sport := uint16(20000 + shapes)
					if proto == packet.TCP {
						r.discardOne(r.feed(lan, fromClient(packetIn{sport: sport, dport: dport, flags: "S", seq: 100}).frame(t)))
						r.discardOne(r.feed(wan, fromServer(packetIn{sport: dport, dport: sport, flags: "SA", seq: 500, ack: 101}).frame(t)))
					}
					sent := fromClient(packetIn{proto: proto, sport: sport, dport: dport, flags: "PA", seq: 101, ack: 501, payload: len(payload)}).frame(t)
					sent = sent[:14+int(binary.BigEndian.Uint16(sent[16:]))] // without Ethernet's padding
					at := len(sent) - len(payload)
					copy(sent[at:], payload)
					setSum4(sent)
					left := r.feed(lan, sent)
					r.one(left, wan, macServer, macWan)
					if string(left[0].frame[at:]) != string(payload) {
						t.Errorf("%s to port %d: the payload was changed", name, dport)
					}
					for _, port := range []uint16{announced, announced + 1} {
						for _, from := range []uint16{dport, dport - 1, 40001} {
							knock := fromServer(packetIn{proto: proto, sport: from, dport: port, flags: "S", seq: 9})
							if got := r.feed(wan, knock.frame(t)); len(got) != 0 {
								t.Errorf("%s to port %d by %v: port %d is open for port %d", name, dport, proto, port, from)
							}
						}
					}
					if n := r.w.snapshot.Table.Len(); n != before+1 {
						t.Errorf("%s to port %d by %v: %d connections more", name, dport, proto, n-before)
					}
				}
			}
		}
	}
	if shapes != 200 {
		t.Errorf("%d shapes", shapes)
	}
}

// setSum4 sets the checksum of TCP or UDP in an IPv4 frame without options.
func setSum4(f []byte) {
	segment := f[34:]
	at := map[byte]int{6: 16, 17: 6}[f[23]]
	segment[at], segment[at+1] = 0, 0
	pseudo := append(append([]byte{}, f[26:34]...), 0, f[23], byte(len(segment)>>8), byte(len(segment)))
	b := append(pseudo, segment...)
	var total uint32
	for i := range b {
		total += uint32(b[i]) << (8 * (1 - i%2))
	}
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	if total == 0xffff && f[23] == 17 {
		total = 0 // RFC 768: zero says that there is none
	}
	binary.BigEndian.PutUint16(segment[at:], ^uint16(total))
}
