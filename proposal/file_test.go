package proposal

import (
	"errors"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/version"
)

// sum is a digest for tests.
func sum(text string) canon.Digest { return canon.SumFile([]byte(text)) }

// chain is what was shown about one version of the test's package.
func chain(v string) provenance.Chain {
	c := provenance.Entry{}.Chain()
	c.Origin, c.Package, c.Arch, c.Version, c.Artefact, c.Size = "vendor", "tool", "amd64", v, sum(v), 100
	return c
}

// request is the smallest plan: one host, one upgrade that answers one finding.
func request() Request {
	forth := change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: "tool", Arch: "amd64", From: "1.0-1", To: "1.1-1",
		Artefact: sum("1.1-1"), Size: 100, Origin: "vendor", Class: change.Routine}
	back := forth
	back.Op, back.From, back.To, back.Artefact, back.Class = change.Downgrade, "1.1-1", "1.0-1", sum("1.0-1"), change.Critical
	old, in := artefact.Contents{Package: "tool", Arch: "amd64", Version: "1.0-1"}, artefact.Contents{Package: "tool", Arch: "amd64", Version: "1.1-1"}
	return Request{
		Nonce: string(sum("nonce")), Author: "p-1", Created: 1000, Expires: 2000, Waves: []plan.Wave{{NotBefore: 1000, Good: 1}},
		Facts: []Fact{{Package: "tool", Arch: "amd64", From: "1.0-1", To: "1.1-1", Source: "tool", SourceVersion: "1.1-1", Class: change.Routine,
			Reasons: []artefact.Reason{}, Diff: artefact.Compare(&old, in), Breaks: []artefact.Break{}, Chain: chain("1.1-1"), Back: chain("1.0-1")}},
		Hosts: []HostRequest{{ID: sum("host"), Inventory: sum("inventory"), Changes: []change.Change{forth}, Back: []change.Change{back},
			Findings: []match.Finding{{Advisory: "CVE-2026-1", Package: "tool", Arch: "amd64", State: match.Affected, Fixed: "1.1-1",
				Sources: []match.Source{{State: match.Affected, Authority: advisory.Distribution}}}}}},
	}
}

func file(t testing.TB) File {
	t.Helper()
	h, branches, d, err := New(request())
	if err != nil {
		t.Fatal(err)
	}
	return NewFile(h, branches, d)
}

func TestAPlanFileOpensAsItWasWritten(t *testing.T) {
	f := file(t)
	got, err := ReadFile(f.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Bytes()) != string(f.Bytes()) || got.Header.Digest() != f.Header.Digest() {
		t.Error("another plan came back")
	}
	if c := got.Dossier.Hosts[0].Causes[0]; c.Key != "tool:amd64" || len(c.Advisories) != 1 || c.Advisories[0] != "CVE-2026-1" {
		t.Errorf("cause %+v", c)
	}
}

// TestAnAuthorCannotTellAnotherStory: even who writes header and dossier anew
// cannot make the dossier speak of other changes than are signed.
func TestAnAuthorCannotTellAnotherStory(t *testing.T) {
	for name, edit := range map[string]func(*Dossier){
		"a milder class":     func(d *Dossier) { d.Artefacts[0].Class = change.Sensitive },
		"other bytes":        func(d *Dossier) { d.Artefacts[0].Chain.Artefact = sum("other") },
		"another origin":     func(d *Dossier) { d.Artefacts[0].Chain.Origin = "elsewhere" },
		"another size":       func(d *Dossier) { d.Artefacts[0].Chain.Size = 99 },
		"other bytes back":   func(d *Dossier) { d.Artefacts[0].Back.Artefact = sum("other") },
		"a fact twice":       func(d *Dossier) { d.Artefacts = append(d.Artefacts, d.Artefacts[0]) },
		"no fact":            func(d *Dossier) { d.Artefacts = d.Artefacts[:0] },
		"another host":       func(d *Dossier) { d.Hosts[0].ID = sum("another") },
		"no host":            func(d *Dossier) { d.Hosts = d.Hosts[:0] },
		"no cause":           func(d *Dossier) { d.Hosts[0].Causes = d.Hosts[0].Causes[:0] },
		"a cause of another": func(d *Dossier) { d.Hosts[0].Causes[0].Key = "other:amd64" },
	} {
		t.Run(name, func(t *testing.T) {
			f := file(t)
			edit(&f.Dossier)
			if _, err := ReadFile(f.Bytes()); !errors.Is(err, plan.ErrForm) {
				t.Errorf("under the old header: %v", err)
			}
			f.Header.Dossier = f.Dossier.Digest()
			if _, err := ReadFile(f.Bytes()); !errors.Is(err, plan.ErrForm) {
				t.Errorf("under a header of its own: %v", err)
			}
		})
	}
	f := file(t)
	f.Type = "patchwrit/planfile/v2"
	if _, err := ReadFile(f.Bytes()); !errors.Is(err, plan.ErrForm) {
		t.Errorf("another type: %v", err)
	}
}

func TestTextNeverCreatesWork(t *testing.T) {
	for name, edit := range map[string]func(*match.Finding){
		"unknown":         func(f *match.Finding) { f.State = match.Unknown },
		"not affected":    func(f *match.Finding) { f.State = match.NotAffected },
		"another package": func(f *match.Finding) { f.Package = "other" },
		"no fix":          func(f *match.Finding) { f.Fixed = "" },
		"a later fix":     func(f *match.Finding) { f.Fixed = "1.2-1" },
	} {
		r := request()
		edit(&r.Hosts[0].Findings[0])
		if _, _, _, err := New(r); !errors.Is(err, ErrNoCause) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadFile(f *testing.F) {
	good := string(file(f).Bytes())
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, "tool", "fool", 1)))
	f.Add([]byte(`{"type":"patchwrit/planfile/v1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := ReadFile(raw)
		if err == nil && string(got.Bytes()) != string(raw) {
			t.Errorf("two spellings of one plan")
		}
	})
}
