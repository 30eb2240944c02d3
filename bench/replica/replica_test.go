package replica

import (
	"os"
	"testing"
)

func TestJoin(t *testing.T) {
	if os.Getenv("HOLDFAST_SOAK") == "" {
		t.Skip("it takes more connections than the lanes keep in mind: with HOLDFAST_SOAK=1")
	}
	j, err := Join(t.Context(), 100_000, 5000)
	if err != nil {
		t.Fatal(err)
	}
	if j.Conns < 100_000 || j.Applied <= 0 || j.Proven < j.Applied || j.CPU <= 0 {
		t.Errorf("%+v", j)
	}
	t.Logf("%+v", j)
}

// BenchmarkJoin is a node that takes a million connections over.
func BenchmarkJoin(b *testing.B) {
	for b.Loop() {
		j, err := Join(b.Context(), 1000*1000, 20_000)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%+v: %.0f connections/s, %.0f ns of CPU each", j, float64(j.Conns)/j.Applied.Seconds(), float64(j.CPU)/float64(j.Conns))
	}
}

func TestMeasure(t *testing.T) {
	var least Wire
	for _, turn := range []int{2000, BothPorts, OnePort} {
		w, err := Measure(2000, turn)
		if err != nil {
			t.Fatal(err)
		}
		if w.New < 60 || w.Update < 20 || w.Delete < 9 || w.New < w.Update || w.Update < w.Delete {
			t.Errorf("turns of %d: %+v", turn, w)
		}
		if w.New < least.New || w.Update < least.Update || w.Delete < least.Delete {
			t.Errorf("turns of %d: %+v, less than in longer ones: %+v", turn, w, least)
		}
		least = w
		t.Logf("turns of %d: %+v", turn, w)
	}
}

func TestBeside(t *testing.T) {
	without, with, err := Beside(1000, 1<<12, 2)
	if err != nil || len(without) != 2 || len(with) != 2 {
		t.Errorf("%v, %v, %v", without, with, err)
	}
	if took, err := Pass(1000, 2); err != nil || len(took) != 2 {
		t.Errorf("%v, %v", took, err)
	}
}
