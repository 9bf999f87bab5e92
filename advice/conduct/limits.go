package conduct

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// TypeLimits is the type and digest domain of Limits.
const TypeLimits = "patchwrit/advicelimits/v1"

// MaxLimits is how many bytes a document of limits may have.
const MaxLimits = 16 << 10

// ErrLimits says that limits are not taken, and why.
var ErrLimits = errors.New("the limits on a model's conduct are not taken")

// CodeLimits refuses rules whose limits cannot be read, before they are in force.
const CodeLimits refusal.Code = "PW-POLICY-LIMITS"

// Ruled says why the limits that rules give as advice_limits, nil for none, would not
// hold, or nil; unheard are the places of others, at which nobody looks. What is in
// force already is told and not refused: it decides about plans.
func Ruled(raw []byte, unheard []string) error {
	if len(unheard) > 0 {
		return refusal.New(CodeLimits, "advice_limits stands in %s; only a rule of package patchwrit is looked at, and its value is a constant", strings.Join(unheard, ", "))
	}
	if len(raw) == 0 {
		return nil
	}
	if _, err := ParseLimits(raw); err != nil {
		return refusal.New(CodeLimits, "advice_limits: %v", err)
	}
	return nil
}

// Limits are the thresholds of Watch, Known and Gate. Rates, and what compares
// distributions, are parts per million.
type Limits struct {
	Type string `json:"type"`

	Base   int `json:"base"`   // cases of a model's first time that later ones are held to
	Window int `json:"window"` // newest cases that are held to them
	Sigmas int `json:"sigmas"` // thousandths of a standard error beyond which a change is no chance

	// Below these counts, on either side, nothing alarms.
	Cases   int `json:"cases"`
	Claims  int `json:"claims"`
	Orders  int `json:"orders"`  // one after the other, with a component that is first in none
	Plans   int `json:"plans"`   // in effect, of one class and segment; of the newest in each half
	Answers int `json:"answers"` // of people, to what the model brought before them

	VerifiedFall     int `json:"verified_fall"`     // of the rate of claims
	ContradictedRise int `json:"contradicted_rise"` // of the rate of claims
	AbstainedRise    int `json:"abstained_rise"`    // of the rate of cases
	DisagreedRise    int `json:"disagreed_rise"`    // of the rate of cases
	MisjudgedRise    int `json:"misjudged_rise"`    // of the rate of cases whose plan has ended
	Overridden       int `json:"overridden"`        // the rate of people's answers itself
	PSI              int `json:"psi"`               // population stability index, of inputs and of verdicts
	JS               int `json:"js"`                // Jensen-Shannon divergence of actions, in bits
	Faster           int `json:"faster"`            // ratio of medians of time to patch, against the others of its class
	Slower           int `json:"slower"`            // likewise
	Bin              int `json:"bin"`               // what has a smaller share of the base is counted together

	Seen int `json:"seen"` // cases of the base with an OS, vendor or class, without which it is not known; 0: all is known

	// Of promotion, by the cases of the level that a model has.
	PromoteCases        int `json:"promote_cases"`        // answered, with claims enough in all, and out of shadow no fewer than Cases; 0: the house wants no trial
	PromoteVerified     int `json:"promote_verified"`     // least rate of claims, in every segment with enough of them
	PromoteContradicted int `json:"promote_contradicted"` // most, likewise
	PromoteParity       int `json:"promote_parity"`       // how far a segment's verified rate may be below that of all
}

// Default are the limits where the rules name none. Those of notes that we started
// from are proposals, not measured in any fleet; the counts and sigmas are ours, so
// that what does not change practically never alarms (docs/ADVICE.md).
var Default = Limits{Type: TypeLimits, Base: 200, Window: 200, Sigmas: 4500,
	Cases: 30, Claims: 200, Orders: 30, Plans: 15, Answers: 30,
	VerifiedFall: 50_000, ContradictedRise: 50_000, AbstainedRise: 100_000, DisagreedRise: 100_000, MisjudgedRise: 100_000, Overridden: 650_000,
	PSI: 250_000, JS: 100_000, Faster: 800_000, Slower: 1_250_000, Bin: 50_000, Seen: 5,
	PromoteCases: 200, PromoteVerified: 900_000, PromoteContradicted: 50_000, PromoteParity: 50_000}

// limit is one key of the document, and between what it lies.
type limit struct {
	key         string
	value       *int
	least, most int
}

