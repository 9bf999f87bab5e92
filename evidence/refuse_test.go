package evidence_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// forgery is one way to lie. spoil changes a world's bundle; then everything
// that own can make fit is made to fit again (nil: nothing is).
type forgery struct {
	name  string
	world func() *evidencetest.World
	own   *evidencetest.Powers
	spoil func(w *evidencetest.World)
	check string // the first check that says no
	code  string
	says  string // part of its reason
}

var (
	nobody    = &evidencetest.Powers{}
	witnesses = &evidencetest.Powers{Witnesses: true}
	hosts     = &evidencetest.Powers{Witnesses: true, Hosts: true}
	everyone  = &evidencetest.Everyone
)

// deny adds a no of the third person, who wrote the plan.
func deny(w *evidencetest.World) {
	w.Bundle.Approvals = append(w.Bundle.Approvals, approval.Approval{Kind: approval.Deny, Person: w.House.People[1].ID, At: w.House.Now.Unix() - 7000})
}

func blobs(w *evidencetest.World, keep func(evidence.Blob) bool) {
	w.Bundle.Blobs = slices.DeleteFunc(w.Bundle.Blobs, func(b evidence.Blob) bool { return !keep(b) })
}

var planForgeries = []forgery{
	{"another type", single, nil, func(w *evidencetest.World) { w.Bundle.Type = "patchwrit/evidence/v2" }, "form", "PW-EVIDENCE-FORM", "type"},
	{"a file that is another", single, nil, func(w *evidencetest.World) { w.Bundle.Blobs[0].Data = w.Bundle.Blobs[1].Data }, "files", "PW-EVIDENCE-BLOB", "is not"},
	{"a file that is no base64", single, nil, func(w *evidencetest.World) { w.Bundle.Blobs[0].Data += "!" }, "files", "PW-EVIDENCE-BLOB", "is not"},
	{"files in another order", single, nil, func(w *evidencetest.World) { slices.Reverse(w.Bundle.Blobs) }, "files", "PW-EVIDENCE-BLOB", "order"},
	{"a file nobody needs", single, nil, func(w *evidencetest.World) {
		w.Bundle.Blobs = append(w.Bundle.Blobs, evidence.NewBlob([]byte("more")))
		slices.SortFunc(w.Bundle.Blobs, func(a, b evidence.Blob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	}, "nothing left over", "PW-EVIDENCE-BLOB", "belongs to nothing"},
	{"another house", single, nil, func(w *evidencetest.World) { w.Bundle.Root = canon.SumFile(nil) }, "trust root", "PW-EVIDENCE-ROOT", "of house"},
	{"a class hidden in the header", single, nil, func(w *evidencetest.World) { w.Bundle.Header.Class = "critical" }, "plan", "PW-EVIDENCE-PLAN", "class"},
	{"another dossier", single, nil, func(w *evidencetest.World) { w.Bundle.Dossier.Hosts[0].Held = []proposal.Held{} }, "plan", "PW-EVIDENCE-PLAN", "dossier"},
	{"another artefact, all agree", single, everyone, func(w *evidencetest.World) {
		w.Bundle.Branches[0].Changes[0].Artefact = canon.SumFile([]byte("trojan"))
		w.Bundle.Writs[0].Writ.Branch = w.Bundle.Branches[0]
	}, "plan", "PW-EVIDENCE-PLAN", "differ"},
	{"another artefact, the dossier lies too", single, everyone, func(w *evidencetest.World) {
		d := canon.SumFile([]byte("trojan"))
		w.Bundle.Branches[0].Changes[0].Artefact, w.Bundle.Dossier.Artefacts[0].Chain.Artefact = d, d
		w.Bundle.Writs[0].Writ.Branch = w.Bundle.Branches[0]
		if err := w.Judge(); err != nil {
			panic(err)
		}
	}, "provenance", "PW-EVIDENCE-PROVENANCE", "another when it is walked again"},
	{"a release that is not there", single, nil, func(w *evidencetest.World) {
		blobs(w, func(b evidence.Blob) bool { return b.Digest != w.Bundle.Dossier.Artefacts[0].Chain.Release })
	}, "provenance", "PW-EVIDENCE-PROVENANCE", "not in the bundle"},
	{"an index that is not there", single, nil, func(w *evidencetest.World) {
		blobs(w, func(b evidence.Blob) bool { return b.Digest != w.Bundle.Dossier.Artefacts[0].Chain.Packages })
	}, "provenance", "PW-EVIDENCE-PROVENANCE", "not in the bundle"},
	{"a release by nobody's key", single, everyone, func(w *evidencetest.World) {
		forged := []byte("-----BEGIN PGP SIGNED MESSAGE-----\n")
		for _, c := range []*canon.Digest{&w.Bundle.Dossier.Artefacts[0].Chain.Release, &w.Bundle.Dossier.Artefacts[0].Back.Release} {
			*c = canon.SumFile(forged)
		}
		w.Bundle.Blobs = append(w.Bundle.Blobs, evidence.NewBlob(forged))
		slices.SortFunc(w.Bundle.Blobs, func(a, b evidence.Blob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
		if err := w.Judge(); err != nil {
			panic(err)
		}
	}, "provenance", "PW-EVIDENCE-PROVENANCE", "PW-PROV-FORM"},
	{"an origin nobody named", single, everyone, func(w *evidencetest.World) {
		w.Bundle.Dossier.Artefacts[0].Chain.Origin = "elsewhere"
		w.Bundle.Branches[0].Changes[0].Origin = "elsewhere"
		w.Bundle.Writs[0].Writ.Branch = w.Bundle.Branches[0]
		if err := w.Judge(); err != nil {
			panic(err)
		}
	}, "provenance", "PW-EVIDENCE-PROVENANCE", "not in the trust root"},
	{"a package its index does not hold", single, everyone, func(w *evidencetest.World) {
		w.Bundle.Dossier.Artefacts[0].Back.Version = "1.0-1"
		if err := w.Judge(); err != nil {
			panic(err)
		}
	}, "provenance", "PW-EVIDENCE-PROVENANCE", "PW-PROV-NO-ENTRY"},
}

var wordForgeries = []forgery{
	{"one yes is enough", single, hosts, func(w *evidencetest.World) { w.Bundle.Approvals = w.Bundle.Approvals[:1] }, "approvals", "PW-EVIDENCE-APPROVAL", "quorum"},
	{"a yes to another plan", single, hosts, func(w *evidencetest.World) { w.Bundle.Header.Note = "another" }, "approvals", "PW-EVIDENCE-APPROVAL", "PW-APPROVAL-STATEMENT"},
	{"a grant's yes for the plan's", single, everyone, func(w *evidencetest.World) { w.Bundle.Approvals[0].Kind = approval.Allow }, "approvals", "PW-EVIDENCE-APPROVAL", "is no word on a plan"},
	{"a yes twice", single, everyone, func(w *evidencetest.World) { w.Bundle.Approvals = append(w.Bundle.Approvals, w.Bundle.Approvals[0]) }, "order of events", "PW-EVIDENCE-LOG", "events"},
	{"a no that did not count", single, everyone, deny, "approvals", "PW-EVIDENCE-APPROVAL", "had said no"},
	{"a no that nobody signed", single, witnesses, func(w *evidencetest.World) {
		no := w.Bundle.Approvals[0] // the yes's signature under a no
		no.Kind, no.At = approval.Deny, w.House.Now.Unix()
		w.Bundle.Approvals = append(w.Bundle.Approvals, no)
	}, "approvals", "PW-EVIDENCE-APPROVAL", "deny of"},
	{"a yes that was not logged", single, everyone, func(w *evidencetest.World) {
		kept := w.Bundle.Approvals[1]
		w.Bundle.Approvals = w.Bundle.Approvals[:1]
		w.Spoil.Writ = func(_ int, x *writ.Writ) { x.Approvals = append(x.Approvals, kept) }
	}, "approvals", "PW-EVIDENCE-APPROVAL", "not logged before"},
	{"the rules' answer made milder", single, hosts, func(w *evidencetest.World) { w.Bundle.Verdict.Outcome = policy.Allow }, "verdict", "PW-EVIDENCE-VERDICT", "the record says allow"},
	{"another time for the rules", single, hosts, func(w *evidencetest.World) { w.Bundle.Verdict.At++ }, "verdict", "PW-EVIDENCE-VERDICT", "checked with the version that made it"},
	{"other rules", single, hosts, func(w *evidencetest.World) { w.Bundle.Verdict.Bundle = canon.SumFile(nil) }, "verdict", "PW-EVIDENCE-VERDICT", "of that time"},
	{"rules that are not there", single, nil, func(w *evidencetest.World) {
		blobs(w, func(b evidence.Blob) bool { return b.Digest != w.House.Root.Policy.Bundle })
	}, "verdict", "PW-EVIDENCE-VERDICT", "is not there"},
	{"a class the quorum does not meet", single, hosts, func(w *evidencetest.World) { w.Bundle.Verdict.Class = "strange" }, "approvals", "PW-EVIDENCE-APPROVAL", "no quorum"},
	{"rules that said deny", single, everyone, func(w *evidencetest.World) {
		w.Bundle.Dossier.Hosts[0].Causes[0].Advisories = []string{}
		if err := w.Judge(); err != nil {
			panic(err)
		}
	}, "verdict", "PW-EVIDENCE-VERDICT", "the rules said deny"},
	{"rules asked without the grant", grant, everyone, func(w *evidencetest.World) {
		w.Bundle.Grant = ""
		if err := w.Judge(); err != nil {
			panic(err)
		}
	}, "writs", "PW-EVIDENCE-WRIT", "were asked about grant"},
}

func TestForgeriesOfPlansAndWords(t *testing.T) {
	refuse(t, slices.Concat(planForgeries, wordForgeries))
}

// refuse makes each forgery beside its honest twin.
func refuse(t *testing.T, all []forgery) {
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			w := f.world().Clone()
			if f.own == everyone {
				if err := w.Rebuild(*f.own); err != nil {
					t.Fatal(err)
				}
			}
			if r := run(w); !r.OK {
				t.Fatalf("the honest twin is refused: %+v", r.Checks)
			}
			f.spoil(w)
			if f.own != nil {
				if err := w.Rebuild(*f.own); err != nil {
					t.Fatal(err)
				}
			}
			name, code, says := first(run(w))
			if name != f.check || code != f.code || !strings.Contains(says, f.says) {
				t.Errorf("%q says %s %q, want %q %s …%s…", name, code, says, f.check, f.code, f.says)
			}
		})
	}
}

var logForgeries = []forgery{
	{"the control plane alone edits a receipt", single, nil, func(w *evidencetest.World) { w.Bundle.Writs[0].Receipts[0].Effective.Healthy = writ.Yes }, "order of events", "PW-EVIDENCE-LOG", "not among"},
	{"and fixes its entry", single, nil, func(w *evidencetest.World) {
		r := &w.Bundle.Writs[0].Receipts[0]
		r.Effective.Healthy = writ.Yes
		w.Bundle.Entries[len(w.Bundle.Entries)-1].Entry = r.Entry()
	}, "receipts", "PW-EVIDENCE-RECEIPT", "signature"},
	{"it fixes the entry of a yes it moved in time", single, nil, func(w *evidencetest.World) {
		a := &w.Bundle.Approvals[0] // the time is the signer's own word and not signed
		a.At++
		w.Bundle.Entries[1].Entry = evidence.ApprovalEntry(*a)
		w.Bundle.Writs = w.Bundle.Writs[:0]
		w.Bundle.Entries = w.Bundle.Entries[:4]
	}, "log", "PW-EVIDENCE-LOG", "PW-LOG-INCLUSION"},
	{"a yes left out", single, nil, func(w *evidencetest.World) { w.Bundle.Approvals = w.Bundle.Approvals[:1] }, "order of events", "PW-EVIDENCE-LOG", "6 entries"},
	{"an entry twice", single, nil, func(w *evidencetest.World) { w.Bundle.Entries = append(w.Bundle.Entries, w.Bundle.Entries[5]) }, "order of events", "PW-EVIDENCE-LOG", "7 entries"},
	{"entries in another order than the log's", single, nil, func(w *evidencetest.World) {
		e := w.Bundle.Entries
		e[2], e[3] = e[3], e[2]
	}, "log", "PW-EVIDENCE-LOG", "log's order"},
	{"logged: the plan after a yes", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Order = func(e []tlog.Entry) { e[0], e[1] = e[1], e[0] }
	}, "order of events", "PW-EVIDENCE-LOG", "before the plan"},
	{"logged: the verdict after the writ", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Order = func(e []tlog.Entry) { e[3], e[4] = e[4], e[3] }
	}, "order of events", "PW-EVIDENCE-LOG", "stands after"},
	{"logged: a receipt before its writ", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Order = func(e []tlog.Entry) { e[4], e[5] = e[5], e[4] }
	}, "order of events", "PW-EVIDENCE-LOG", "stands after"},
	{"logged: a yes after the writ that carries it", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Order = func(e []tlog.Entry) { e[2], e[3], e[4] = e[3], e[4], e[2] }
	}, "approvals", "PW-EVIDENCE-APPROVAL", "not logged before"},
	{"one event proved at an older state", people, nil, func(w *evidencetest.World) {
		i := slices.IndexFunc(w.Bundle.Entries, func(l evidence.Logged) bool { return l.Entry.Kind == "writ" })
		w.Bundle.Entries[i].Proof = w.Bundle.Writs[0].Writ.Proof
	}, "log", "PW-EVIDENCE-LOG", "another checkpoint"},
	{"two logs", single, everyone, func(w *evidencetest.World) { w.Spoil.Fork = true }, "log", "PW-EVIDENCE-LOG", "PW-LOG-"},
	{"a link left out", single, nil, func(w *evidencetest.World) { w.Bundle.Links = w.Bundle.Links[1:] }, "log", "PW-EVIDENCE-LOG", "1 links"},
	{"a link between other sizes", single, nil, func(w *evidencetest.World) { w.Bundle.Links[0].From-- }, "log", "PW-EVIDENCE-LOG", "other sizes"},
	{"a host that has seen more than is proved", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.Checkpoint.Size = 1000 }
	}, "log", "PW-EVIDENCE-LOG", "is spoken of"},
}

