package report

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// History is all results, oldest first.
type History []*Result

// resultName is a file's name without folder and ending.
func resultName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), ".json")
}

// LoadHistory reads all results of a folder.
func LoadHistory(folder string) (History, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var h History
	for _, path := range paths {
		r, err := Load(path)
		if err != nil {
			return nil, err
		}
		if date, _ := dayAndRun(r.Name); date != r.Machine.Date {
			return nil, fmt.Errorf("%s: the result is of %s: name it so", path, r.Machine.Date)
		}
		h = append(h, r)
	}
	slices.SortFunc(h, func(a, b *Result) int {
		dayA, runA := dayAndRun(a.Name)
		dayB, runB := dayAndRun(b.Name)
		return cmp.Or(cmp.Compare(dayA, dayB), cmp.Compare(runA, runB))
	})
	return h, nil
}

// dayAndRun takes "2026-11-21.2" apart: the second result of a day.
func dayAndRun(name string) (day string, run int) {
	day, number, ok := strings.Cut(name, ".")
	if !ok {
		return day, 1
	}
	run, _ = strconv.Atoi(number) // a name that is no number is sorted first
	return day, run
}

// NextName is the file that the next result of a day goes to.
func NextName(folder, day string) (string, error) {
	for run := 1; ; run++ {
		name := day + ".json"
		if run > 1 {
			name = fmt.Sprintf("%s.%d.json", day, run)
		}
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
	}
}

// Latest returns the newest measured figures of a row and the result they are from. Where
// there are none, the newest reason; nil where no result has the row.
func (h History) Latest(id string) (*Row, *Result) {
	var missing *Row
	var from *Result
	for _, r := range slices.Backward(h) {
		for i := range r.Rows {
			switch row := &r.Rows[i]; {
			case row.ID != id:
			case row.Missing == "":
				return row, r
			case missing == nil:
				missing, from = row, r
			}
		}
	}
	return missing, from
}

// Moment is a point of one result, as the history of a point has it.
type Moment struct {
	Result *Result
	Point  *Point
}

// Of returns the history of a point, oldest first.
func (h History) Of(id, at string) (all []Moment) {
	for _, r := range h {
		if p := r.Find(id, at); p != nil {
			all = append(all, Moment{r, p})
		}
	}
	return all
}

// IDs are the rows that any result or goal names: goals first, in their order.
func (h History) IDs() (ids []string) {
	for _, g := range Goals {
		ids = append(ids, g.ID)
	}
	for _, r := range slices.Backward(h) {
		for _, row := range r.Rows {
			if !slices.Contains(ids, row.ID) {
				ids = append(ids, row.ID)
			}
		}
	}
	return ids
}
