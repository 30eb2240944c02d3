package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// chart is bars on one scale, each an SVG of its own whose places are in per cent, so that
// the page needs no script and no fixed width.
type chart struct {
	Bars []bar
}

type bar struct {
	Label, Value, Note string
	Class              string // "own", "peer"
	Width              string
	Cut                bool   // longer than the scale
	From, To           string // the rounds, where they scatter
	Must, Aim          string // places of the goals
}

// stretch is how many times Holdfast's bar, or its goal, the scale goes on: a peer a
// thousand times slower must not make everything else a hairline.
const stretch = 6

// chartsOf is one chart where peers have the row's unit, else one for the goal and one for
// the peers.
func chartsOf(row *Row, p *Point) []chart {
	value := bar{Label: "Holdfast", Class: "own", Value: Figure(p.Value) + " " + row.unit(p), Note: scatter(p)}
	if row.PeerUnit != "" {
		value.Label = "ratio"
		goal := chart{[]bar{value}}
		goal.scale([]float64{p.Value}, p, true)
		if len(p.Peers) == 0 {
			return []chart{goal}
		}
		all, values := peerBars(p, row.PeerUnit)
		peers := chart{append([]bar{{Label: "Holdfast", Class: "own", Value: Figure(p.own()) + " " + row.PeerUnit}}, all...)}
		peers.scale(append([]float64{p.own()}, values...), p, false)
		return []chart{goal, peers}
	}
	all, values := peerBars(p, row.unit(p))
	one := chart{append([]bar{value}, all...)}
	one.scale(append([]float64{p.Value}, values...), p, true)
	return []chart{one}
}

func peerBars(p *Point, unit string) (bars []bar, values []float64) {
	for _, name := range slices.Sorted(maps.Keys(p.Peers)) {
		b := bar{Label: name, Class: "peer", Value: Figure(p.Peers[name]) + " " + unit}
		if ratio, ok := p.ratio(name); ok {
			b.Note = "Holdfast " + times(ratio)
		}
		bars, values = append(bars, b), append(values, p.Peers[name])
	}
	return bars, values
}

func scatter(p *Point) string {
	if p.Min == p.Max {
		return ""
	}
	return Figure(p.Min) + " – " + Figure(p.Max)
}

// scale sets the places; values are the bars', with goals those of the first bar too.
func (c *chart) scale(values []float64, p *Point, goals bool) {
	most := slices.Max(values)
	if goals {
		most = max(most, p.Max, p.Must, p.Aim)
	}
	limit := values[0]
	if goals {
		limit = max(limit, p.Max, p.Must)
	}
	if limit > 0 {
		most = min(most, stretch*limit)
	}
	most *= 1.04
	for i := range c.Bars {
		c.Bars[i].Width = percent(values[i], most)
		c.Bars[i].Cut = values[i] > most
	}
	if !goals {
		return
	}
	first := &c.Bars[0]
	if p.Min != p.Max {
		first.From, first.To = percent(p.Min, most), percent(p.Max, most)
	}
	if p.Must != 0 {
		first.Must = percent(p.Must, most)
	}
	if p.Aim != 0 {
		first.Aim = percent(p.Aim, most)
	}
}

// curve is the history of a point: a line in a square of 100 by 100 that is stretched to
// whatever width there is.
type curve struct {
	Line        string // points of the polyline
	Dots        []dot
	Must        string // y of the goal, empty where there is none
	First, Last string // results
	Span        string // of the values, for who cannot see the line
}

type dot struct {
	X, Y, Title string
	OK          bool
}

func curveOf(moments []Moment, must float64) *curve {
	first, last := moments[0], moments[len(moments)-1]
	most := must
	for _, m := range moments {
		most = max(most, m.Point.Value)
	}
	if most *= 1.1; most <= 0 {
		most = 1
	}
	y := func(v float64) string { return fmt.Sprintf("%.1f", 100-100*max(0, v)/most) }
	c := &curve{First: first.Result.Name, Last: last.Result.Name}
	var line []string
	for i, m := range moments {
		x := fmt.Sprintf("%.1f", 3+94*float64(i)/float64(len(moments)-1))
		line = append(line, x+","+y(m.Point.Value))
		c.Dots = append(c.Dots, dot{x, y(m.Point.Value), m.Result.Name + ": " + Figure(m.Point.Value), m.Point.OK})
	}
	c.Line = strings.Join(line, " ")
	if must != 0 {
		c.Must = y(must)
	}
	c.Span = fmt.Sprintf("%s then, %s now", Figure(first.Point.Value), Figure(last.Point.Value))
	return c
}
