package simulator

// Shrink takes steps away from a schedule that breaks an invariant, as long as it still
// breaks the same one, and returns what is left. It runs the schedule at most limit times.
func Shrink(s Schedule, limit int) (Schedule, error) {
	fails := func(x Schedule) (string, error) {
		r, err := Run(x, nil)
		if err != nil || r.Err == nil {
			return "", err
		}
		return r.Err.(*Broken).Invariant, nil
	}
	want, err := fails(s)
	if err != nil || want == "" {
		return s, err
	}
	// Halves first, then quarters, and so on to single steps.
	for size := (len(s.Steps) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(s.Steps) && limit > 0; limit-- {
			var without []int
			for _, x := range s.Steps[from:min(from+size, len(s.Steps))] {
				without = append(without, x.Number)
			}
			smaller := s.Without(without)
			broken, err := fails(smaller)
			if err != nil {
				return s, err
			}
			if broken == want {
				s = smaller
			} else {
				from += size
			}
		}
	}
	return s, nil
}
