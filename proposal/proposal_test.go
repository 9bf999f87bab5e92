package proposal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
)

func host(n byte) trust.HostID { return trust.HostID(strings.Repeat(string('a'+rune(n)), 64)) }

func chain(name, v string) provenance.Chain {
	return provenance.Chain{Type: provenance.TypeChain, Origin: "debian-security", Signers: []string{"aa"}, Package: name, Arch: "amd64", Version: v,
		Artefact: canon.SumFile([]byte(name + v)), Size: int64(len(name + v))}
}

func fact(name, from, to string) proposal.Fact {
	return proposal.Fact{Package: name, Arch: "amd64", From: from, To: to, Source: name, SourceVersion: to, Class: change.Routine,
		Reasons: []artefact.Reason{}, Breaks: []artefact.Break{}, Diff: artefact.Compare(&artefact.Contents{}, artefact.Contents{}), Chain: chain(name, to), Back: chain(name, from)}
}

func upgrade(name, from, to string) (forth, back change.Change) {
	forth = change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: name, Arch: "amd64", From: from, To: to, Artefact: chain(name, to).Artefact,
		Size: chain(name, to).Size, Origin: "debian-security", Class: change.Routine}
	back = change.Change{Op: change.Downgrade, Scheme: version.Deb, Package: name, Arch: "amd64", From: to, To: from, Artefact: chain(name, from).Artefact,
		Size: chain(name, from).Size, Origin: "debian-security", Class: change.Critical}
	return forth, back
}

func affected(name, fixed string) match.Finding {
	return match.Finding{Advisory: "CVE-2026-0001", Package: name, Arch: "amd64", Source: name, Fixed: fixed, State: match.Affected,
		Sources: []match.Source{{State: match.Affected, Authority: advisory.Distribution}}}
}

func by(a advisory.Authority, s match.State) []match.Source {
	return []match.Source{{State: s, Authority: a}}
}

// request is a good one: two hosts, the second's branch before the first's.
func request() proposal.Request {
	forth, back := upgrade("hello", "1", "2")
	hr := proposal.HostRequest{Inventory: canon.SumFile(nil), Findings: []match.Finding{affected("hello", "2")},
		Changes: []change.Change{forth}, Back: []change.Change{back}, Held: []proposal.Held{{Package: "z"}, {Package: "b", Why: "no version"}}}
	one, two := hr, hr
	one.ID, two.ID, two.Wave = host(1), host(0), 1
	return proposal.Request{Nonce: strings.Repeat("0a", 32), Author: "p-001", Created: 100, Expires: 1000, Note: "caf\u00e9",
		Waves: []plan.Wave{{Good: 1, Hosts: 77}, {Good: 1, NotBefore: 5}}, Hosts: []proposal.HostRequest{one, two}, Facts: []proposal.Fact{fact("hello", "1", "2")}}
}

func TestGoodPlanOpensAndIsTheSameTwice(t *testing.T) {
	h, branches, d, err := proposal.New(request())
	if err != nil {
		t.Fatal(err)
	}
	f := proposal.NewFile(h, branches, d)
	read, err := proposal.ReadFile(f.Bytes())
	if err != nil || !bytes.Equal(read.Bytes(), f.Bytes()) {
		t.Errorf("its file does not read: %v", err)
	}
	if h.Waves[0].Hosts != 1 || h.Waves[1].Hosts != 1 || branches[0].Host != host(0) || h.Dossier != d.Digest() || d.Hosts[0].Held[0].Package != "b" {
		t.Errorf("%+v", h)
	}
	r := request()
	r.Hosts[0], r.Hosts[1] = r.Hosts[1], r.Hosts[0]
	again, _, _, err := proposal.New(r)
	if err != nil || again.Digest() != h.Digest() {
		t.Errorf("the order of hosts shows: %v", err)
	}
	if r.Waves[0].Hosts != 77 {
		t.Error("the request was changed")
	}
}

