package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// PacketLog is how this node logs packets: what is logged is for the rules to say.
type PacketLog struct {
	File     Value[string] // pcapng, resolved against the node file; not Written: lines only
	Size     Value[int64]  // bytes of a file before the next is begun
	Keep     Value[int]    // finished files that are kept
	SnapLen  Value[int]    // bytes of a packet that are kept, from its Ethernet header on
	Rate     Value[Rate]   // packets of all rules together
	RuleRate Value[Rate]   // packets of each rule
}

// Defaults and bounds of [log].
const (
	DefaultLogSize    = 64 << 20
	DefaultLogKeep    = 5
	DefaultLogSnapLen = 160 // headers and what a name server was asked; what pflogd(8) takes

	logSizeMin    = 64 << 10
	logSizeMax    = 1 << 40
	logKeepMax    = 999
	logSnapLenMin = 64
	logSnapLenMax = 2048
)

// The rates: one rule that is flooded leaves room for others.
var (
	DefaultLogRate     = Rate{Count: 500, Per: time.Second}
	DefaultLogRuleRate = Rate{Count: 100, Per: time.Second}
)

// readPacketLog reads [log].
func readPacketLog(t *table) PacketLog {
	v := PacketLog{
		Size: byDefault[int64](DefaultLogSize), Keep: byDefault(DefaultLogKeep), SnapLen: byDefault(DefaultLogSnapLen),
		Rate: byDefault(DefaultLogRate), RuleRate: byDefault(DefaultLogRuleRate),
	}
	one(t, "file", text("a path", pathMax, `"/var/log/holdfast/packets.pcapng"`), &v.File)
	one(t, "size", byteCount(logSizeMin, logSizeMax, `"64MiB"`), &v.Size)
	one(t, "keep", integer("a number of files", 0, logKeepMax), &v.Keep)
	var snap Value[int64]
	one(t, "snap_length", byteCount(logSnapLenMin, logSnapLenMax, `"160B"`), &snap)
	if snap.Written() {
		v.SnapLen = Value[int]{V: int(snap.V), Pos: snap.Pos}
	}
	one(t, "rate", logRate, &v.Rate)
	one(t, "rule_rate", logRate, &v.RuleRate)
	t.close("")
	if !v.File.Written() && t.n.get("file") == nil {
		for _, of := range []struct {
			key string
			pos Position
		}{{"size", v.Size.Pos}, {"keep", v.Keep.Pos}} {
			if !of.pos.IsZero() {
				t.refuse(of.pos, of.key+" is of a file, and [log] names none", `add file = "/var/log/holdfast/packets.pcapng", or remove it`)
			}
		}
	}
	return v
}

// logRate reads "100/1s".
func logRate(n *node) (Rate, *fault) {
	const example = `"100/1s": at most 100 packets in a second`
	if bad := wants(n, unstable.String, "a rate", example); bad != nil {
		return Rate{}, bad
	}
	return rateOf(n, "packets", example)
}

// byteUnits are the units of sizes, as bytes; those that end alike stand behind the longer.
var byteUnits = []struct {
	name string
	of   int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}}

// byteCount reads a size with its unit, such as "64MiB", from least to most.
func byteCount(least, most int64, example string) parser[int64] {
	return func(n *node) (int64, *fault) {
		if bad := wants(n, unstable.String, "a size", example); bad != nil {
			return 0, bad
		}
		for _, unit := range byteUnits {
			number, ok := strings.CutSuffix(n.text, unit.name)
			if !ok {
				continue
			}
			v, err := strconv.ParseInt(strings.TrimSuffix(number, " "), 10, 64)
			if err != nil || v < 0 {
				break
			}
			if v > math.MaxInt64/unit.of || v*unit.of < least || v*unit.of > most {
				return 0, &fault{what: n.literal() + " is out of range", mend: fmt.Sprintf("write %s to %s", sizeOf(least), sizeOf(most))}
			}
			return v * unit.of, nil
		}
		return 0, &fault{what: n.literal() + " is not a size", mend: "write a number with its unit, B, KiB, MiB or GiB, such as " + example}
	}
}

// sizeOf returns a size in the largest unit that it is a whole number of.
func sizeOf(n int64) string {
	for i := len(byteUnits) - 2; i >= 0; i-- {
		if unit := byteUnits[i]; n%unit.of == 0 {
			return fmt.Sprintf("%d%s", n/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}
