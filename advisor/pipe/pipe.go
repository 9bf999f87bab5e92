// Package pipe is what the sandboxed advisor and its broker say to each other.
//
// The parties: the broker, which holds the provider's key and speaks to the one
// host; the advisor, a process that has nothing but one socket, and may have been
// replaced by anything. The objects: frames. The advisor says Hello; the broker
// hands it Ask; it answers with Call, "send this"; the broker hands it Reply; it
// answers with Said. That is all, in this order, once each.
//
// The promise: a frame is a kind and as many fields as its kind has, each with a
// limit; whoever reads never holds more than came, and believes no length. Which
// words a Said may hold is judged by who reads it (advisor.Heard).
//
// It opens nothing: who calls it has the socket.
package pipe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/canon"
)

// Kind says what a frame is.
type Kind byte

// The closed set of kinds, in the order in which they are said.
const (
	Hello Kind = 'h' // advisor: no field. It is there; from now on it needs nothing but the socket
	Ask   Kind = 'a' // broker: the model in canonical JSON, the request
	Call  Kind = 'c' // advisor: method, path, body
	Reply Kind = 'r' // broker: status in decimal, what broke, body
	Said  Kind = 's' // advisor: outcome, why, answer
)

// maxBody is the most bytes of a call's body: a request in which every second
// byte had to be escaped, and its frame.
const maxBody = 2*dialect.MaxRequest + 1<<20

// maxWhy is the most bytes of a sentence.
const maxWhy = 4 << 10

// limits are the fields of each kind, and the most bytes of each.
var limits = map[Kind][]int{
	Hello: {},
	Ask:   {16 << 10, dialect.MaxRequest},
	Call:  {16, 4 << 10, maxBody},
	Reply: {3, maxWhy, dialect.MaxBytes},
	Said:  {16, maxWhy, dialect.MaxAnswer},
}

// ErrFrame says that bytes are not the frame that was due.
var ErrFrame = errors.New("this is not the frame that was due")

// Write writes one frame: its kind, then each field behind its length in four
// bytes, the highest first. The error is ErrFrame for fields that the kind does
// not have, or the writer's.
func Write(w io.Writer, kind Kind, fields ...[]byte) error {
	most, known := limits[kind]
	if !known || len(fields) != len(most) {
		return fmt.Errorf("%w: %d fields of kind %+q", ErrFrame, len(fields), rune(kind))
	}
	b := []byte{byte(kind)}
	for i, f := range fields {
		if len(f) > most[i] {
			return fmt.Errorf("%w: field %d of kind %q has %d bytes, the limit is %d", ErrFrame, i, rune(kind), len(f), most[i])
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	_, err := w.Write(b)
	return err
}

// Read reads one frame of the kind that is due. The error is ErrFrame, or the
// reader's: io.EOF when nothing came at all.
func Read(r io.Reader, due Kind) ([][]byte, error) {
	most, known := limits[due]
	if !known {
		return nil, fmt.Errorf("%w: there is no kind %+q", ErrFrame, rune(due))
	}
	var head [4]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return nil, err
	}
	if Kind(head[0]) != due {
		return nil, fmt.Errorf("%w: kind %+q, not %q", ErrFrame, rune(head[0]), rune(due))
	}
	fields := make([][]byte, len(most))
	for i := range most {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, whole(err)
		}
		n := binary.BigEndian.Uint32(head[:])
		if int64(n) > int64(most[i]) {
			return nil, fmt.Errorf("%w: field %d of kind %q has %d bytes, the limit is %d", ErrFrame, i, rune(due), n, most[i])
		}
		var b bytes.Buffer // grows by what comes, not by what is claimed
		if _, err := io.CopyN(&b, r, int64(n)); err != nil {
			return nil, whole(err)
		}
		fields[i] = b.Bytes()
	}
	return fields, nil
}

// whole says of an end within a frame that it is none of a whole one.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// WriteReply writes what came back for a call.
func WriteReply(w io.Writer, r dialect.Reply) error {
	return Write(w, Reply, strconv.AppendInt(nil, int64(r.Status), 10), []byte(short(r.Broken)), r.Body)
}

// short cuts a sentence at its limit.
func short(s string) string { return s[:min(len(s), maxWhy)] }

// Advise is the whole life of the advisor: it is asked once over rw, and puts
// everything of the provider's words into, and out of, that one exchange. The
// error is of the socket or of what the broker said.
func Advise(rw io.ReadWriter) error {
	if err := Write(rw, Hello); err != nil {
		return err
	}
	f, err := Read(rw, Ask)
	if err != nil {
		return err
	}
	var m dialect.Model
	if err := canon.Decode(f[0], &m); err != nil {
		return err
	}
	call, err := dialect.Encode(m, f[1])
	if err != nil {
		return err
	}
	if err := Write(rw, Call, []byte(call.Method), []byte(call.Path), call.Body); err != nil {
		return err
	}
	if f, err = Read(rw, Reply); err != nil {
		return err
	}
	status, err := strconv.Atoi(string(f[0]))
	if err != nil {
		return fmt.Errorf("%w: status %q", ErrFrame, f[0])
	}
	said := dialect.Decode(m, dialect.Reply{Status: status, Broken: string(f[1]), Body: f[2]})
	return Write(rw, Said, []byte(said.Outcome), []byte(short(said.Why)), said.Answer)
}
