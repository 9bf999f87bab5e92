// Package advisor is whom Patchwrit may ask about a plan, and what is kept of it.
//
// The parties: who wants advice holds the bytes of an advice.Request; an Adviser
// is a model behind a provider, a file of recorded exchanges, a simulated enemy,
// or nobody; a sender (package post, or the broker of a sandbox) holds the key
// and speaks to the one host. The objects: a Config is a model file; an Exchange
// is one asking, whole, for the record.
//
// The promise: whoever is asked, the answer is an advice.Heard, and only its
// Answered holds bytes, which advice.Verify judges. One request is sent at most
// once. What was sent and received is kept whole, without the key, which this
// package never sees. Without a model nobody is asked, and nothing else changes.
//
// It opens no file and no connection. The words of each provider are in
// advisor/dialect, the only part that a sandboxed process links.
package advisor

import (
	"bytes"
	"context"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/canon"
)

// Adviser is asked about requests, as advice.Request writes them. It answers
// within its model's time, or when ctx ends, and never panics on what a provider
// sends.
type Adviser interface {
	Ask(ctx context.Context, request []byte) advice.Heard
}

// Sender brings a call to the model's one host and back. It adds the key, keeps
// the limits of the model, and sends nothing twice.
type Sender func(context.Context, dialect.Model, dialect.Call) dialect.Reply

// New gives the adviser of a model file. recordings are the bytes of the file
// that it names, if it does; send is nil for who speaks to nobody.
func New(c Config, recordings []byte, send Sender) (Adviser, error) {
	if err := c.Model.Check(); err != nil {
		return nil, err
	}
	switch c.Model.Provider {
	case dialect.Deterministic:
		return Nobody{}, nil
	case dialect.Hostile:
		return Hostile{c.Model}, nil
	case dialect.Replay:
		return ReadRecordings(c.Model, recordings)
	}
	return Remote{c.Model, send}, nil
}

// Nobody is the provider deterministic: there is no model and no advice, and the
// product is whole.
type Nobody struct{}

// Ask asks nobody.
func (Nobody) Ask(context.Context, []byte) advice.Heard {
	return advice.Heard{Outcome: advice.Off, Why: "no model is configured (provider deterministic): nobody was asked"}
}

// Remote asks a model over a network, and decodes its reply in this process: a
// sandbox does the same in one of its own.
type Remote struct {
	Model dialect.Model
	Send  Sender
}

// Ask asks once.
func (r Remote) Ask(ctx context.Context, request []byte) advice.Heard {
	call, err := dialect.Encode(r.Model, request)
	if err != nil {
		return Unasked(r.Model, err)
	}
	reply := r.Send(ctx, r.Model, call)
	return Heard(r.Model, call, reply, dialect.Decode(r.Model, reply))
}

// Unasked is what came of a request that was not sent.
func Unasked(m dialect.Model, why error) advice.Heard {
	return advice.Heard{Model: m.Digest(), Outcome: advice.Off, Why: canon.NoteOf("nobody was asked: " + why.Error())}
}

// Heard puts together what came of one call, whoever sent it and decoded it. A
// decoder's word counts only in the forms that exist: an answer with an outcome
// other than answered, or none with it, is a failure.
func Heard(m dialect.Model, call dialect.Call, reply dialect.Reply, said dialect.Said) advice.Heard {
	h := advice.Heard{Model: m.Digest(), Outcome: advice.Outcome(said.Outcome), Why: canon.NoteOf(said.Why), Sent: call.Body, Received: reply.Body}
	switch said.Outcome {
	case dialect.Answered:
		h.Answer, h.Why = said.Answer, ""
		if len(said.Answer) > 0 && len(said.Answer) <= advice.MaxAnswer {
			return h
		}
	case dialect.Refused, dialect.Truncated, dialect.Failed:
		if said.Why != "" && said.Answer == nil {
			return h
		}
	}
	h.Outcome, h.Answer, h.Why = advice.Failed, nil, "the decoder's word has no meaning"
	return h
}

// asked gives the dossier of a request that this version wrote.
func asked(request []byte) (advice.Dossier, error) {
	if !bytes.HasPrefix(request, []byte(`{"type":"`+advice.TypeRequest+`",`)) {
		return advice.Dossier{}, dialect.ErrRequest
	}
	return advice.ReadRequest(request)
}