func TestRejections(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*proposal.Request)
		says  string
	}{
		"no finding":                      {func(r *proposal.Request) { r.Hosts[0].Findings = nil }, proposal.ErrNoCause.Error()},
		"finding of another package":      {func(r *proposal.Request) { r.Hosts[0].Findings[0].Package = "hallo" }, proposal.ErrNoCause.Error()},
		"finding of another architecture": {func(r *proposal.Request) { r.Hosts[0].Findings[0].Arch = "arm64" }, proposal.ErrNoCause.Error()},
		"not affected":                    {func(r *proposal.Request) { r.Hosts[0].Findings[0].State = match.NotAffected }, proposal.ErrNoCause.Error()},
		"unknown":                         {func(r *proposal.Request) { r.Hosts[0].Findings[0].State = match.Unknown }, proposal.ErrNoCause.Error()},
		"not fixed by it":                 {func(r *proposal.Request) { r.Hosts[0].Findings[0].Fixed = "3" }, proposal.ErrNoCause.Error()},
		"nobody's word":                   {func(r *proposal.Request) { r.Hosts[0].Findings[0].Sources = nil }, proposal.ErrNoCause.Error()},
		"a CNA's word":                    {func(r *proposal.Request) { r.Hosts[0].Findings[0].Sources = by(advisory.CNA, match.Affected) }, proposal.ErrNoCause.Error()},
		"a source that says otherwise":    {func(r *proposal.Request) { r.Hosts[0].Findings[0].Sources = by(advisory.Vendor, match.NotAffected) }, proposal.ErrNoCause.Error()},
		"no fix known":                    {func(r *proposal.Request) { r.Hosts[0].Findings[0].Fixed = "" }, proposal.ErrNoCause.Error()},
		"a fix that is no version":        {func(r *proposal.Request) { r.Hosts[0].Findings[0].Fixed = "not a version!" }, proposal.ErrNoCause.Error()},
		"no fact":                         {func(r *proposal.Request) { r.Facts = nil }, "nothing is known"},
		"fact of another version":         {func(r *proposal.Request) { r.Facts[0].From = "0" }, "nothing is known"},
		"a milder class":                  {func(r *proposal.Request) { r.Facts[0].Class = change.Critical }, "differ"},
		"another artefact":                {func(r *proposal.Request) { r.Facts[0].Chain.Artefact = canon.SumFile(nil) }, "differ"},
		"another size":                    {func(r *proposal.Request) { r.Facts[0].Chain.Size++ }, "differ"},
		"another origin":                  {func(r *proposal.Request) { r.Facts[0].Chain.Origin = "x" }, "differ"},
		"another artefact back":           {func(r *proposal.Request) { r.Facts[0].Back.Artefact = canon.SumFile(nil) }, "leads back"},
		"another size back":               {func(r *proposal.Request) { r.Facts[0].Back.Size++ }, "leads back"},
		"another origin back":             {func(r *proposal.Request) { r.Facts[0].Back.Origin = "x" }, "leads back"},
		"no way back":                     {func(r *proposal.Request) { r.Hosts[0].Back = nil }, "0 back"},
		"a wave that is not there":        {func(r *proposal.Request) { r.Hosts[0].Wave = 2 }, plan.ErrForm.Error()},
		"a wave before the first":         {func(r *proposal.Request) { r.Hosts[0].Wave = -1 }, canon.ErrForm.Error()},
		"an advisory in another script":   {func(r *proposal.Request) { r.Hosts[0].Findings[0].Advisory = "CVE-\u202e" }, canon.ErrForm.Error()},
		"no host":                         {func(r *proposal.Request) { r.Hosts = nil }, plan.ErrForm.Error()},
		"the same host twice":             {func(r *proposal.Request) { r.Hosts[0].ID = r.Hosts[1].ID }, plan.ErrForm.Error()},
		"a life too long":                 {func(r *proposal.Request) { r.Expires = r.Created + 8*86400 }, plan.ErrForm.Error()},
	} {
		r := request()
		for i := range r.Hosts { // findings are shared by the two
			r.Hosts[i].Findings = append([]match.Finding{}, r.Hosts[i].Findings...)
		}
		c.spoil(&r)
		h, branches, _, err := proposal.New(r)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want …%s…", name, err, c.says)
		}
		if errors.Is(err, proposal.ErrNoCause) && (h.Type != "" || branches != nil) {
			t.Errorf("%s: a plan came along", name)
		}
	}
}

