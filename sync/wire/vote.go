package wire

import "encoding/binary"

// VoteRequest asks the receiver to let nobody else forward for a time. Who serves, or wants
// to, says it behind every heartbeat where votes decide (alone = "witness"), and the others
// say with Hold 0 that they give back what they were given.
type VoteRequest struct {
	Reading uint64 // of the sender's clock before it was sent, ns; the Vote brings it back
	Hold    uint64 // how long the vote binds its giver from the arrival on, ns; 0: no longer
	Term    uint64 // in which the sender serves or wants to, for people
}

// Append appends v:
//
//	 0                               8                              16              24
//	+-------------------------------+-------------------------------+----------------+
//	| reading                       | hold                          | term           |
//	+-------------------------------+-------------------------------+----------------+
func (v *VoteRequest) Append(dst []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, TypeVoteRequest, 0)
	dst = binary.BigEndian.AppendUint64(dst, v.Reading)
	dst = binary.BigEndian.AppendUint64(dst, v.Hold)
	dst = binary.BigEndian.AppendUint64(dst, v.Term)
	return endFrame(dst, start)
}

// HoldMax is the longest Hold: twice the longest dead_after, in ns.
const HoldMax = 120e9

// Decode reads a VoteRequest.
func (v *VoteRequest) Decode(f *Frame) error {
	c := f.open(TypeVoteRequest, 0)
	v.Reading, v.Hold, v.Term = c.u64(), c.u64(), c.u64()
	c.must(v.Reading <= 1<<63-1 && v.Hold <= HoldMax, BadValue)
	return c.end()
}

// voteGranted is the frame flag of a Vote that was given.
const voteGranted = 1

// Vote answers a VoteRequest.
type Vote struct {
	Reading uint64 // of the request
	Granted bool   // nobody else gets this vote for the time that was asked for
}

// Append appends v:
//
//	frame flags: 1 granted
//
//	 0                               8
//	+-------------------------------+
//	| reading                       |
//	+-------------------------------+
func (v *Vote) Append(dst []byte) []byte {
	start := len(dst)
	flags := uint8(0)
	if v.Granted {
		flags = voteGranted
	}
	dst = beginFrame(dst, TypeVote, flags)
	dst = binary.BigEndian.AppendUint64(dst, v.Reading)
	return endFrame(dst, start)
}

// Decode reads a Vote.
func (v *Vote) Decode(f *Frame) error {
	c := f.open(TypeVote, voteGranted)
	v.Reading, v.Granted = c.u64(), f.Flags&voteGranted != 0
	c.must(v.Reading <= 1<<63-1, BadValue)
	return c.end()
}