var hostForgeries = []forgery{
	{"a lease left out", single, nil, func(w *evidencetest.World) { w.Bundle.Writs[0].Leases = w.Bundle.Writs[0].Leases[:2] }, "receipts", "PW-EVIDENCE-RECEIPT", "other leases"},
	{"leases left out, the host lies too: no quorum", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Leases = func(_ int, l []writ.Lease) []writ.Lease { return l[:1] }
	}, "writs", "PW-EVIDENCE-WRIT", "PW-WRIT-LEASE"},
	{"a lease by nobody, the host lies too", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Leases = func(_ int, l []writ.Lease) []writ.Lease { l[2].Witness = "w9.example"; return l }
	}, "leases", "PW-EVIDENCE-LEASE", "not in the policy"},
	{"a lease nobody signed", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Leases = func(_ int, l []writ.Lease) []writ.Lease { l[2].Time++; return l }
	}, "leases", "PW-EVIDENCE-LEASE", "does not verify"},
	{"a lease for another host", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Lease = func(_, n int, l *writ.Lease) {
			if n == 2 {
				l.Host = w.House.Hosts[1].ID
			}
		}
	}, "leases", "PW-EVIDENCE-LEASE", "another host"},
	{"a host that acted without a lease", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Leases = func(int, []writ.Lease) []writ.Lease { return []writ.Lease{} }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "without a lease"},
	{"leases of another day", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.Started, r.Ended = r.Started+3*86400, r.Ended+3*86400 }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "its lease is of"},
	{"leases of a later day", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.Started -= 3 * 86400 }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "its lease is of"},
	{"an end before the beginning", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.Ended = r.Started - 1 }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "ended"},
	{"a receipt by another host's key", people, everyone, func(w *evidencetest.World) {
		w.House.Hosts = slices.Clone(w.House.Hosts)
		w.House.Hosts[0].Key = w.House.Hosts[1].Key
	}, "receipts", "PW-EVIDENCE-RECEIPT", "signature"},
	{"a receipt of another writ", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.Writ = canon.SumFile(nil) }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "another host, writ"},
	{"done, and one package is not there", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.States[0].After = evidencetest.Old }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "went to"},
	{"done, and more than was permitted", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.States = append(r.States, writ.State{Package: "rootkit"}) }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "2 packages"},
	{"an outcome nobody knows", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.Outcome = "fine" }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "outcome"},
	{"rolled back at the first attempt", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, _ int, r *writ.Receipt) { r.Outcome = writ.RolledBack }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "no end of this attempt"},
	{"rolled back, and the package stayed", failed, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, n int, r *writ.Receipt) { r.States[0].After = evidencetest.New }
	}, "receipts", "PW-EVIDENCE-RECEIPT", "went to"},
	{"a second receipt after done", failed, everyone, func(w *evidencetest.World) {
		w.Spoil.Receipt = func(_, n int, r *writ.Receipt) {
			if n == 0 {
				r.Outcome = writ.Done
			}
		}
	}, "receipts", "PW-EVIDENCE-RECEIPT", "2 receipts"},
	{"leases that nobody says were used", single, nil, func(w *evidencetest.World) {
		w.Bundle.Writs[0].Receipts = []writ.Receipt{}
		w.Bundle.Entries = w.Bundle.Entries[:5]
	}, "receipts", "PW-EVIDENCE-RECEIPT", "without a receipt"},
	{"a host the trust root does not know", single, everyone, func(w *evidencetest.World) {
		i := slices.IndexFunc(w.House.Root.Hosts, func(h trust.Host) bool { return h.ID == w.House.Hosts[0].ID })
		w.House.Root.Hosts = slices.Delete(slices.Clone(w.House.Root.Hosts), i, i+1)
		if err := w.Judge(); err != nil {
			panic(err)
		}
	}, "receipts", "PW-EVIDENCE-RECEIPT", "not in the trust root"},
	{"a writ under another verdict", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Writ = func(_ int, x *writ.Writ) { x.Body.Verdict = canon.SumFile(nil) }
	}, "writs", "PW-EVIDENCE-WRIT", "another plan or verdict"},
	{"a branch of another plan", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Writ = func(_ int, x *writ.Writ) { x.Branch.Network = true }
	}, "writs", "PW-EVIDENCE-WRIT", "PW-WRIT-BRANCH"},
	{"a writ proved as something else", silent, nil, func(w *evidencetest.World) {
		w.Bundle.Writs[0].Writ.Proof = w.Bundle.Entries[0].Proof
	}, "log", "PW-EVIDENCE-LOG", "the proof of the writ"},
	{"a writ that lives for ever", single, everyone, func(w *evidencetest.World) {
		w.Spoil.Writ = func(_ int, x *writ.Writ) { x.Body.Expires += 365 * 86400 }
	}, "writs", "PW-EVIDENCE-WRIT", "PW-WRIT-LIFE"},
	{"a second wave without the first one's receipt", people, everyone, func(w *evidencetest.World) {
		w.Spoil.Writ = func(i int, x *writ.Writ) { x.Earlier = []writ.Earlier{} }
	}, "writs", "PW-EVIDENCE-WRIT", "PW-WRIT-RECEIPTS"},
	{"a waiting writ with too few words", silent, everyone, func(w *evidencetest.World) {
		w.Spoil.Writ = func(i int, x *writ.Writ) { x.Index = 7 }
	}, "writs", "PW-EVIDENCE-WRIT", "PW-WRIT-BRANCH"},
}

