package wire

import (
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// Protocol numbers the forms of all messages but hello's, which never change:
// hello is how two parties find out what both speak. The number rises by one
// when any field of a request or an answer comes, goes or changes its meaning,
// for a reader takes exactly the fields that it knows. A control plane speaks
// this protocol and the one before, and so does an agent: either may be upgraded
// first. What is spoken is the lower number of the two.
//
//	1  the first
//	2  next tells why a writ cannot be tried
const Protocol = 2

// CodeProtocol says that two parties have no protocol in common.
const CodeProtocol refusal.Code = "PW-WIRE-PROTOCOL"

// Common is what is spoken with somebody whose newest protocol is theirs, or a
// refusal that says who is to be upgraded.
func Common(theirs int) (int, error) {
	switch {
	case theirs < Protocol-1:
		return 0, refusal.New(CodeProtocol, "the other end speaks protocol %d, this one %d and %d: the other one is too old", theirs, Protocol-1, Protocol)
	case theirs > Protocol+1:
		return 0, refusal.New(CodeProtocol, "the other end speaks protocols %d and %d, this one %d and %d: this one is too old", theirs-1, theirs, Protocol-1, Protocol)
	}
	return min(theirs, Protocol), nil
}

// next1 is NextRequest in protocol 1.
type next1 struct {
	Trust trust.Versions `json:"trust"`
}

// Present brings a question in the form of the protocol before into today's;
// any other it gives back as it is.
func Present(v Verb, body []byte) []byte {
	var old next1
	if v == Next && canon.Decode(body, &old) == nil {
		return canon.MustEncode(NextRequest{Trust: old.Trust})
	}
	return body
}

// In is the question in the form of a protocol that Common has given.
func (q NextRequest) In(protocol int) any {
	if protocol < 2 {
		return next1{q.Trust}
	}
	return q
}