func (l *Limits) all() []limit {
	return []limit{
		{"base", &l.Base, 1, 10_000}, {"window", &l.Window, 1, 10_000}, {"sigmas", &l.Sigmas, 1000, 8000},
		{"cases", &l.Cases, 1, 10_000}, {"claims", &l.Claims, 1, 1_000_000}, {"orders", &l.Orders, 1, 10_000},
		{"plans", &l.Plans, 1, 10_000}, {"answers", &l.Answers, 1, 10_000},
		{"verified_fall", &l.VerifiedFall, 1, Million}, {"contradicted_rise", &l.ContradictedRise, 1, Million},
		{"abstained_rise", &l.AbstainedRise, 1, Million}, {"disagreed_rise", &l.DisagreedRise, 1, Million}, {"misjudged_rise", &l.MisjudgedRise, 1, Million}, {"overridden", &l.Overridden, 1, Million},
		{"psi", &l.PSI, 1, 100 * Million}, {"js", &l.JS, 1, Million}, {"faster", &l.Faster, 1, Million}, {"slower", &l.Slower, Million, 100 * Million},
		{"bin", &l.Bin, 1, Million / 2}, {"seen", &l.Seen, 0, 10_000},
		{"promote_cases", &l.PromoteCases, 0, 1_000_000}, {"promote_verified", &l.PromoteVerified, 1, Million},
		{"promote_contradicted", &l.PromoteContradicted, 0, Million}, {"promote_parity", &l.PromoteParity, 0, Million},
	}
}

// ParseLimits reads an object of limits, as a rule gives it: each key at most once
// and no other; what is not named stays as in Default. The error is ErrLimits.
func ParseLimits(raw []byte) (Limits, error) {
	if len(raw) > MaxLimits {
		return Limits{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrLimits, len(raw), MaxLimits)
	}
	l, d := Default, strictjson.Of(raw)
	known := l.all()
	err := d.Whole(func() error {
		if d.Peek() != '{' {
			return d.Fail("an object of limits was expected")
		}
		return d.Members(len(known)+1, func(key string) error {
			if key == "type" {
				return readType(&d)
			}
			i := slices.IndexFunc(known, func(k limit) bool { return k.key == key })
			if i < 0 {
				return d.Fail("there is no limit %+q; there are %s", key, keysOf(known))
			}
			return known[i].read(&d, raw)
		})
	})
	var at *strictjson.Syntax
	if errors.As(err, &at) {
		return Limits{}, fmt.Errorf("%w: at byte %d: %s", ErrLimits, at.Offset, at.Reason)
	}
	if err == nil {
		err = l.whole()
	}
	if err != nil {
		return Limits{}, err
	}
	return l, nil
}

func keysOf(known []limit) string {
	out := []string{}
	for _, k := range known {
		out = append(out, k.key)
	}
	return strings.Join(out, ", ")
}

func readType(d *strictjson.Doc) error {
	s, err := d.Str(len(TypeLimits))
	if err == nil && s != TypeLimits {
		return d.Fail("type %+q, not %q", s, TypeLimits)
	}
	return err
}

func (k limit) read(d *strictjson.Doc, raw []byte) error {
	d.Peek()
	from := d.At()
	if err := d.Skip(); err != nil {
		return err
	}
	text := string(raw[from:d.At()])
	n, err := strconv.Atoi(text)
	if err != nil || n < k.least || n > k.most || text != strconv.Itoa(n) {
		return d.Fail("%s is %.40q; it is an integer from %d to %d", k.key, text, k.least, k.most)
	}
	*k.value = n
	return nil
}

// whole says whether the limits can alarm at all: a count that no base or window
// can reach would turn a measure off without a word.
func (l Limits) whole() error {
	for _, k := range []limit{{"cases", &l.Cases, 0, 0}, {"orders", &l.Orders, 0, 0}, {"answers", &l.Answers, 0, 0}, {"seen", &l.Seen, 0, 0}} {
		if *k.value > min(l.Base, l.Window) {
			return fmt.Errorf("%w: %s is %d, more than base (%d) or window (%d) holds: it could never be reached", ErrLimits, k.key, *k.value, l.Base, l.Window)
		}
	}
	if l.Claims > advice.MaxClaims*min(l.Base, l.Window) {
		return fmt.Errorf("%w: claims is %d, more than the answers of base (%d) or window (%d) can hold: it could never be reached", ErrLimits, l.Claims, l.Base, l.Window)
	}
	if 2*l.Plans > l.Window || l.Plans > l.Base {
		return fmt.Errorf("%w: plans is %d, twice of it more than window (%d), or more than base (%d): it could never be reached", ErrLimits, l.Plans, l.Window, l.Base)
	}
	return nil
}

// Digest names the limits.
func (l Limits) Digest() canon.Digest { return canon.Sum(TypeLimits, canon.MustEncode(l)) }