func TestForgeriesOfTheLog(t *testing.T) { refuse(t, logForgeries) }
func TestForgeriesOfHosts(t *testing.T)  { refuse(t, hostForgeries) }

// TestNobodysKeysMakeNothingFit shows that digests alone help no forger: each
// change to the plan, made to fit without anybody's key, is found.
func TestNobodysKeysMakeNothingFit(t *testing.T) {
	for name, spoil := range map[string]func(*evidencetest.World){
		"note":    func(w *evidencetest.World) { w.Bundle.Header.Note = "x" },
		"author":  func(w *evidencetest.World) { w.Bundle.Header.Author = "p-009" },
		"verdict": func(w *evidencetest.World) { w.Bundle.Verdict.Reasons = []policy.Reason{} },
	} {
		for _, own := range []*evidencetest.Powers{nobody, witnesses} {
			w := single().Clone()
			spoil(w)
			if err := w.Rebuild(*own); err != nil {
				t.Fatal(err)
			}
			if run(w).OK {
				t.Errorf("%s passes with %+v", name, *own)
			}
		}
	}
}

// TestNobodysSpellingOrRootPasses covers what a changed bundle alone
// cannot show.
func TestNobodysSpellingOrRootPasses(t *testing.T) {
	w := single()
	more := []byte(strings.Replace(string(w.Raw()), "{", `{"aaa":1,`, 1)) // canonical, with a key nobody knows
	if _, code, says := first(evidence.Run(more, w.House.Root, w.Decide, false)); code != "PW-EVIDENCE-FORM" || !strings.Contains(says, "unknown field") {
		t.Errorf("a key more: %s %s", code, says)
	}
	blind := w.House.Root
	blind.Witnesses = "quorum none\n"
	if _, code, _ := first(evidence.Run(w.Raw(), blind, w.Decide, false)); code != "PW-EVIDENCE-ROOT" {
		t.Errorf("a root without witnesses: %s", code)
	}
	broken := func(bundle, input []byte) (policy.Decision, error) {
		d, err := w.Decide(bundle, input)
		return d, errors.Join(err, errors.New("the rules do not load"))
	}
	if name, code, says := first(evidence.Run(w.Raw(), w.House.Root, broken, false)); name != "verdict" || code != "PW-EVIDENCE-VERDICT" || !strings.Contains(says, "do not load") {
		t.Errorf("rules that do not load: %s %s %s", name, code, says)
	}
}

