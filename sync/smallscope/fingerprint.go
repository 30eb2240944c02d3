package smallscope

import (
	"fmt"
	"reflect"
	"slices"
)

// print is the sum over the state of a world's machines. It reads every field of them, also
// those that are nobody else's business, so a field that is added to a machine tells two of
// its states apart without being named here. What is named is the contrary: what makes no
// difference.
//
//	absolute   a time of the machine's clock: it counts from now, so that the same state an
//	           hour later is the same state; 0 stays "never"
//	idle       counters for people, memory for re-use, constants
type print struct {
	sum uint64
	now int64 // what absolute times are told from
	old int64 // what lies further back makes no difference any more
}

// prime spreads bits over a word (2^64 divided by the golden ratio).
const prime = 0x9e3779b97f4a7c15

func (p *print) word(x uint64) {
	p.sum = (p.sum ^ x) * prime
	p.sum ^= p.sum >> 32
}

func (p *print) number(x int) { p.word(uint64(x)) }

func (p *print) flag(b bool) {
	if b {
		p.word(1)
	} else {
		p.word(2)
	}
}

// time takes in a reading of the machines' clock.
func (p *print) time(t int64) {
	if t == 0 {
		p.word(0)
		return
	}
	p.word(uint64(max(t-p.now, -p.old)) + 1)
}

func (p *print) bytes(b []byte) {
	p.number(len(b))
	for _, c := range b {
		p.word(uint64(c))
	}
}

// manner is how a field counts.
type manner uint8

const (
	plain manner = iota
	absolute
	idle
)

// manners are the fields that do not count as they stand, by type and name.
type manners map[string]map[string]manner

// plan is how the values of a type are read: looked up once for each.
type plan struct {
	manners manners
	kinds   map[reflect.Type][]manner
	head    int // of a slice, how much is looked at: what a small scope can reach
}

func newPlan(m manners) *plan { return &plan{manners: m, kinds: map[reflect.Type][]manner{}, head: 8} }

// of takes in a machine, which v points to.
func (p *print) of(how *plan, v any) { p.value(how, reflect.ValueOf(v).Elem(), plain) }

func (p *print) value(how *plan, v reflect.Value, m manner) {
	switch v.Kind() {
	case reflect.Bool:
		p.flag(v.Bool())
	case reflect.Int64:
		if m == absolute {
			p.time(v.Int())
			return
		}
		p.word(uint64(v.Int()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32:
		p.word(uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.word(v.Uint())
	case reflect.String:
		p.number(v.Len())
		for i := range v.Len() {
			p.word(uint64(v.String()[i]))
		}
	case reflect.Struct:
		p.fields(how, v)
	case reflect.Array:
		for i := range v.Len() {
			p.value(how, v.Index(i), m)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			p.bytes(v.Bytes())
			return
		}
		for i := range min(v.Len(), how.head) {
			p.value(how, v.Index(i), m)
		}
	case reflect.Func:
		p.flag(v.IsNil()) // it is the same in every world
	case reflect.Pointer:
		if p.flag(v.IsNil()); !v.IsNil() {
			p.value(how, v.Elem(), m)
		}
	case reflect.Map:
		p.entries(how, v, m)
	default:
		panic(fmt.Sprintf("smallscope: a machine has a %v, which has no place in its fingerprint yet", v.Type()))
	}
}

func (p *print) fields(how *plan, v reflect.Value) {
	t := v.Type()
	kinds, there := how.kinds[t]
	if !there {
		kinds = make([]manner, t.NumField())
		for i := range kinds {
			kinds[i] = how.manners[t.Name()][t.Field(i).Name]
		}
		for name := range how.manners[t.Name()] {
			if _, there := t.FieldByName(name); !there {
				panic(fmt.Sprintf("smallscope: %v has no field %s", t, name))
			}
		}
		how.kinds[t] = kinds
	}
	for i, m := range kinds {
		if m != idle {
			p.value(how, v.Field(i), m)
		}
	}
}

// entries takes in a map, whatever its order.
func (p *print) entries(how *plan, v reflect.Value, m manner) {
	var sums []uint64
	for i := v.MapRange(); i.Next(); {
		one := print{now: p.now, old: p.old}
		one.value(how, i.Key(), m)
		one.value(how, i.Value(), m)
		sums = append(sums, one.sum)
	}
	slices.Sort(sums)
	p.number(len(sums))
	for _, s := range sums {
		p.word(s)
	}
}
