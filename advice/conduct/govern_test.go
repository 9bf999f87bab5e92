package conduct_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// TestPromotionIsOneStep: each row breaks one thing.
func TestPromotionIsOneStep(t *testing.T) {
	d := canon.SumFile([]byte("x"))
	good := conduct.Promotion{Type: conduct.TypePromotion, Nonce: strings.Repeat("0a", 32), Author: "ada", Created: 100, Expires: 100 + conduct.MaxPromotion,
		Model: d, Registration: d, From: conduct.Shadow, To: conduct.Show, Limits: d, Note: "why"}
	for name, x := range map[string]struct {
		change func(*conduct.Promotion)
		why    string
	}{
		"as it is":               {func(p *conduct.Promotion) {}, ""},
		"the second step":        {func(p *conduct.Promotion) { p.From, p.To = conduct.Show, conduct.Hold }, ""},
		"another type":           {func(p *conduct.Promotion) { p.Type = conduct.TypeDemotion }, "type"},
		"a short nonce":          {func(p *conduct.Promotion) { p.Nonce = "0a" }, "nonce of 2 characters"},
		"no author":              {func(p *conduct.Promotion) { p.Author = "" }, "author"},
		"no model":               {func(p *conduct.Promotion) { p.Model = "" }, "by their digests"},
		"no registration":        {func(p *conduct.Promotion) { p.Registration = "x" }, "by their digests"},
		"no limits":              {func(p *conduct.Promotion) { p.Limits = "" }, "by their digests"},
		"two steps":              {func(p *conduct.Promotion) { p.To = conduct.Hold }, "is not one step on"},
		"no step":                {func(p *conduct.Promotion) { p.To = conduct.Shadow }, "is not one step on"},
		"a step back":            {func(p *conduct.Promotion) { p.From, p.To = conduct.Hold, conduct.Show }, "is not one step on"},
		"above the most":         {func(p *conduct.Promotion) { p.From, p.To = conduct.Hold, conduct.Hold }, "is not one step on"},
		"from what is no level":  {func(p *conduct.Promotion) { p.From = "" }, "is not one step on"},
		"made at no time":        {func(p *conduct.Promotion) { p.Created, p.Expires = 0, 9 }, "it lives from"},
		"over when it is made":   {func(p *conduct.Promotion) { p.Expires = 100 }, "it lives from"},
		"too long":               {func(p *conduct.Promotion) { p.Expires++ }, "the most is 7 days"},
		"what cannot be written": {func(p *conduct.Promotion) { p.Note = "\u00e4" }, "canonical"},
	} {
		p := good
		x.change(&p)
		err := p.Valid()
		if (err == nil) != (x.why == "") || err != nil && (!strings.Contains(err.Error(), x.why) || refusal.CodeOf(err) != conduct.CodePromotion) {
			t.Errorf("%s: %v, want %q", name, err, x.why)
		}
	}
}

// TestAlarmsTakeOneStep: never two, none without an alarm, none from the least.
func TestAlarmsTakeOneStep(t *testing.T) {
	alarms, cases := []conduct.Alarm{{Text: "It lies."}, {Text: "It waits."}}, run(3, nil)
	cases = append(cases, cases[0])
	for from, to := range map[conduct.Say]conduct.Say{conduct.Hold: conduct.Show, conduct.Show: conduct.Shadow, conduct.Shadow: "", "all": conduct.Shadow} {
		d, ok := conduct.Demoted("m", from, alarms, cases, conduct.Default, 7)
		if ok != (to != "") || d.To != to {
			t.Errorf("from %q: %v %+v", from, ok, d)
		}
		if ok && (d.Why != "It lies." || len(d.Alarms) != 2 || len(d.Cases) != 3 || !slices.IsSorted(d.Cases) || d.Limits != conduct.Default.Digest() || d.By != conduct.ByWatch || d.At != 7) {
			t.Errorf("from %q: %+v", from, d)
		}
		if d, ok := conduct.Demoted("m", from, nil, cases, conduct.Default, 7); ok {
			t.Errorf("from %q without an alarm: %+v", from, d)
		}
	}
}
