package wire

import "encoding/binary"

// Bounds of what is said about policies, in bytes.
const (
	ChunkMax    = 1152 // of an image, in one Chunk
	AnswerMax   = 1200 // of the words of an Answer
	imageMax    = 64 << 20
	windowMaxMs = 25 * 60 * 60 * 1000 // that a trial lasts
)

// Generation names a policy in the cluster. A higher number is newer; the hash says what it
// means, so two nodes with one number and two hashes have been told different things.
type Generation struct {
	Number uint64 // from 1
	Hash   uint64
}

// Image is a policy as it travels: all its files in one compressed piece. The zero value is
// none.
type Image struct {
	Size uint32 // in bytes
	Sum  uint64 // xxHash64 of it; names it in Fetch and Chunk
}

func (g *Generation) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, g.Number)
	return binary.BigEndian.AppendUint64(dst, g.Hash)
}

func (c *cursor) generation() (g Generation) {
	g = Generation{Number: c.u64(), Hash: c.u64()}
	// A number that large can only be nonsense, and the receiver would count on from it.
	c.must(g.Number != 0 && g.Number>>63 == 0, BadValue)
	return g
}

func (i *Image) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, i.Size)
	return binary.BigEndian.AppendUint64(dst, i.Sum)
}

func (c *cursor) image() (i Image) {
	i = Image{Size: c.u32(), Sum: c.u64()}
	c.must(i.Size <= imageMax && (i.Size != 0 || i.Sum == 0), BadValue)
	return i
}

// Standing tells which policy its sender has: with every hello, and at once where that has
// changed.
type Standing struct {
	Kept  Generation // confirmed: what is in force after a restart
	Image Image      // of Kept; none where it cannot be fetched
	Force uint64     // hash of what is in force: another than Kept.Hash in a trial, or by itself
	Trial Generation // in force until confirmed; zero: none
	Seats uint64     // hash of what its numbers of timeouts mean: they follow what was reloaded before
}

// Append appends s:
//
//	 0                               8                               16
//	+-------------------------------+-------------------------------+
//	| kept: number                  | hash                          |
//	+---------------+---------------+---------------+---------------+
//	| image: size   | sum                           |                 28
//	+---------------+-------------------------------+
//	| hash in force                 |                                 36
//	+-------------------------------+-------------------------------+
//	| trial: number, 0: none        | hash                          | 52
//	+-------------------------------+-------------------------------+
//	| hash of the timeouts          |                                 60
//	+-------------------------------+
func (s *Standing) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeStanding, 0)
	dst = s.Kept.append(dst)
	dst = s.Image.append(dst)
	dst = binary.BigEndian.AppendUint64(dst, s.Force)
	dst = s.Trial.append(dst)
	dst = binary.BigEndian.AppendUint64(dst, s.Seats)
	return endFrame(dst, start)
}

// Decode reads a Standing.
func (s *Standing) Decode(f *Frame) error {
	c := f.open(TypeStanding, 0)
	s.Kept, s.Image, s.Force = c.generation(), c.image(), c.u64()
	s.Trial = Generation{Number: c.u64(), Hash: c.u64()}
	s.Seats = c.u64()
	c.must(s.Trial.Number>>63 == 0 && (s.Trial.Number != 0 || s.Trial.Hash == 0), BadValue)
	return c.end()
}

// Step is what a node is asked to do with a generation.
type Step uint8

// The steps of a reload.
const (
	StepPrepare Step = iota // fetch it, compile it, keep it ready: without effect
	StepCommit              // put it in force on trial
	StepConfirm             // let it stay, over a restart too
	StepRevert              // go back to what was kept, or forget what was prepared
	steps
)

// Order asks a node for a step of a reload. It is said again until it is answered, and
// asking twice is asking once.
type Order struct {
	Step   Step
	For    Generation
	Image  Image  // StepPrepare: of it; none otherwise
	Window uint32 // StepCommit: ms after which the node goes back by itself; 0 otherwise
}

// Append appends o:
//
//	frame flags: step
//
//	 0                               8                               16
//	+-------------------------------+-------------------------------+
//	| generation: number            | hash                          |
//	+---------------+---------------+---------------+---------------+
//	| image: size   | sum                           | window        | 32
//	+---------------+-------------------------------+---------------+
func (o *Order) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeOrder, uint8(o.Step))
	dst = o.For.append(dst)
	dst = o.Image.append(dst)
	dst = binary.BigEndian.AppendUint32(dst, o.Window)
	return endFrame(dst, start)
}

