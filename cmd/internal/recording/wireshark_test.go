package recording

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"holdfast/sync/wire"
)

const dissector = "../../../examples/wireshark/holdfast.lua"

// The dissector knows the types that nodes know, by their names.
func TestDissectorKnowsEveryType(t *testing.T) {
	text, err := os.ReadFile(dissector)
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "local types = {\n")
	table, _, closed := strings.Cut(table, "}\n")
	if !ok || !closed {
		t.Fatal("the dissector has no table of types")
	}
	var got []wire.Type
	for _, row := range regexp.MustCompile(`(?m)^  \[(\d+)\] = "([a-z-]+)",$`).FindAllStringSubmatch(table, -1) {
		n, err := strconv.ParseUint(row[1], 10, 8)
		if err != nil || wire.Type(n).String() != row[2] {
			t.Errorf("type %s is %q in the dissector and %q in wire", row[1], row[2], wire.Type(n))
		}
		got = append(got, wire.Type(n))
	}
	if !slices.Equal(got, wire.Types()) {
		t.Errorf("the dissector has types %v, wire has %v", got, wire.Types())
	}
	if !strings.Contains(string(text), "add("+strconv.Itoa(PlaintextPort)+", batch)") {
		t.Errorf("the dissector does not look at port %d", PlaintextPort)
	}
}

// vectors are the bytes of every message, as wire's golden file has them.
func vectors(t *testing.T) (all []byte, names []string) {
	t.Helper()
	text, err := os.ReadFile("../../../sync/wire/testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "#") || len(words) < 2 {
			continue
		}
		b, err := hex.DecodeString(words[len(words)-1])
		if err != nil {
			t.Fatal(err)
		}
		all, names = append(all, b...), append(names, wire.Type(b[0]).String())
	}
	return all, names
}

// tshark with the dissector names the messages of the golden vectors, and the datagrams.
func TestDissectorInTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed (Debian package tshark)")
	}
	c := converse(t)
	frames, names := vectors(t)
	c.say(0, 2, append(wire.AppendStreamHeader(nil, 2, 77), frames...))
	var plain bytes.Buffer
	capture := c.capture(layers.LinkTypeRaw, bare)
	decoded(t, capture, Options{Log: c.log, Decrypted: &plain})
	for what, k := range map[string]struct {
		bytes []byte
		want  []string
	}{
		"plaintext": {plain.Bytes(), []string{"stream 2/77 " + strings.Join(names, " "), "10.0.0.5", "gateway=isp1 port=wan"}},
		"sealed":    {capture, []string{"handshake1, session 00000000, 76 bytes", "handshake2", "sealed lane 2 counter 0"}},
	} {
		file := filepath.Join(t.TempDir(), "capture")
		if err := os.WriteFile(file, k.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), tshark, "-X", "lua_script:"+dissector, "-r", file, "-n", "-P", "-V").CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("Lua Error")) {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
		if os.Geteuid() == 0 && !bytes.Contains(out, []byte("HOLDFAST")) {
			t.Skip("tshark loads no Lua script for root (init.lua, run_user_scripts_when_superuser)")
		}
		for _, want := range k.want {
			if !bytes.Contains(out, []byte(want)) {
				t.Errorf("%s: tshark does not say %q:\n%s", what, want, out)
			}
		}
	}
}
