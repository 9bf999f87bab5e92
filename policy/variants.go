package policy

import (
	"slices"
	"strconv"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// Variant is an input that differs from another in one fact only, the same on
// every host or artefact of the plan.
type Variant struct {
	Fact  string // name in Facts, or breaks, freeze, grant, network
	From  string // "mixed" where hosts differ, "unknown" for ""
	To    string
	Input Input
}

// known names "" for people.
func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

var answers = []string{No, Yes}

// hostFacts is the closed list of host facts that Variants sets.
var hostFacts = []struct {
	name   string
	values []string
	at     func(*HostFacts) *string
}{
	{"automatable", answers, func(h *HostFacts) *string { return &h.Automatable.Is }},
	{"deadline", Deadlines, func(h *HostFacts) *string { return &h.Deadline.Is }},
	{"exposed", answers, func(h *HostFacts) *string { return &h.Exposed.Is }},
	{"kev", answers, func(h *HostFacts) *string { return &h.KEV.Is }},
	{"level", Levels, func(h *HostFacts) *string { return &h.Level.Is }},
	{"must_patch", answers, func(h *HostFacts) *string { return &h.MustPatch.Is }},
	{"reboot", answers, func(h *HostFacts) *string { return &h.Reboot.Is }},
	{"total", answers, func(h *HostFacts) *string { return &h.Total.Is }},
	{"triage", Triages, func(h *HostFacts) *string { return &h.Triage.Is }},
	{"windowed", answers, func(h *HostFacts) *string { return &h.Windowed.Is }},
}

var artefactFacts = []struct {
	name string
	at   func(*ArtefactFacts) *string
}{
	{"core", func(a *ArtefactFacts) *string { return &a.Core.Is }},
	{"corroborated", func(a *ArtefactFacts) *string { return &a.Corroborated.Is }},
	{"downgrade", func(a *ArtefactFacts) *string { return &a.Downgrade.Is }},
	{"major", func(a *ArtefactFacts) *string { return &a.Major.Is }},
	{"new_origin", func(a *ArtefactFacts) *string { return &a.NewOrigin.Is }},
	{"new_publisher", func(a *ArtefactFacts) *string { return &a.NewPublisher.Is }},
	{"new_script", func(a *ArtefactFacts) *string { return &a.NewScript.Is }},
	{"new_vendor", func(a *ArtefactFacts) *string { return &a.NewVendor.Is }},
}

// Variants are the inputs that differ from in in exactly one fact of the closed
// list. There are at most 65, in one order.
func Variants(in Input) []Variant {
	out := []Variant{}
	add := func(name, from, to string, edit func(*Input)) {
		if from == to {
			return
		}
		v := in
		v.Facts.Hosts, v.Facts.Artefacts = slices.Clone(in.Facts.Hosts), slices.Clone(in.Facts.Artefacts)
		edit(&v)
		out = append(out, Variant{name, known(from), known(to), v})
	}
	for _, f := range hostFacts {
		from := common(in.Facts.Hosts, func(h HostFacts) string { return *f.at(&h) })
		for _, to := range f.values {
			add(f.name, from, to, func(v *Input) { each(v.Facts.Hosts, func(h *HostFacts) { *f.at(h) = to }) })
		}
	}
	for _, f := range artefactFacts {
		from := common(in.Facts.Artefacts, func(a ArtefactFacts) string { return *f.at(&a) })
		for _, to := range answers {
			add(f.name, from, to, func(v *Input) { each(v.Facts.Artefacts, func(a *ArtefactFacts) { *f.at(a) = to }) })
		}
	}
	tags := common(in.Facts.Hosts, func(h HostFacts) string { return join(h.Data) })
	for _, to := range Tags {
		add("data", tags, to, func(v *Input) { each(v.Facts.Hosts, func(h *HostFacts) { h.Data = []string{to} }) })
	}
	moments := map[string]int64{"none": 0, "past": max(in.At-1, 0), "future": in.At + 86400}
	for _, to := range []string{"none", "past", "future"} {
		add("due", common(in.Facts.Hosts, func(h HostFacts) string { return moment(h.Due, in.At) }), to,
			func(v *Input) { each(v.Facts.Hosts, func(h *HostFacts) { h.Due = moments[to] }) })
		add("cooldown", common(in.Facts.Artefacts, func(a ArtefactFacts) string { return moment(a.Cooldown, in.At) }), to,
			func(v *Input) { each(v.Facts.Artefacts, func(a *ArtefactFacts) { a.Cooldown = moments[to] }) })
	}
	for _, n := range []int64{0, 3} {
		add("deferred", common(in.Facts.Hosts, func(h HostFacts) string { return strconv.FormatInt(h.Deferred, 10) }), strconv.FormatInt(n, 10),
			func(v *Input) { each(v.Facts.Hosts, func(h *HostFacts) { h.Deferred = n }) })
	}
	beside(in, add)
	return out
}

// someGrant stands for a grant that nobody wrote.
var someGrant = canon.SumFile([]byte("a grant"))

// beside adds what can be changed beside facts: the grant, the network that
// maintainer scripts want, programs that would break, and the keepers' freezes.
func beside(in Input, add func(name, from, to string, edit func(*Input))) {
	grant, network, breaks, frozen := "none", No, "none", "none"
	if in.Grant != "" {
		grant = "named"
	}
	if slices.ContainsFunc(in.Branches, func(b plan.Branch) bool { return b.Network }) {
		network = Yes
	}
	if slices.ContainsFunc(in.Dossier.Artefacts, func(f proposal.Fact) bool { return len(f.Breaks) > 0 }) {
		breaks = "some"
	}
	freeze := func(l trust.Label) bool { return l.Key == "freeze_until" }
	if slices.ContainsFunc(in.Hosts, func(h Host) bool { return slices.ContainsFunc(h.Labels, freeze) }) {
		frozen = "some"
	}
	add("grant", grant, "none", func(v *Input) { v.Grant = "" })
	add("grant", grant, "named", func(v *Input) { v.Grant = someGrant })
	for _, to := range answers {
		add("network", network, to, func(v *Input) {
			v.Branches = slices.Clone(v.Branches)
			each(v.Branches, func(b *plan.Branch) { b.Network = to == Yes })
		})
	}
	add("breaks", breaks, "none", func(v *Input) {
		v.Dossier.Artefacts = slices.Clone(v.Dossier.Artefacts)
		each(v.Dossier.Artefacts, func(f *proposal.Fact) { f.Breaks = []artefact.Break{} })
	})
	add("freeze", frozen, "none", func(v *Input) {
		v.Hosts = slices.Clone(v.Hosts)
		each(v.Hosts, func(h *Host) {
			h.Labels = append([]trust.Label{}, slices.DeleteFunc(slices.Clone(h.Labels), freeze)...)
		})
	})
}

func moment(t, at int64) string {
	switch {
	case t == 0:
		return "none"
	case t <= at:
		return "past"
	}
	return "future"
}

func join(tags []string) string {
	out := ""
	for i, t := range tags {
		if i > 0 {
			out += "+"
		}
		out += t
	}
	return out
}

func each[T any](list []T, edit func(*T)) {
	for i := range list {
		edit(&list[i])
	}
}

func common[T any](list []T, of func(T) string) string {
	for i, x := range list {
		if of(x) != of(list[0]) {
			return "mixed"
		}
		if i == len(list)-1 {
			return of(x)
		}
	}
	return ""
}
