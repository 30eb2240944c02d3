package xsk

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssign(t *testing.T) {
	lan, wan := PortQueues{"lan0", Channels{4, 4}}, PortQueues{"wan0", Channels{2, 2}}
	for _, row := range []struct {
		name    string
		ports   []PortQueues
		workers int
		want    [][]QueueRef
		err     string // part of the error
	}{
		{"one worker has all", []PortQueues{lan, wan}, 1, [][]QueueRef{{{0, 0}, {0, 1}, {0, 2}, {0, 3}, {1, 0}, {1, 1}}}, ""},
		{"unequal ports, two workers", []PortQueues{lan, wan}, 2, [][]QueueRef{{{0, 0}, {0, 2}, {1, 0}}, {{0, 1}, {0, 3}, {1, 1}}}, ""},
		{"a queue too few", []PortQueues{lan, wan}, 3, nil, "`ethtool -L wan0 combined 3`"},
		{"enough to receive, not to transmit", []PortQueues{{"lan0", Channels{4, 1}}}, 2, nil, "`ethtool -L lan0 combined 2`"},
		{"no worker", []PortQueues{lan}, 0, nil, "0 workers"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Assign(row.ports, row.workers)
			if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Fatalf("error %v, want one with %q", err, row.err)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}
