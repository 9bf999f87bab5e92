package advice

import "github.com/patchwrit/patchwrit/canon"

// Outcome is what came of asking an adviser once.
type Outcome string

// The closed set of outcomes. Only Answered holds an answer; every other one is
// no advice, and the plan goes on as if nobody had been asked.
const (
	Answered  Outcome = "answered"  // it gave bytes; Verify judges them
	Refused   Outcome = "refused"   // the model, or its provider, would not answer
	Truncated Outcome = "truncated" // the answer ends at a limit
	Failed    Outcome = "failed"    // no answer came: network, provider, time, size, or a broken sandbox
	Off       Outcome = "off"       // nobody was asked: no model, no sandbox, no dossier, or the model has no say
)

// Heard is what came back when an adviser was asked, whole, for the record.
type Heard struct {
	Model    canon.Digest // of the registry's entry of the model; "": none
	Outcome  Outcome
	Why      canon.Note // one sentence; "" when Answered
	Answer   []byte     // what Verify judges; nil unless Answered
	Sent     []byte     // what went to the provider, without the key; nil when nothing did
	Received []byte     // what came from it
}