// Decode reads an Order.
func (o *Order) Decode(f *Frame) error {
	c := f.open(TypeOrder, 0xff)
	*o = Order{Step: Step(f.Flags), For: c.generation(), Image: c.image(), Window: c.u32()}
	c.must(o.Step < steps, BadFlags)
	c.must((o.Step == StepPrepare) == (o.Image.Size != 0), BadValue)
	c.must((o.Step == StepCommit) == (o.Window != 0) && o.Window <= windowMaxMs, BadValue)
	return c.end()
}

// Outcome says what became of an Order. The zero value is illegal.
type Outcome uint8

// The outcomes of orders.
const (
	OutcomeDone    Outcome = 1 + iota
	OutcomeRefused         // and why
	outcomes
)

// Answer answers an Order.
type Answer struct {
	Step    Step
	For     Generation
	Outcome Outcome
	Words   []byte // OutcomeRefused: what is wrong, a line for each fault; Decode leaves it in the batch
}

// Append appends a, and of its words as many as there is room for:
//
//	frame flags: step | outcome << 4
//
//	 0                               8                               16
//	+-------------------------------+-------------------------------+----------
//	| generation: number            | hash                          | words, to the end of the frame
//	+-------------------------------+-------------------------------+----------
func (a *Answer) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeAnswer, uint8(a.Step)|uint8(a.Outcome)<<4)
	dst = a.For.append(dst)
	dst = append(dst, a.Words[:min(len(a.Words), AnswerMax)]...)
	return endFrame(dst, start)
}

// Decode reads an Answer.
func (a *Answer) Decode(f *Frame) error {
	c := f.open(TypeAnswer, 0xff)
	*a = Answer{Step: Step(f.Flags & 0xf), Outcome: Outcome(f.Flags >> 4), For: c.generation()}
	a.Words = c.take(len(c.rest))
	c.must(a.Step < steps && a.Outcome != 0 && a.Outcome < outcomes, BadFlags)
	c.must(len(a.Words) <= AnswerMax && (a.Outcome == OutcomeRefused || len(a.Words) == 0), BadValue)
	return c.end()
}

// Fetch asks for a piece of an image: Count chunks, and fewer at its end.
type Fetch struct {
	Sum   uint64
	From  uint32 // offset in bytes
	Count uint8  // from 1
}

// Append appends m:
//
//	 0                               8               12      13
//	+-------------------------------+---------------+-------+
//	| sum of the image              | offset        | count |
//	+-------------------------------+---------------+-------+
func (m *Fetch) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeFetch, 0)
	dst = binary.BigEndian.AppendUint64(dst, m.Sum)
	dst = binary.BigEndian.AppendUint32(dst, m.From)
	dst = append(dst, m.Count)
	return endFrame(dst, start)
}

// Decode reads a Fetch.
func (m *Fetch) Decode(f *Frame) error {
	c := f.open(TypeFetch, 0)
	*m = Fetch{Sum: c.u64(), From: c.u32(), Count: c.u8()}
	c.must(m.Count != 0 && m.From < imageMax, BadValue)
	return c.end()
}

// Chunk is a piece of an image.
type Chunk struct {
	Sum  uint64
	From uint32 // offset in bytes
	Data []byte // 1 to ChunkMax bytes; Decode leaves it in the batch
}

// Append appends m, whose data must have 1 to ChunkMax bytes:
//
//	 0                               8               12
//	+-------------------------------+---------------+----------
//	| sum of the image              | offset        | data, to the end of the frame
//	+-------------------------------+---------------+----------
func (m *Chunk) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeChunk, 0)
	dst = binary.BigEndian.AppendUint64(dst, m.Sum)
	dst = binary.BigEndian.AppendUint32(dst, m.From)
	dst = append(dst, m.Data...)
	return endFrame(dst, start)
}

// Decode reads a Chunk.
func (m *Chunk) Decode(f *Frame) error {
	c := f.open(TypeChunk, 0)
	m.Sum, m.From = c.u64(), c.u32()
	m.Data = c.take(len(c.rest))
	c.must(len(m.Data) >= 1 && len(m.Data) <= ChunkMax && m.From < imageMax, BadValue)
	return c.end()
}
