package policy

import (
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// Case is an input with what is particular about it.
type Case struct {
	Name  string
	Input Input
}

// corpusAt is the time of every systematic input.
const corpusAt = 1_767_600_000

// corpusHost is the host of every systematic input.
var corpusHost = trust.HostID(strings.Repeat("1a", 32))

func signedBy(key string) []string { return []string{strings.Repeat(key, 20)} }

// plainInput is a plan that the standard rules let run by itself: one host, one
// routine upgrade that an advisory asks for, under a grant, nothing against it.
func plainInput() Input {
	is := func(s string) Answer { return Answer{s, "corpus"} }
	digest := canon.Digest(strings.Repeat("2b", 32))
	c := change.Change{Op: change.Upgrade, Scheme: "deb", Package: "tool", Arch: "amd64", From: "1.0-1", To: "1.1-1", Artefact: digest, Size: 1000, Origin: "debian-security", Class: change.Routine}
	back := c
	back.Op, back.From, back.To = change.Downgrade, c.To, c.From
	h := plan.Header{Type: plan.TypeHeader, Nonce: strings.Repeat("3c", 32), Author: "p-corpus", Created: corpusAt - 60, Expires: corpusAt + 86400, Generation: 1,
		Dossier: digest, Class: change.Routine, Waves: []plan.Wave{{NotBefore: corpusAt, Hosts: 1, Good: 1}}, Leaves: 1, Tree: digest}
	f := proposal.Fact{Package: c.Package, Arch: c.Arch, From: c.From, To: c.To, Source: "tool", SourceVersion: c.To, Class: change.Routine, Reasons: []artefact.Reason{}, Breaks: []artefact.Break{},
		Diff: artefact.Diff{Type: artefact.TypeDiff, Package: c.Package, Arch: c.Arch, From: c.From, To: c.To, Fields: []artefact.FieldChange{}, Added: []canon.Note{}, Removed: []canon.Note{}, Changed: []canon.Note{},
			Modes: []artefact.ModeChange{}, Rights: []artefact.Right{}, Scripts: []artefact.ScriptChange{}, Conffiles: artefact.Lines{Added: []canon.Note{}, Removed: []canon.Note{}},
			Triggers: artefact.Lines{Added: []canon.Note{}, Removed: []canon.Note{}}, Hooks: []artefact.Hook{}, Libraries: []artefact.LibraryChange{}, Needed: []artefact.NeededChange{}, Unread: []canon.Note{}, Cut: []string{}}}
	f.Chain.Type, f.Chain.Origin, f.Chain.Signers, f.Chain.Package, f.Chain.Version = "patchwrit/chain/v1", c.Origin, signedBy("4d"), c.Package, c.To
	f.Back = f.Chain
	f.Back.Version = c.From
	return Input{Type: TypeInput, At: corpusAt, Plan: h, Grant: digest,
		Branches: []plan.Branch{{Type: plan.TypeBranch, Host: corpusHost, Changes: []change.Change{c}, Rollback: []change.Change{back}}},
		Dossier: proposal.Dossier{Type: proposal.TypeDossier, Artefacts: []proposal.Fact{f},
			Hosts: []proposal.Host{{ID: corpusHost, Inventory: digest, Causes: []proposal.Cause{{Key: c.Key(), Advisories: []string{"CVE-2026-1001"}, Reopens: []string{}}}, Held: []proposal.Held{}}}},
		Hosts: []Host{{ID: corpusHost, Domain: "rack-1", Labels: []trust.Label{{Key: "group", Value: "web"}}}},
		Facts: Facts{
			Hosts: []HostFacts{{ID: corpusHost, Group: "web", Level: Stated{"L4", "corpus"}, Data: []string{"none"}, Exposed: is(No), KEV: is(No), Automatable: is(No), Total: is(No), MustPatch: is(No), Reboot: is(No),
				Deadline: Stated{"60D", "corpus"}, Due: corpusAt + 86400*30, Triage: Stated{"none", "corpus"}, Windowed: is(No), Windows: []Span{}}},
			Artefacts: []ArtefactFacts{{Package: c.Package, Arch: c.Arch, To: c.To, Since: corpusAt - 86400*30, Cooldown: corpusAt - 86400, Corroborated: is(No),
				NewPublisher: is(No), NewScript: is(No), Downgrade: is(No), NewVendor: is(No), NewOrigin: is(No), Major: is(No), Core: is(No)}},
		}}
}

// situations is what the systematic inputs begin from: each turns the plain one
// into something that a rule may look at beside facts.
var situations = []struct {
	name string
	edit func(*Input)
}{
	{"a routine plan under a grant", func(*Input) {}},
	{"without a grant", func(in *Input) { in.Grant = "" }},
	{"class sensitive", func(in *Input) { in.Plan.Class, in.Grant = change.Sensitive, "" }},
	{"class sensitive under a grant", func(in *Input) { in.Plan.Class = change.Sensitive }},
	{"class critical", func(in *Input) { in.Plan.Class, in.Grant = change.Critical, "" }},
	{"one person decides (solo)", func(in *Input) { in.Solo = true }},
	{"no advisory asks for it", func(in *Input) { in.Dossier.Hosts[0].Causes[0].Advisories = []string{} }},
	{"no vendor signature", func(in *Input) { in.Dossier.Artefacts[0].Chain.Signers = []string{} }},
	{"a program would break", func(in *Input) {
		in.Dossier.Artefacts[0].Breaks = []artefact.Break{{Consumer: "/usr/bin/tool", Soname: "libtool.so.1", Missing: []canon.Note{"f"}, Certain: true}}
	}},
	{"a rollback with a reason", func(in *Input) { down(in); in.Grant, in.Dossier.Reason = "", "it broke" }},
	{"it goes down without a reason", func(in *Input) { down(in); in.Grant = "" }},
	{"it goes down under a grant", func(in *Input) { down(in); in.Dossier.Reason = "it broke" }},
	{"a rollback that opens something again", func(in *Input) {
		down(in)
		in.Grant, in.Dossier.Reason, in.Dossier.Hosts[0].Causes[0].Reopens = "", "it broke", []string{"CVE-2026-1001"}
	}},
	{"a removal", func(in *Input) {
		c := &in.Branches[0].Changes[0]
		c.Op, c.To, c.Artefact, c.Size, c.Origin = change.Remove, "", "", 0, ""
	}},
	{"maintainer scripts want the network", func(in *Input) { in.Branches[0].Network = true }},
	{"a host that the trust root does not know", func(in *Input) { in.Hosts[0].Domain, in.Hosts[0].Labels = "", []trust.Label{} }},
	{"a freeze", func(in *Input) { freeze(in, "1767700000") }},
	{"a freeze, and nobody's grant", func(in *Input) { freeze(in, "1767700000"); in.Grant = "" }},
	{"a freeze that is over", func(in *Input) { freeze(in, "1767500000") }},
	{"an open window", func(in *Input) { window(in, Span{corpusAt - 60, corpusAt + 60}) }},
	{"a closed window", func(in *Input) { window(in, Span{corpusAt + 3600, corpusAt + 7200}) }},
	{"a window that nobody can read", func(in *Input) { window(in) }},
	{"a window and a freeze", func(in *Input) { window(in, Span{corpusAt + 3600, corpusAt + 7200}); freeze(in, "1767700000") }},
	{"nothing is known of the host", func(in *Input) { in.Facts.Hosts = []HostFacts{{ID: corpusHost, Data: []string{}, Windows: []Span{}}} }},
	{"the control plane tells nothing of the host", func(in *Input) {
		h := &in.Facts.Hosts[0]
		h.KEV, h.Automatable, h.Total, h.MustPatch, h.Reboot, h.Deadline, h.Triage = Answer{}, Answer{}, Answer{}, Answer{}, Answer{}, Stated{}, Stated{}
		h.Due = 0
	}},
	{"sources of deadlines do not say", func(in *Input) {
		h := &in.Facts.Hosts[0]
		h.Deadline.Is, h.Due, h.Triage = "", 0, Stated{}
	}},
	{"nothing is known of the artefact", func(in *Input) {
		in.Facts.Artefacts = []ArtefactFacts{{Package: "tool", Arch: "amd64", To: "1.1-1"}}
	}},
}

func down(in *Input) {
	c := &in.Branches[0].Changes[0]
	c.Op, c.From, c.To = change.Downgrade, "1.1-1", "1.0-1"
	in.Dossier.Artefacts[0].From, in.Dossier.Artefacts[0].To = c.From, c.To
	in.Facts.Artefacts[0].To, in.Facts.Artefacts[0].Downgrade.Is = c.To, Yes
}

func freeze(in *Input, until string) {
	in.Hosts[0].Labels = []trust.Label{{Key: "freeze_until", Value: until}}
}

func window(in *Input, open ...Span) {
	in.Facts.Hosts[0].Windowed.Is, in.Facts.Hosts[0].Windows = Yes, append([]Span{}, open...)
}

// Corpus is the systematic list of inputs that two bundles are compared over:
// each situation, each with one fact changed (Variants), and for the plainest
// one each two. Given inputs are taken along, each with its variants. The order
// is fixed; there are about 1,600 without given ones.
func Corpus(given ...Case) []Case {
	out := []Case{}
	for i, c := range append(slices.Clone(given), Situations()...) {
		out = append(append(out, c), around(c)...)
		if i == len(given) {
			out = append(out, pairs(c)...)
		}
	}
	return out
}

// Situations are what the systematic inputs begin from: about 25.
func Situations() []Case {
	out := []Case{}
	for _, s := range situations {
		in := plainInput()
		s.edit(&in)
		out = append(out, Case{s.name, in})
	}
	return out
}

func around(c Case) []Case {
	out := []Case{}
	for _, v := range Variants(c.Input) {
		out = append(out, Case{c.Name + ", " + v.Fact + " " + v.To, v.Input})
	}
	return out
}

// pairs are the inputs with two facts changed. The second is one that comes
// later in the list, so that each pair stands once.
func pairs(c Case) []Case {
	out := []Case{}
	rank := map[string]int{}
	for i, v := range Variants(c.Input) {
		if _, seen := rank[v.Fact]; !seen {
			rank[v.Fact] = i
		}
	}
	for _, v := range Variants(c.Input) {
		for _, w := range Variants(v.Input) {
			if rank[w.Fact] > rank[v.Fact] {
				out = append(out, Case{c.Name + ", " + v.Fact + " " + v.To + ", " + w.Fact + " " + w.To, w.Input})
			}
		}
	}
	return out
}
