package wire

import (
	"github.com/patchwrit/patchwrit/refusal"
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
//	3  the inventory tells when processes were looked at, and since when its kernel runs
//	4  the inventory tells which process uses a deleted file, and whose that was
const Protocol = 4

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
