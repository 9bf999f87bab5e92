package advisor

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/canon"
)

// TypeExchange is the type of an Exchange.
const TypeExchange = "patchwrit/adviceexchange/v1"

// Exchange is one asking, whole: what went to the provider and what came back,
// byte for byte, without the key. In a file it is one line of canonical JSON.
type Exchange struct {
	Type      string         `json:"type"`
	Request   canon.Digest   `json:"request"` // SHA-256 of the advice.Request
	Model     dialect.Model  `json:"model"`
	At        int64          `json:"at"`        // Unix seconds: when the answer was there
	Sandboxed bool           `json:"sandboxed"` // the reply was decoded in a process of its own
	Outcome   advice.Outcome `json:"outcome"`
	Why       canon.Note     `json:"why"`
	Sent      Blob           `json:"sent"`
	Received  Blob           `json:"received"`
	Answer    Blob           `json:"answer"`
}

// Blob is bytes as standard base64 writes them.
type Blob string

// BlobOf writes bytes.
func BlobOf(b []byte) Blob { return Blob(base64.StdEncoding.EncodeToString(b)) }

// Bytes reads them; nil for none. The error says that they are not in their one
// form.
func (b Blob) Bytes() ([]byte, error) {
	if b == "" {
		return nil, nil
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(b))
	if err == nil && BlobOf(raw) != b {
		err = errors.New("not standard base64")
	}
	return raw, err
}

// Record makes the exchange of a request that was asked.
func Record(m dialect.Model, request []byte, h advice.Heard, at int64, sandboxed bool) Exchange {
	return Exchange{Type: TypeExchange, Request: canon.SumFile(request), Model: m, At: at, Sandboxed: sandboxed, Outcome: h.Outcome, Why: h.Why,
		Sent: BlobOf(h.Sent), Received: BlobOf(h.Received), Answer: BlobOf(h.Answer)}
}

// Line is the exchange as a file has it, with its line feed.
func (x Exchange) Line() []byte { return append(canon.MustEncode(x), '\n') }

// ErrExchange says that a line is no exchange.
var ErrExchange = errors.New("this is no recorded exchange")

// ReadExchange reads a line, without its line feed. The error is ErrExchange.
func ReadExchange(line []byte) (x Exchange, h advice.Heard, err error) {
	if err := canon.Decode(line, &x); err != nil {
		return x, h, fmt.Errorf("%w: %w", ErrExchange, err)
	}
	h = advice.Heard{Model: x.Model.Digest(), Outcome: x.Outcome, Why: x.Why}
	for to, b := range map[*[]byte]Blob{&h.Sent: x.Sent, &h.Received: x.Received, &h.Answer: x.Answer} {
		if *to, err = b.Bytes(); err != nil {
			return x, h, fmt.Errorf("%w: %w", ErrExchange, err)
		}
	}
	answered := x.Outcome == advice.Answered
	switch {
	case x.Type != TypeExchange || !x.Request.Valid():
		err = fmt.Errorf("%w: type %+q", ErrExchange, x.Type)
	case !slices.Contains([]advice.Outcome{advice.Answered, advice.Refused, advice.Truncated, advice.Failed, advice.Off}, x.Outcome):
		err = fmt.Errorf("%w: there is no outcome %+q", ErrExchange, x.Outcome)
	case answered != (len(h.Answer) > 0) || answered == (x.Why != "") || len(h.Answer) > advice.MaxAnswer:
		err = fmt.Errorf("%w: an answer belongs to the outcome %q, a reason to every other, and an answer has at most %d bytes", ErrExchange, advice.Answered, advice.MaxAnswer)
	}
	return x, h, err
}

// Recordings is the provider replay: it gives again what was once heard.
type Recordings struct {
	model dialect.Model
	by    map[canon.Digest]advice.Heard
}

// ReadRecordings reads a file of exchanges, one a line. Of two about one request
// the later one counts. The error is ErrExchange with the line.
func ReadRecordings(m dialect.Model, raw []byte) (Recordings, error) {
	r := Recordings{m, map[canon.Digest]advice.Heard{}}
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		x, h, err := ReadExchange(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return r, fmt.Errorf("line %d: %w", n, err)
		}
		h.Model = m.Digest() // a recording never passes for the model itself
		r.by[x.Request] = h
	}
	return r, nil
}

// Ask looks the request up. A request that was never recorded has no advice.
func (r Recordings) Ask(_ context.Context, request []byte) advice.Heard {
	digest := canon.SumFile(request)
	if h, ok := r.by[digest]; ok {
		return h
	}
	return advice.Heard{Model: r.model.Digest(), Outcome: advice.Off, Why: canon.NoteOf(fmt.Sprintf("no exchange is recorded for request %s", digest.Short()))}
}
