package conduct

import (
	"slices"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
)

// Types of what stands in the ledger about a model; also their digest domains.
const (
	TypeRegistration = "patchwrit/registration/v1"
	TypePromotion    = "patchwrit/promotion/v1"
	TypeDemotion     = "patchwrit/demotion/v1"
)

// Registration says which model is asked. Another parameter is another model, and
// another prompt another registration: both begin in shadow.
type Registration struct {
	Type   string       `json:"type"`
	Model  canon.Digest `json:"model"`  // of the record, domain patchwrit/model/v1
	Record string       `json:"record"` // canonical bytes of the model with every parameter
	Prompt canon.Digest `json:"prompt"` // SHA-256 of what every question has besides its dossier
	Sheet  canon.Digest `json:"sheet"`  // SHA-256 of its data sheet; "": none was handed over
	At     int64        `json:"at"`     // Unix seconds
}

// MaxSheet is how many bytes a data sheet may have.
const MaxSheet = 1 << 20

// CodeSheet refuses what is no data sheet, and says that there is none.
const CodeSheet refusal.Code = "PW-MODEL-SHEET"

// SheetFits says why bytes are no data sheet, or nil.
func SheetFits(sheet []byte) error {
	switch {
	case len(sheet) == 0:
		return refusal.New(CodeSheet, "it is empty")
	case len(sheet) > MaxSheet:
		return refusal.New(CodeSheet, "it has more than %d bytes", MaxSheet)
	}
	return nil
}

// Digest names the registration.
func (r Registration) Digest() canon.Digest { return canon.Sum(TypeRegistration, canon.MustEncode(r)) }

// Entry is its log entry.
func (r Registration) Entry() tlog.Entry { return tlog.NewEntry("registration", r.Digest(), r.At) }

// Promotion is what people sign to give a model one step more say.
type Promotion struct {
	Type         string         `json:"type"`
	Nonce        string         `json:"nonce"` // 32 bytes in lower hex
	Author       trust.PersonID `json:"author"`
	Created      int64          `json:"created"` // Unix seconds
	Expires      int64          `json:"expires"` // until when it can be handed over
	Model        canon.Digest   `json:"model"`
	Registration canon.Digest   `json:"registration"` // the one that stands: record, prompt and data sheet
	From         Say            `json:"from"`
	To           Say            `json:"to"`     // one step on
	Limits       canon.Digest   `json:"limits"` // domain TypeLimits: what the model is held to
	Note         canon.Note     `json:"note"`
}

// MaxPromotion is how long a promotion may wait to be handed over, seconds.
const MaxPromotion = 7 * 86400

// CodePromotion refuses a promotion that does not fit.
const CodePromotion refusal.Code = "PW-MODEL-PROMOTION"

// Bytes are the promotion's canonical bytes: what people sign.
func (p Promotion) Bytes() []byte { return canon.MustEncode(p) }

// Statement is what people sign.
func (p Promotion) Statement() approval.Statement {
	return approval.Statement{Kind: approval.Promote, Bytes: p.Bytes()}
}

// Entry is its log entry.
func (p Promotion) Entry() tlog.Entry {
	return tlog.NewEntry("promotion", p.Statement().Digest(), p.Created)
}

// Valid says why the promotion contradicts itself, or nil.
func (p Promotion) Valid() error {
	bad := func(format string, args ...any) error { return refusal.New(CodePromotion, format, args...) }
	above, more := p.From.Above()
	switch {
	case p.Type != TypePromotion || !canon.Hex(p.Nonce, 32) || p.Author == "":
		return bad("type %q, author %q, nonce of %d characters", p.Type, p.Author, len(p.Nonce))
	case !p.Model.Valid() || !p.Registration.Valid() || !p.Limits.Valid():
		return bad("it must name a model, its registration and the limits by their digests")
	case !p.From.Valid() || !more || p.To != above:
		return bad("from %q to %q is not one step on", p.From, p.To)
	case p.Created <= 0 || p.Expires <= p.Created || p.Expires-p.Created > MaxPromotion:
		return bad("it lives from %d to %d; the most is 7 days", p.Created, p.Expires)
	}
	if _, err := canon.Encode(p); err != nil {
		return bad("%v", err)
	}
	return nil
}

// Demotion takes say from a model.
type Demotion struct {
	Type   string         `json:"type"`
	Model  canon.Digest   `json:"model"`
	From   Say            `json:"from"`
	To     Say            `json:"to"`
	At     int64          `json:"at"`     // Unix seconds
	By     string         `json:"by"`     // ByWatch or ByPeople
	Limits canon.Digest   `json:"limits"` // domain TypeLimits: what it was held to
	Alarms []Alarm        `json:"alarms"` // ByWatch: why
	Cases  []canon.Digest `json:"cases"`  // ByWatch: the exchanges that were looked at, domain advice.TypeExchange, ascending
	Why    canon.Note     `json:"why"`
}

// Who demotes.
const (
	ByWatch  = "watch"
	ByPeople = "people"
)

// Entry is its log entry.
func (d Demotion) Entry() tlog.Entry {
	return tlog.NewEntry("demotion", canon.Sum(TypeDemotion, canon.MustEncode(d)), d.At)
}

// Demoted is the step back that alarms call for; false without one, and from
// shadow, from which there is none. recent are the cases that were looked at.
func Demoted(model canon.Digest, from Say, alarms []Alarm, recent []Case, l Limits, at int64) (Demotion, bool) {
	if len(alarms) == 0 || from.Below() == from {
		return Demotion{}, false
	}
	d := Demotion{Type: TypeDemotion, Model: model, From: from, To: from.Below(), At: at, By: ByWatch, Limits: l.Digest(), Alarms: alarms, Cases: []canon.Digest{}, Why: alarms[0].Text}
	for _, c := range recent {
		d.Cases = append(d.Cases, c.Exchange)
	}
	slices.Sort(d.Cases)
	d.Cases = slices.Compact(d.Cases)
	return d, true
}
