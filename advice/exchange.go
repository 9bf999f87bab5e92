package advice

import (
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/tlog"
)

// TypeExchange is the type and digest domain of an Exchange.
const TypeExchange = "patchwrit/planadvice/v1"

// MaxHeard is how many bytes of what was sent, and of what came back, are kept.
// An exchange that is longer failed.
const MaxHeard = 16 << 20

// Exchange is one asking of an adviser about one plan, as the ledger keeps it:
// texts by the SHA-256 of their bytes, "" where there are none.
type Exchange struct {
	Type      string       `json:"type"`
	Plan      canon.Digest `json:"plan"`
	Asked     int64        `json:"asked"` // Unix seconds
	At        int64        `json:"at"`    // when the answer was judged
	Model     canon.Digest `json:"model"` // of the registry's entry; what was sent holds its parameters
	Outcome   Outcome      `json:"outcome"`
	Why       canon.Note   `json:"why"`
	Dossier   canon.Digest `json:"dossier"` // domain TypeDossier; "" when none could be made
	Request   canon.Digest `json:"request"`
	Sent      canon.Digest `json:"sent"`
	Received  canon.Digest `json:"received"`
	Answer    canon.Digest `json:"answer"`
	Report    canon.Digest `json:"report"`
	Claims    []Counted    `json:"claims"` // how many of each verdict; none without a report
	Abstained bool         `json:"abstained"`
	Proposal  Accepted     `json:"proposal"` // what of it stands
}

// Counted is how many claims have one verdict.
type Counted struct {
	Verdict Verdict `json:"verdict"`
	Claims  int     `json:"claims"`
}

// Entry is the exchange's log entry.
func (x Exchange) Entry() tlog.Entry {
	return tlog.NewEntry("advice", canon.Sum(TypeExchange, canon.MustEncode(x)), x.At)
}

// Judge says what came of asking: d is the dossier that request was made of, at
// the time asked; h came back at the time at. Without an answer that can be
// judged the report is nil, and the proposal is keep: as if nobody had been asked.
// Without a request there was no dossier, and d is not looked at.
func Judge(d Dossier, request []byte, h Heard, asked, at int64, limits Ages) (Exchange, *Report) {
	x := Exchange{Type: TypeExchange, Plan: d.Plan, Asked: asked, At: at, Model: h.Model, Outcome: h.Outcome, Why: h.Why,
		Claims: []Counted{}, Proposal: Accepted{Action: Keep, Order: []string{}}}
	if len(request) == 0 {
		return x, nil // there was no dossier: nothing was asked, whatever h says
	}
	x.Dossier, x.Request = d.Digest(), canon.SumFile(request)
	if len(h.Sent) > MaxHeard || len(h.Received) > MaxHeard || len(h.Answer) > MaxHeard {
		x.Outcome, x.Why = Failed, canon.NoteOf(fmt.Sprintf("what was sent, or came back, has more than %d bytes", MaxHeard))
		return x, nil
	}
	x.Sent, x.Received, x.Answer = nameOf(h.Sent), nameOf(h.Received), nameOf(h.Answer)
	if h.Outcome != Answered {
		return x, nil
	}
	a, err := ParseAnswer(h.Answer)
	if err != nil {
		x.Outcome, x.Why = Failed, canon.NoteOf("the answer is none: "+err.Error())
		return x, nil
	}
	r := Verify(d, a, at, limits)
	for _, v := range Verdicts {
		if n := r.Count(v); n > 0 {
			x.Claims = append(x.Claims, Counted{v, n})
		}
	}
	x.Report, x.Abstained = canon.SumFile(canon.MustEncode(r)), r.Abstained
	if r.Proposal.Stands {
		x.Proposal = r.Proposal
	}
	return x, &r
}

func nameOf(b []byte) canon.Digest {
	if len(b) == 0 {
		return ""
	}
	return canon.SumFile(b)
}