// TestALateNoIsToldAndVoidsNothing is the twin of a no that did not count.
func TestALateNoIsToldAndVoidsNothing(t *testing.T) {
	w := single().Clone()
	deny(w)
	w.Bundle.Approvals[2].At = w.House.Now.Unix()
	if err := w.Rebuild(*everyone); err != nil {
		t.Fatal(err)
	}
	r := run(w)
	i := slices.IndexFunc(r.Checks, func(c evidence.Check) bool { return c.Name == "approvals" })
	if !r.OK || !strings.Contains(r.Checks[i].Says, "2 yes, 1 no") {
		t.Errorf("%+v", r.Checks)
	}
}

// TestNoBytesBreakTheCheck runs every check over bundles whose parts are
// missing, which would show a step that leans on one that failed.
func TestNoBytesBreakTheCheck(t *testing.T) {
	for _, w := range []*evidencetest.World{people(), grant(), failed(), silent()} {
		for _, c := range changes(w.Raw(), 151) {
			evidence.Run(c.raw, w.House.Root, w.Decide, false)
		}
	}
	if r := evidence.Run(nil, trust.Root{}, nil, false); r.OK || r.Plan != "" {
		t.Errorf("nothing is evidence: %+v", r)
	}
	if r := evidence.Run(single().Raw(), trust.Root{}, nil, false); r.OK || r.Checks[len(r.Checks)-1].Code != "PW-EVIDENCE-ROOT" {
		t.Errorf("a root that nobody loaded: %+v", r)
	}
}

// FuzzRun feeds bytes: no panic, and only the bundle itself holds.
func FuzzRun(f *testing.F) {
	w := silent()
	good := w.Raw()
	f.Add(good)
	f.Add([]byte(`{"type":"patchwrit/evidence/v1"}`))
	for _, c := range changes(good, 97) {
		f.Add(c.raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r := evidence.Run(raw, w.House.Root, w.Decide, false); r.OK && string(raw) != string(good) {
			t.Errorf("other bytes hold: %s", raw)
		}
	})
}
