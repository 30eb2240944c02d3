package wire

import "testing"

func TestCommonVersion(t *testing.T) {
	for _, c := range []struct {
		a, b Versions
		want uint8 // 0: none
	}{
		{Versions{1, 1}, Versions{1, 1}, 1},
		{Versions{1, 1}, Versions{1, 2}, 1}, // a rolling upgrade: the lower one is spoken
		{Versions{1, 2}, Versions{2, 3}, 2},
		{Versions{1, 5}, Versions{2, 3}, 3},
		{Versions{1, 1}, Versions{2, 3}, 0},
		{Versions{4, 5}, Versions{2, 3}, 0},
		{Versions{}, Versions{}, 0},
	} {
		for _, pair := range [][2]Versions{{c.a, c.b}, {c.b, c.a}} {
			if got, ok := pair[0].Common(pair[1]); ok != (c.want != 0) || ok && got != c.want {
				t.Errorf("%v: %d %v, want %d", pair, got, ok, c.want)
			}
		}
	}
}
