package advice

import (
	"errors"
	"slices"
	"strconv"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
)

// TypeAnswer is the type of an Answer.
const TypeAnswer = "patchwrit/advice/v1"

// Answer is what an adviser says. Its strings are hostile and may hold anything.
type Answer struct {
	Dossier   canon.Digest // the dossier that it is about
	Abstain   bool         // nothing is said, on purpose: an answer of full worth
	Claims    []Claim
	Proposal  Proposal
	Unknowns  []string // what the adviser would have to know; shown, never used
	Narrative string   // sentences with {{claim}} references
	Raw       canon.Digest
}

// Claim is one typed statement. Kind says what the fields hold.
type Claim struct {
	ID       string // c1, c2, …
	Kind     string
	About    string
	Package  string
	Source   string
	Version  string
	Value    string
	AsOf     int64    // Unix seconds; 0: not said
	Evidence []string // ids of the dossier
	Quotes   []Quote
}

// Quote is a span of the bytes of a piece of evidence.
type Quote struct {
	Evidence string
	From, To int64 // bytes From up to and without To
}

// Proposal is what an adviser would do.
type Proposal struct {
	Action  string   // keep, hold or escalate
	Order   []string // keys of all items of one class, or none
	Because []string // ids of claims
}

// ParseAnswer reads the bytes that an adviser returned. It takes every key
// exactly once and no other; what the claims say is Verify's to judge. The error
// is ErrForm with the place.
func ParseAnswer(raw []byte) (Answer, error) {
	if len(raw) > MaxAnswer {
		return Answer{}, bad("an answer of %d bytes, the limit is %d", len(raw), MaxAnswer)
	}
	r := reader{Doc: strictjson.Of(raw), raw: raw}
	var a Answer
	err := r.Whole(func() error { return r.answer(&a) })
	var at *strictjson.Syntax
	if errors.As(err, &at) {
		return Answer{}, bad("the answer, at byte %d: %s", at.Offset, at.Reason)
	}
	if err == nil && a.Abstain && (len(a.Claims) > 0 || a.Proposal.Action != Keep || len(a.Proposal.Order) > 0) {
		err = bad("the answer abstains and yet says something: an abstention has no claims, no order and keeps the plan")
	}
	a.Raw = canon.SumFile(raw)
	return a, err
}

// reader reads an answer.
type reader struct {
	strictjson.Doc
	raw []byte
}

// array reads an array; null is none.
func (r *reader) array(most int, item func() error) error {
	if r.Peek() != '[' {
		return r.Fail("an array was expected")
	}
	return r.Array(most, item)
}

// exactly reads an object with just these keys.
func (r *reader) exactly(members map[string]func() error) error {
	seen := 0
	err := r.Members(len(members), func(key string) error {
		read := members[key]
		if read == nil {
			return r.Fail("there is no key %+q here", key)
		}
		seen++
		return read()
	})
	if err == nil && seen < len(members) {
		missing := []string{}
		for key := range members {
			missing = append(missing, key)
		}
		slices.Sort(missing)
		return r.Fail("%d of the keys %q are missing", len(members)-seen, missing)
	}
	return err
}

func (r *reader) text(to *string, limit int) func() error {
	return func() (err error) { *to, err = r.Str(limit); return err }
}

func (r *reader) flag(to *bool) func() error {
	return func() error {
		if *to = r.Peek() == 't'; *to {
			return r.Word("true")
		}
		return r.Word("false")
	}
}

// number reads an integer from 0 to 2^53-1.
func (r *reader) number(to *int64) func() error {
	return func() error {
		r.Peek()
		start := r.At()
		if err := r.Skip(); err != nil {
			return err
		}
		text := string(r.raw[start:r.At()])
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > canon.MaxInt {
			return r.Fail("%.40q is no integer from 0 to 2^53-1", text)
		}
		*to = n
		return nil
	}
}

func (r *reader) list(to *[]string, most, limit int) func() error {
	return func() error {
		*to = []string{}
		return r.array(most, func() error {
			s, err := r.Str(limit)
			*to = append(*to, s)
			return err
		})
	}
}

func (r *reader) answer(a *Answer) error {
	var kind, dossier string
	err := r.exactly(map[string]func() error{
		"type": r.text(&kind, maxField), "dossier": r.text(&dossier, maxField), "abstain": r.flag(&a.Abstain),
		"claims": func() error {
			return r.array(MaxClaims, func() error {
				a.Claims = append(a.Claims, Claim{})
				return r.claim(&a.Claims[len(a.Claims)-1])
			})
		},
		"proposal": func() error {
			p := &a.Proposal
			return r.exactly(map[string]func() error{"action": r.text(&p.Action, maxField),
				"order": r.list(&p.Order, MaxOrder, maxField), "because": r.list(&p.Because, MaxClaims, maxField)})
		},
		"unknowns": r.list(&a.Unknowns, MaxUnknowns, maxField), "narrative": r.text(&a.Narrative, maxNarrative),
	})
	a.Dossier = canon.Digest(dossier)
	if err == nil && kind != TypeAnswer {
		return r.Fail("type %+q, not %q", kind, TypeAnswer)
	}
	return err
}

func (r *reader) claim(c *Claim) error {
	return r.exactly(map[string]func() error{
		"id": r.text(&c.ID, maxField), "kind": r.text(&c.Kind, maxField), "about": r.text(&c.About, maxField), "package": r.text(&c.Package, maxField),
		"source": r.text(&c.Source, maxField), "version": r.text(&c.Version, maxField), "value": r.text(&c.Value, maxField), "as_of": r.number(&c.AsOf),
		"evidence": r.list(&c.Evidence, MaxCited, maxField),
		"quotes": func() error {
			return r.array(MaxCited, func() error {
				var q Quote
				err := r.exactly(map[string]func() error{"evidence": r.text(&q.Evidence, maxField), "from": r.number(&q.From), "to": r.number(&q.To)})
				c.Quotes = append(c.Quotes, q)
				return err
			})
		},
	})
}
