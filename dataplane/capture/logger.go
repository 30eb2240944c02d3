package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"holdfast/dataplane"
	"holdfast/dataplane/gate"
)

// Config is what a Logger needs.
type Config struct {
	Packets  *dataplane.PacketLog
	Names    Names
	Lines    *slog.Logger
	File     *File // nil: lines only
	Rate     Rate  // of all rules
	RuleRate Rate  // of each
}

// rulesMax bounds the rules that are told apart. Where reloads have brought more, those that
// came last share one.
const rulesMax = 1 << 18

// others is the number under which they are counted: no rule's.
const others = 1 << 32

// Logger takes what workers leave and tells of it.
type Logger struct {
	config Config
	attrs  []slog.Attr // scratch

	counting sync.Mutex // guards what follows; the file's counts are copied here
	pace     pace
	rules    map[uint64]*ruleLog
	logged   uint64
	silenced uint64
	stored   uint64
	lost     uint64
}

// ruleLog is what a Logger knows of a rule.
type ruleLog struct {
	pace       pace
	logged     uint64
	suppressed uint64
	untold     uint64 // of those: since its last line
}

// Counts are what has become of packets that rules wanted logged, since the start.
type Counts struct {
	Logged     uint64
	Suppressed uint64 // were too many for a rate
	Shed       uint64 // found no room on their way from a worker
	Stored     uint64 // in files
	Lost       uint64 // could not be written to a file
	Rules      map[uint32]RuleCounts
}

// RuleCounts are those of one rule, by its number.
type RuleCounts struct{ Logged, Suppressed uint64 }

// New returns a Logger.
func New(c Config) *Logger { return &Logger{config: c, rules: map[uint64]*ruleLog{}} }

// Run tells of packets until the PacketLog is closed, and closes the file.
func (l *Logger) Run() error {
	for {
		err := l.config.Packets.Wait()
		l.round(time.Now(), gate.Now())
		switch {
		case errors.Is(err, os.ErrClosed):
			return l.close()
		case err != nil:
			return errors.Join(err, l.close())
		}
	}
}

// round tells of all that waits. clock is CLOCK_BOOTTIME at now, in ns.
func (l *Logger) round(now time.Time, clock int64) {
	l.config.Packets.Take(func(p *dataplane.LoggedPacket) {
		if suppressed, may := l.admit(p, clock); may {
			l.tell(p, now.Add(time.Duration(p.At-clock)), suppressed)
		}
	})
	if f := l.config.File; f != nil {
		l.complain(f.Flush())
		l.counting.Lock()
		l.stored, l.lost = f.stored, f.lost
		l.counting.Unlock()
	}
}

// admit counts a packet, and reports whether it is within the rates, and how many of its
// rule were not since the last that was.
func (l *Logger) admit(p *dataplane.LoggedPacket, clock int64) (suppressed uint64, may bool) {
	l.counting.Lock()
	defer l.counting.Unlock()
	r := l.ruleOf(p.Rule)
	if !r.pace.has(&l.config.RuleRate, clock) || !l.pace.has(&l.config.Rate, clock) {
		r.suppressed++
		r.untold++
		l.silenced++
		return 0, false
	}
	r.pace.take(&l.config.RuleRate, clock)
	l.pace.take(&l.config.Rate, clock)
	suppressed, r.untold = r.untold, 0
	r.logged++
	l.logged++
	return suppressed, true
}

func (l *Logger) ruleOf(number uint32) *ruleLog {
	key := uint64(number)
	r := l.rules[key]
	if r == nil && len(l.rules) >= rulesMax {
		key = others
		r = l.rules[key]
	}
	if r == nil {
		r = &ruleLog{}
		l.rules[key] = r
	}
	return r
}

// tell writes a packet's line, and the packet into the file.
func (l *Logger) tell(p *dataplane.LoggedPacket, at time.Time, suppressed uint64) {
	l.attrs = l.config.Names.attributes(l.attrs[:0], p, suppressed)
	l.config.Lines.LogAttrs(context.Background(), slog.LevelInfo, "packet", l.attrs...)
	if f := l.config.File; f != nil {
		l.complain(f.Add(p, at, comment(l.attrs)))
	}
}

// complain says what is wrong with the file.
func (l *Logger) complain(err error) {
	if err != nil {
		l.config.Lines.Error("logged packets are lost until this works again", "err", err)
	}
}

func (l *Logger) close() error {
	if l.config.File == nil {
		return nil
	}
	if err := l.config.File.Close(); err != nil {
		return fmt.Errorf("packet log: %w", err)
	}
	return nil
}

// Counts returns the counts. Safe from any goroutine.
func (l *Logger) Counts() Counts {
	l.counting.Lock()
	defer l.counting.Unlock()
	c := Counts{
		Logged: l.logged, Suppressed: l.silenced, Shed: l.config.Packets.Shed(), Stored: l.stored, Lost: l.lost,
		Rules: make(map[uint32]RuleCounts, len(l.rules)),
	}
	for number, r := range l.rules {
		if number != others {
			c.Rules[uint32(number)] = RuleCounts{r.logged, r.suppressed}
		}
	}
	return c
}
