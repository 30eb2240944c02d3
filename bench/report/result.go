package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Schema is the version of the file's form. Fields are only ever added to a version.
const Schema = 1

// Result is one run of the suite: the object that `bench run --json` prints.
type Result struct {
	Schema  int     `json:"schema"`
	Machine Machine `json:"machine"`
	Rows    []Row   `json:"rows"`

	Name string `json:"-"` // of its file, without the ending
}

// Machine says where figures were measured.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Date   string `json:"date"` // year-month-day
}

// Better says which way is up.
type Better string

const (
	More Better = "more" // rates, ratios to a peer
	Less Better = "less" // times, bytes
)

// Row is one row of the suite. Most IDs are rows of the goals.
type Row struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Unit     string    `json:"unit"`
	Better   Better    `json:"better"`
	PeerUnit string    `json:"peer_unit,omitempty"` // of Own and Peers; empty: Unit
	Notes    string    `json:"notes,omitempty"`
	Missing  string    `json:"missing,omitempty"` // why there are no points
	Quick    bool      `json:"quick,omitempty"`   // few and short rounds
	Measured time.Time `json:"measured,omitzero"`
	Seconds  float64   `json:"seconds,omitempty"` // how long it took
	Load     float64   `json:"load,omitempty"`    // the machine's load (1 minute) when it began
	Points   []Point   `json:"points,omitempty"`
}

// Point is one measured value. Min and Max are over the rounds, Value is their median.
type Point struct {
	At    string  `json:"at"`
	Unit  string  `json:"unit,omitempty"` // where it is not the row's
	Value float64 `json:"value"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	Must  float64 `json:"must,omitempty"`
	Aim   float64 `json:"aim,omitempty"`
	OK    bool    `json:"ok"` // the must is met, or there is none

	Own    float64            `json:"own,omitempty"`    // Holdfast in PeerUnit; 0: Value is
	Peers  map[string]float64 `json:"peers,omitempty"`  // in PeerUnit
	Ratios map[string]float64 `json:"ratios,omitempty"` // Holdfast to a peer, median of the rounds' ratios

	Details        map[string]float64 `json:"details,omitempty"` // whatever else was counted, by name and unit
	GeneratorBound bool               `json:"generator_bound,omitempty"`
}

// Meets says whether a value reaches a goal; none (0) is reached.
func (b Better) Meets(value, goal float64) bool {
	return goal == 0 || b == More && value >= goal || b == Less && value <= goal
}

// unit is a point's unit.
func (row *Row) unit(p *Point) string {
	if p.Unit != "" {
		return p.Unit
	}
	return row.Unit
}

// Find returns a point, or nil.
func (r *Result) Find(id, at string) *Point {
	for _, row := range r.Rows {
		for i := range row.Points {
			if row.ID == id && row.Points[i].At == at {
				return &row.Points[i]
			}
		}
	}
	return nil
}

// Encode writes the object.
func (r *Result) Encode(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Store writes it to a file.
func (r *Result) Store(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(r.Encode(f), f.Close())
}

// Load reads a stored result and looks whether it makes sense.
func Load(path string) (*Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	r := &Result{Name: resultName(path)}
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r *Result) check() error {
	if r.Schema != Schema {
		return fmt.Errorf("schema %d, this program reads %d", r.Schema, Schema)
	}
	if _, err := time.Parse(time.DateOnly, r.Machine.Date); err != nil {
		return fmt.Errorf("date of the machine: %w", err)
	}
	seen := map[string]bool{}
	for _, row := range r.Rows {
		if row.ID == "" || seen[row.ID] {
			return fmt.Errorf("row %q has no name, or stands twice", row.ID)
		}
		seen[row.ID] = true
		if err := row.check(); err != nil {
			return fmt.Errorf("row %s: %w", row.ID, err)
		}
	}
	return nil
}

func (row *Row) check() error {
	if (len(row.Points) == 0) == (row.Missing == "") {
		return errors.New("a row has points, or says why it has none")
	}
	if row.Missing == "" && row.Better != More && row.Better != Less {
		return fmt.Errorf("better is %q: must be more or less", row.Better)
	}
	seen := map[string]bool{}
	for _, p := range row.Points {
		if seen[p.At] {
			return fmt.Errorf("point %q stands twice", p.At)
		}
		seen[p.At] = true
		if p.Min > p.Value || p.Max < p.Value {
			return fmt.Errorf("point %q: %g is not between %g and %g", p.At, p.Value, p.Min, p.Max)
		}
		if p.OK && !row.Better.Meets(p.Value, p.Must) {
			return fmt.Errorf("point %q: ok, but %g misses %g", p.At, p.Value, p.Must)
		}
	}
	return nil
}