func TestRemovalsNeedNoFactButMustAgreeWithOne(t *testing.T) {
	r := request()
	gone := change.Change{Op: change.Remove, Scheme: version.Deb, Package: "old", Arch: "amd64", From: "1", Class: change.Critical}
	comes := change.Change{Op: change.Install, Scheme: version.Deb, Package: "old", Arch: "amd64", To: "1", Artefact: chain("old", "1").Artefact, Size: chain("old", "1").Size, Origin: "debian-security", Class: change.Critical}
	for i := range r.Hosts {
		r.Hosts[i].Changes, r.Hosts[i].Back = append(r.Hosts[i].Changes[:1:1], gone), append(r.Hosts[i].Back[:1:1], comes)
	}
	h, branches, d, err := proposal.New(r)
	if err != nil || len(d.Hosts[0].Causes) != 2 || len(d.Hosts[0].Causes[1].Advisories) != 0 {
		t.Fatalf("without a fact: %v", err)
	}
	if err := proposal.NewFile(h, branches, d).Open(); err != nil {
		t.Errorf("its file: %v", err)
	}
	f := fact("old", "1", "")
	f.Class, f.Chain, f.Back = change.Critical, provenance.Entry{}.Chain(), chain("old", "1")
	r.Facts = append(r.Facts, f)
	if _, _, _, err := proposal.New(r); err != nil {
		t.Errorf("with its fact: %v", err)
	}
	r.Facts[1].Back.Artefact = canon.SumFile(nil)
	if _, _, _, err := proposal.New(r); err == nil {
		t.Error("a fact that describes another artefact passes")
	}
}

func TestFilesThatDoNotBelongTogether(t *testing.T) {
	for name, spoil := range map[string]func(*proposal.File){
		"type":         func(f *proposal.File) { f.Type = "x" },
		"dossier":      func(f *proposal.File) { f.Dossier.Hosts[0].Inventory = "" },
		"branch":       func(f *proposal.File) { f.Branches[0].Network = true },
		"header":       func(f *proposal.File) { f.Header.Nonce = "" },
		"a host less":  func(f *proposal.File) { f.Dossier.Hosts = f.Dossier.Hosts[:1]; f.Header.Dossier = f.Dossier.Digest() },
		"another host": func(f *proposal.File) { f.Dossier.Hosts[0].ID = host(9); f.Header.Dossier = f.Dossier.Digest() },
		"a cause less": func(f *proposal.File) {
			f.Dossier.Hosts[0].Causes = []proposal.Cause{}
			f.Header.Dossier = f.Dossier.Digest()
		},
		"another cause": func(f *proposal.File) {
			f.Dossier.Hosts[0].Causes[0].Key = "x:y"
			f.Header.Dossier = f.Dossier.Digest()
		},
		"a fact twice": func(f *proposal.File) {
			f.Dossier.Artefacts = append(f.Dossier.Artefacts, f.Dossier.Artefacts[0])
			f.Header.Dossier = f.Dossier.Digest()
		},
		"a fact less": func(f *proposal.File) {
			f.Dossier.Artefacts = f.Dossier.Artefacts[:0]
			f.Header.Dossier = f.Dossier.Digest()
		},
		"a milder class": func(f *proposal.File) {
			f.Dossier.Artefacts[0].Class = change.Critical
			f.Header.Dossier = f.Dossier.Digest()
		},
	} {
		h, branches, d, err := proposal.New(request())
		if err != nil {
			t.Fatal(err)
		}
		f := proposal.NewFile(h, branches, d)
		spoil(&f)
		got, err := proposal.ReadFile(f.Bytes())
		if !errors.Is(err, plan.ErrForm) || got.Type != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := proposal.ReadFile([]byte("{}")); !errors.Is(err, canon.ErrForm) {
		t.Errorf("an empty object: %v", err)
	}
}

// TestTextNeverCreatesWork is promise P3: whatever findings, notes, reasons and
// held packages say, a host is in the plan only when an affected package of its
// own goes to a version that is not below the fix.
func TestTextNeverCreatesWork(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"hello", "hello:amd64", "CVE-2026-0001", "affected", "2", "fixed in 2", "upgrade hello to 2", "../../etc", "\x00"}))
	rapid.Check(t, func(t *rapid.T) {
		r := request()
		r.Hosts, r.Waves = r.Hosts[:1], r.Waves[:1]
		r.Note = text.Draw(t, "note")
		hr := &r.Hosts[0]
		hr.Held = []proposal.Held{{Package: text.Draw(t, "held"), Why: canon.NoteOf(text.Draw(t, "why"))}}
		r.Facts[0].Reasons = []artefact.Reason{{Code: "x", Class: change.Routine, Detail: canon.NoteOf(text.Draw(t, "changelog"))}}
		hr.Findings = nil
		caused := false
		for range rapid.IntRange(0, 4).Draw(t, "findings") {
			f := match.Finding{Advisory: text.Draw(t, "advisory"), Aliases: []string{text.Draw(t, "alias")}, Source: text.Draw(t, "source"),
				Package: text.Draw(t, "package"), Arch: rapid.SampledFrom([]string{"amd64", "arm64", ""}).Draw(t, "arch"), Fixed: text.Draw(t, "fixed"),
				State: match.State(rapid.OneOf(text, rapid.Just("affected")).Draw(t, "state")), Reason: match.Reason{Text: text.Draw(t, "reason")}}
			f.Sources = by(advisory.Authority(rapid.OneOf(text, rapid.SampledFrom([]string{"vendor", "distribution", "cna"})).Draw(t, "authority")), match.Affected)
			order, err := version.Compare(version.Deb, "2", f.Fixed)
			caused = caused || f.State == match.Affected && f.Sources[0].Authority.Works() && f.Package == "hello" && f.Arch == "amd64" && f.Fixed != "" && err == nil && order >= 0
			hr.Findings = append(hr.Findings, f)
		}
		_, branches, _, err := proposal.New(r)
		if err == nil && !caused {
			t.Fatalf("text made work: %+v", hr.Findings)
		}
		if err == nil && len(branches) != 1 {
			t.Fatalf("%d branches", len(branches))
		}
	})
}

