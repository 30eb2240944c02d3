package lab

import "testing"

func TestLoopbackAddressesDiffer(t *testing.T) {
	for i := range 4 {
		if a := Loopback(i); !a.IsLoopback() || i > 0 && a.Compare(Loopback(i-1)) <= 0 {
			t.Errorf("address %d is %v: not of the loopback, or not above the one before", i, a)
		}
	}
}
