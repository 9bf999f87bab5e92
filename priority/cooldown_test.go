package priority

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/change"
)

var waits = []Wait{
	{"debian-security", change.Routine, 2 * day, 0},
	{"debian-security", change.Sensitive, 5 * day, day},
	{"debian", change.Routine, 7 * day, 3 * day},
}

const cve = "CVE-2026-0001"

var (
	kevSays    = Voice{Kind: VoiceKEV, By: "CISA", CVE: cve}
	vendorSays = Voice{Kind: VoiceSigned, By: "debian-security", CVE: cve}
)

func cooldowns(t testing.TB) Cooldowns {
	c, err := NewCooldowns(waits)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOnlyIndependentCorroborationShortens(t *testing.T) {
	other := func(v Voice, f func(*Voice)) Voice { f(&v); return v }
	for name, c := range map[string]struct {
		voices []Voice
		short  bool
	}{
		"nobody":                  {nil, false},
		"KEV alone":               {[]Voice{kevSays}, false},
		"the vendor alone":        {[]Voice{vendorSays}, false},
		"KEV and the vendor":      {[]Voice{vendorSays, kevSays}, true},
		"KEV twice":               {[]Voice{kevSays, kevSays}, false},
		"of another CVE":          {[]Voice{kevSays, other(vendorSays, func(v *Voice) { v.CVE = "CVE-2026-0002" })}, false},
		"another CVE, both":       {[]Voice{other(kevSays, func(v *Voice) { v.CVE = "CVE-2026-0002" }), other(vendorSays, func(v *Voice) { v.CVE = "CVE-2026-0002" })}, false},
		"another vendor":          {[]Voice{kevSays, other(vendorSays, func(v *Voice) { v.By = "nginx" })}, false},
		"the vendor, as KEV":      {[]Voice{vendorSays, other(kevSays, func(v *Voice) { v.By = "debian-security" })}, false},
		"a label":                 {[]Voice{{Kind: "label", By: "debian-security", CVE: cve}, {Kind: "label", By: "CISA", CVE: cve}}, false},
		"a label, advice and KEV": {[]Voice{kevSays, {Kind: "label", By: "debian-security", CVE: cve}, {Kind: "advice", By: "debian-security", CVE: cve}, {Kind: "Kev", By: "x", CVE: cve}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := cooldowns(t).Hold(Artefact{"debian-security", change.Sensitive, now, []string{"CVE-2025-9999", cve}}, c.voices)
			want := int64(now + 5*day)
			if c.short {
				want = now + day
			}
			if h.Until != want || h.Shortened != c.short || (len(h.Counted) == 2) != c.short || len(h.Counted)+len(h.Ignored) != len(c.voices) {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestEachOriginAndClassHasItsWait(t *testing.T) {
	for _, c := range []struct {
		origin change.Origin
		class  change.Class
		days   int64
	}{
		{"debian-security", change.Routine, 2}, {"debian-security", change.Sensitive, 5}, {"debian", change.Routine, 7},
		{"debian-security", change.Critical, 7}, {"debian", change.Sensitive, 7}, {"ubuntu", change.Routine, 7}, {"debian", "harmless", 7},
	} {
		h := cooldowns(t).Hold(Artefact{c.origin, c.class, now, []string{cve}}, nil)
		if h.Until != now+c.days*day {
			t.Errorf("%s %s: %d days", c.origin, c.class, (h.Until-now)/day)
		}
	}
	// without a rule of its own nothing shortens
	if h := cooldowns(t).Hold(Artefact{"debian-security", change.Critical, now, []string{cve}}, []Voice{kevSays, vendorSays}); h.Shortened || h.Until != now+7*day {
		t.Errorf("%+v", h)
	}
	if h := (Cooldowns{}).Hold(Artefact{"debian-security", change.Routine, now, []string{cve}}, []Voice{kevSays, vendorSays}); h.Until != now+maxWait {
		t.Errorf("the zero value: %+v", h)
	}
}

func TestCooldownsAreChecked(t *testing.T) {
	for name, w := range map[string][]Wait{
		"none":             nil,
		"no origin":        {{"", change.Routine, 1, 0}},
		"an unknown class": {{"debian", "security", 1, 0}},
		"twice":            {waits[0], waits[1], {"debian-security", change.Routine, 9, 9}},
		"below zero":       {{"debian", change.Routine, 1, -1}},
		"longer when true": {{"debian", change.Routine, 1, 2}},
		"longer than ever": {{"debian", change.Routine, maxWait + 1, 2}},
	} {
		if _, err := NewCooldowns(w); !errors.Is(err, ErrCooldown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is said, by however many: without both parties on one CVE that is
// fixed, not a second is taken off; and nothing is ever taken off beyond the rule.
func TestNoChorusShortensAWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cves := rapid.SampledFrom([]string{cve, "CVE-2026-0002", "CVE-2026-0003", ""})
		voices := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Voice {
			return Voice{Kind: rapid.SampledFrom([]VoiceKind{VoiceKEV, VoiceSigned, "label", "advice", "ticket", ""}).Draw(t, "kind"),
				By: rapid.SampledFrom([]string{"CISA", "debian-security", "debian", ""}).Draw(t, "by"), CVE: cves.Draw(t, "cve")}
		})).Draw(t, "voices")
		a := Artefact{"debian-security", change.Routine, now, []string{cve, "CVE-2026-0002"}}
		h := must(NewCooldowns(waits)).Hold(a, voices)
		both := slices.ContainsFunc(a.Fixes, func(id string) bool {
			return slices.ContainsFunc(voices, func(v Voice) bool { return v.CVE == id && v.Kind == VoiceKEV && v.By != "debian-security" }) &&
				slices.Contains(voices, Voice{Kind: VoiceSigned, By: "debian-security", CVE: id})
		})
		if h.Shortened != both || !both && h.Until != now+2*day || both && h.Until != now {
			t.Fatalf("%+v", h)
		}
	})
}

func must(c Cooldowns, err error) Cooldowns {
	if err != nil {
		panic(err)
	}
	return c
}