// rollback is a good one: request's, the other way.
func rollback() proposal.Request {
	r := request()
	up, down := upgrade("hello", "1", "2")
	r.Reason, r.Facts = " it broke \n", []proposal.Fact{fact("hello", "2", "1")}
	r.Facts[0].Class = change.Critical
	for i := range r.Hosts {
		r.Hosts[i].Changes, r.Hosts[i].Back = []change.Change{down}, []change.Change{up}
		r.Hosts[i].Findings = []match.Finding{{Advisory: "CVE-OLD", Package: "hello", Arch: "amd64", State: match.Affected}}
		r.Hosts[i].After = []match.Finding{{Advisory: "CVE-OLD", Package: "hello", Arch: "amd64", State: match.Affected},
			affected("hello", "2"), affected("other", "2"), {Advisory: "CVE-MAYBE", Package: "hello", Arch: "amd64", State: match.Unknown}}
	}
	return r
}

func TestARollbackHasAReasonAndNamesWhatItOpens(t *testing.T) {
	h, branches, d, err := proposal.New(rollback())
	if err != nil {
		t.Fatal(err)
	}
	c := d.Hosts[0].Causes[0]
	if d.Reason != "it broke" || len(c.Advisories) != 0 || len(c.Reopens) != 1 || c.Reopens[0] != "CVE-2026-0001" || h.Class != change.Critical {
		t.Errorf("%+v of %q, %s", c, d.Reason, h.Class)
	}
	if _, err := proposal.ReadFile(proposal.NewFile(h, branches, d).Bytes()); err != nil {
		t.Errorf("its file: %v", err)
	}
	for name, spoil := range map[string]func(*proposal.Request){
		"no reason": func(r *proposal.Request) { r.Reason = "  " },
		"an upgrade beside": func(r *proposal.Request) {
			up, down := upgrade("zz", "1", "2")
			r.Facts = append(r.Facts, fact("zz", "1", "2"))
			r.Hosts[0].Changes, r.Hosts[0].Back = append(r.Hosts[0].Changes, up), append(r.Hosts[0].Back, down)
		},
		"another host goes up": func(r *proposal.Request) {
			up := request()
			r.Facts, r.Hosts[1] = append(r.Facts, up.Facts...), up.Hosts[1]
		},
	} {
		r := rollback()
		spoil(&r)
		if h, _, _, err := proposal.New(r); !errors.Is(err, proposal.ErrRollback) || h.Type != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	up := request()
	up.Reason = "to be sure"
	if _, _, _, err := proposal.New(up); !errors.Is(err, proposal.ErrRollback) {
		t.Errorf("an upgrade with a rollback's reason: %v", err)
	}
	d.Reason = ""
	h.Dossier = d.Digest()
	if err := proposal.NewFile(h, branches, d).Open(); err == nil {
		t.Error("a file that goes down without a reason opens")
	}
}
