package docs

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing/fstest"

	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

// judge holds vectors to the rooms. It collects everything that disagrees.
type judge struct {
	fsys fs.FS
	root trust.Root
	errs []error
}

// steps judge one file each; trust.json comes before all of them.
var steps = map[string]func(*judge){
	"canon.json": (*judge).canon, "versions.json": (*judge).versions, "plan.json": (*judge).plan, "planfile.json": (*judge).planFile,
	"approvals.json": (*judge).approvals, "grant.json": (*judge).grant, "log.json": (*judge).log, "lease.json": (*judge).lease,
	"writ.json": (*judge).writ, "wire.json": (*judge).wire, "receipt.json": (*judge).receipt, "verdict.json": (*judge).verdict,
}

// Check judges every vector in fsys (docs/vectors) with the rooms that hosts
// and auditors use, and says what disagrees.
func Check(fsys fs.FS) error {
	return check(fsys, slices.Sorted(maps.Keys(steps))...)
}

// check judges trust.json, and under its root the files named.
func check(fsys fs.FS, names ...string) error {
	j := &judge{fsys: fsys}
	j.trust()
	for _, name := range names {
		if step := steps[name]; step != nil {
			step(j)
		}
	}
	return errors.Join(j.errs...)
}

// want notes a disagreement.
func (j *judge) want(ok bool, format string, args ...any) {
	if !ok {
		j.errs = append(j.errs, fmt.Errorf(format, args...))
	}
}

func (j *judge) none(err error, what string) {
	j.want(err == nil, "%s: %v", what, err)
}

func (j *judge) code(err error, want refusal.Code, what string) {
	j.want(refusal.CodeOf(err) == want && (err == nil) == (want == ""), "%s: %v, wanted is %q", what, err, want)
}

func (j *judge) canon() {
	var f Canon
	j.none(read(j.fsys, "canon.json", &f), "read")
	for _, g := range f.Good {
		b := []byte(g.Bytes)
		j.none(canon.Check(b), "canon: "+g.Name)
		j.want(canon.Sum(g.Domain, b) == g.Sum && canon.SumFile(b) == g.SHA256, "canon: %s: another digest", g.Name)
	}
	for _, b := range f.Bad {
		j.want(canon.Check([]byte(b.Bytes)) != nil, "canon: %s is taken", b.Name)
	}
	for _, n := range f.Notes {
		j.want(canon.NoteOf(n.Text) == n.Note && n.Note.Text() == n.Text, "canon: note %q is %q", n.Text, canon.NoteOf(n.Text))
	}
	j.want(len(f.Good) > 0 && len(f.Bad) > 0 && len(f.Notes) > 0, "canon: nothing there")
}

func (j *judge) versions() {
	var f Versions
	j.none(read(j.fsys, "versions.json", &f), "read")
	for _, p := range f.Pairs {
		got, err := version.Compare(version.Deb, p.A, p.B)
		back, err2 := version.Compare(version.Deb, p.B, p.A)
		j.want(err == nil && err2 == nil && got == p.Order && back == -p.Order, "versions: %q and %q: %d, %v", p.A, p.B, got, err)
	}
	for _, b := range f.Bad {
		j.want(version.Valid(version.Deb, b.Version) != nil, "versions: %q is taken", b.Version)
	}
	j.want(len(f.Pairs) > 0 && len(f.Bad) > 0, "versions: nothing there")
}

func (j *judge) trust() {
	var f Trust
	j.none(read(j.fsys, "trust.json", &f), "read")
	files := func(without string) fstest.MapFS {
		out := fstest.MapFS{}
		for name, text := range f.Files {
			if name != without {
				out[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
			}
		}
		return out
	}
	root, err := trust.Load(files(""), f.Pinned, trust.Versions{}, at(f.Now))
	j.none(err, "trust")
	j.root = root
	j.want(root.Versions == f.Versions && root.ID == f.Pinned, "trust: versions %+v", root.Versions)
	for _, h := range f.Hosts {
		key, _ := hex.DecodeString(h.Public)
		known, ok := root.Host(h.ID)
		j.want(trust.HostOf(key) == h.ID && ok && known.Public == h.Public, "trust: host %s", h.ID.Short())
	}
	for _, c := range f.Credentials {
		j.want(trust.CredentialOf(c.Public) == c.ID, "trust: credential %s", c.ID.Short())
	}
	for _, r := range f.Refused {
		_, err := trust.Load(files(r.Without), r.Pinned, r.Seen, at(r.Now))
		j.code(err, r.Code, "trust: "+r.Name)
	}
	j.want(len(f.Hosts) > 0 && len(f.Credentials) > 0 && len(f.Refused) > 0, "trust: nothing there")
}

func (j *judge) plan() {
	var f Plan
	var h plan.Header
	j.none(read(j.fsys, "plan.json", &f), "read")
	j.none(canon.Decode([]byte(f.Header), &h), "plan: header")
	j.want(h.Digest() == f.Digest && h.Tree == f.Tree, "plan: digest %s, tree %s", h.Digest(), h.Tree)
	branches := []plan.Branch{}
	for _, l := range f.Branches {
		var b plan.Branch
		j.none(canon.Decode([]byte(l.Bytes), &b), "plan: branch")
		branches = append(branches, b)
		hash := xtlog.RecordHash([]byte(l.Bytes))
		j.want(string(l.Hash) == hex.EncodeToString(hash[:]) && l.Digest == canon.Sum(plan.TypeBranch, []byte(l.Bytes)), "plan: branch %d has other digests", l.Index)
		j.none(h.Holds([]byte(l.Bytes), l.Index, l.Path), "plan: path")
	}
	j.none(whole.Open(h, branches), "plan: open")
	for _, r := range f.RefusedPaths {
		j.want(h.Holds([]byte(f.Branches[r.Branch].Bytes), r.Index, r.Path) != nil, "plan: %s is taken", r.Name)
	}
	for _, r := range f.RefusedHeaders {
		var bad plan.Header
		j.want(r.Bytes != f.Header && (canon.Decode([]byte(r.Bytes), &bad) != nil || bad.Valid() != nil), "plan: %s is taken", r.Name)
	}
	for _, r := range f.RefusedChanges {
		j.want(errors.Is(r.Change.Valid(), change.ErrForm), "plan: %s is taken", r.Name)
	}
	j.want(len(f.Branches) > 1 && len(f.RefusedPaths) > 0 && len(f.RefusedHeaders) > 0 && len(f.RefusedChanges) > 0, "plan: nothing there")
}

func (j *judge) planFile() {
	var f PlanFile
	j.none(read(j.fsys, "planfile.json", &f), "read")
	got, err := proposal.ReadFile([]byte(f.Bytes))
	j.none(err, "planfile")
	j.want(err != nil || got.Header.Digest() == f.Plan && got.Dossier.Digest() == f.Dossier, "planfile: other digests")
	for _, r := range f.Refused {
		bad := strings.Replace(f.Bytes, r.Old, r.New, 1)
		_, err := proposal.ReadFile([]byte(bad))
		j.want(err != nil && bad != f.Bytes, "planfile: %s is taken", r.Name)
	}
	j.want(len(f.Refused) > 0, "planfile: nothing there")
}

func (j *judge) approvals() {
	var f Approvals
	j.none(read(j.fsys, "approvals.json", &f), "read")
	of := map[string]ApprovalGood{}
	methods := map[trust.Method]bool{}
	for _, g := range f.Good {
		of[g.Name] = g
		s := approval.Statement{Kind: approval.Kind(g.Kind), Bytes: []byte(g.Statement)}
		j.want(s.Digest() == g.Digest && s.Kind.Domain() == g.Domain && s.Kind.Namespace() == g.Namespace && canon.Sum(g.Domain, s.Bytes) == g.Digest &&
			base64.RawURLEncoding.EncodeToString(g.Digest.Bytes()) == g.Challenge, "approvals: %s: other names", g.Name)
		var a approval.Approval
		j.none(canon.Decode([]byte(g.Approval), &a), "approvals: "+g.Name)
		p, c, err := approval.Check(j.root, s, a)
		j.none(err, "approvals: "+g.Name)
		j.want(p.ID == g.Person, "approvals: %s is by %s", g.Name, p.ID)
		methods[c.Method] = true
	}
	j.want(len(methods) == 2, "approvals: %v", slices.Collect(maps.Keys(methods)))
	for _, r := range f.Refused {
		var a approval.Approval
		j.none(canon.Decode([]byte(r.Approval), &a), "approvals: "+r.Name)
		_, _, err := approval.Check(j.root, approval.Statement{Kind: approval.Kind(r.Kind), Bytes: []byte(of[r.Of].Statement)}, a)
		j.code(err, r.Code, "approvals: "+r.Name)
		j.want(r.Code != "", "approvals: %s has no code", r.Name)
	}
}

// tallied counts the approvals of a signed statement.
func (j *judge) tallied(s Signed, author trust.PersonID) {
	st := approval.Statement{Kind: approval.Kind(s.Kind), Bytes: []byte(s.Bytes)}
	as := []approval.Approval{}
	for _, text := range s.Approvals {
		var a approval.Approval
		j.none(canon.Decode([]byte(text), &a), "grant: approval")
		as = append(as, a)
	}
	q, ok := j.root.Quorum(s.Quorum)
	_, err := approval.Tally(j.root, q, st, author, as)
	j.want(ok && err == nil && st.Digest() == s.Digest, "grant: %s: %v", s.Kind, err)
}

func (j *judge) grant() {
	var f Grant
	var g approval.Grant
	var h approval.Halt
	j.none(read(j.fsys, "grant.json", &f), "read")
	j.none(canon.Decode([]byte(f.Grant.Bytes), &g), "grant")
	j.none(canon.Decode([]byte(f.Halt.Bytes), &h), "halt")
	j.none(errors.Join(g.Valid(), h.Valid()), "grant")
	j.tallied(f.Grant, g.Author)
	j.tallied(f.Halt, h.Author)
	host := func(id trust.HostID) trust.Host {
		h, ok := j.root.Host(id)
		j.want(ok, "grant: host %s is not of the house", id.Short())
		return h
	}
	for _, c := range f.Covers {
		j.code(g.Covers(host(c.Host), []change.Change{c.Change}, j.root.Critical), c.Code, "grant: "+c.Name)
	}
	for _, s := range f.NotBefore {
		t, err := g.NotBefore(host(s.Host), s.SoakStart)
		j.want(err == nil && t == s.Begins, "grant: begins %d, %v", t, err)
	}
	for _, s := range f.Halted {
		j.want(h.Covers(host(s.Host), s.At) == s.Stopped, "halt: at %d", s.At)
	}
	j.want(len(f.Covers) > 1 && len(f.NotBefore) > 0 && len(f.Halted) > 1, "grant: nothing there")
}

func (j *judge) log() {
	var f Log
	j.none(read(j.fsys, "log.json", &f), "read")
	p, err := tlog.ParsePolicy(f.Policy)
	j.none(err, "log: policy")
	j.want(f.Policy == j.root.Witnesses, "log: another policy than the house's")
	entries := []tlog.Entry{}
	for _, l := range f.Entries {
		var e tlog.Entry
		j.none(canon.Decode([]byte(l.Bytes), &e), "log: entry")
		entries = append(entries, e)
		hash := xtlog.RecordHash([]byte(l.Bytes))
		j.want(hex.EncodeToString(hash[:]) == string(l.Hash), "log: hash of %s", e.Kind)
	}
	for _, g := range f.Proofs {
		v, err := p.Verify(entries[g.Entry], g.Proof)
		j.want(err == nil && v.Index == int64(g.Entry) && v.Checkpoint == g.Checkpoint && v.Time == g.Time && slices.Equal(v.Witnesses, g.Witnesses), "log: %+v, %v", v, err)
		j.want(base64.StdEncoding.EncodeToString([]byte(g.Text)) == string(g.Proof), "log: another text")
	}
	for _, c := range f.Consistency {
		j.none(tlog.Consistent(c.Older, c.Newer, c.Proof), "log: consistency")
		j.want(tlog.Consistent(c.Older, c.Newer, c.Proof[1:]) != nil, "log: a shorter proof is taken")
	}
	for _, r := range f.Refused {
		_, err := p.Verify(entries[r.Entry], r.Proof)
		j.code(err, r.Code, "log: "+r.Name)
	}
	for _, b := range f.BadPolicies {
		_, err := tlog.ParsePolicy(b.Policy)
		j.code(err, b.Code, "log: "+b.Name)
	}
	j.want(len(f.Proofs) > 0 && len(f.Consistency) > 0 && len(f.Refused) > 0 && len(f.BadPolicies) > 0, "log: nothing there")
}

func (j *judge) lease() {
	var f Lease
	var q ask.LeaseRequest
	j.none(read(j.fsys, "lease.json", &f), "read")
	j.none(canon.Decode([]byte(f.Request), &q), "lease: request")
	key, _ := hex.DecodeString(f.Public)
	signed := func(text string) error {
		var l writ.Lease
		if err := canon.Decode([]byte(text), &l); err != nil {
			return err
		}
		j.want(text != f.Lease || l.Digest() == f.Digest && l.Nonce == q.Nonce && l.Host == q.Host, "lease: another digest, nonce or host")
		return l.Signed(key)
	}
	j.none(signed(f.Lease), "lease")
	for _, r := range f.Refused {
		j.want(signed(r.Bytes) != nil, "lease: %s is taken", r.Name)
	}
	j.want(len(f.Refused) > 0 && q.Type == ask.TypeLeaseRequest, "lease: nothing there")
}

// raw is a good writ as it reaches a host.
func (g WritGood) raw() writ.Raw {
	r := writ.Raw{Writ: []byte(g.Writ), Consistency: g.Consistency}
	for _, l := range g.Leases {
		r.Leases = append(r.Leases, []byte(l))
	}
	return r
}

func (j *judge) writ() {
	var f Writ
	j.none(read(j.fsys, "writ.json", &f), "read")
	of := map[string]WritGood{}
	for _, g := range f.Good {
		of[g.Name] = g
		var mem writ.Memory
		var w writ.Writ
		j.none(canon.Decode([]byte(g.Memory), &mem), "writ: memory")
		j.none(canon.Decode([]byte(g.Writ), &w), "writ: "+g.Name)
		v, next, err := writ.Verify(g.raw(), j.root, mem, at(g.Now))
		j.none(err, "writ: "+g.Name)
		j.want(v.Digest() == g.Digest && v.Shown() == g.Shown && writ.ApprovalsDigest(w.Approvals) == g.Approvals, "writ: %s: other digests", g.Name)
		j.want(err != nil || string(canon.MustEncode(v.Changes())) == g.Changes && string(canon.MustEncode(next)) == g.Next, "writ: %s: other changes or memory", g.Name)
	}
	for _, r := range f.Refused {
		g, known := of[r.Of]
		j.want(known && r.Code != "", "writ: %s: of %q, code %q", r.Name, r.Of, r.Code)
		raw, mem, now := g.raw(), writ.Memory{}, g.Now
		if r.Now != 0 {
			now = r.Now
		}
		if r.Memory != "" {
			g.Memory = r.Memory
		}
		j.none(canon.Decode([]byte(g.Memory), &mem), "writ: memory")
		if len(r.Replace) == 2 {
			j.want(strings.Contains(g.Writ, r.Replace[0]), "writ: %s replaces nothing", r.Name)
			raw.Writ = []byte(strings.Replace(g.Writ, r.Replace[0], r.Replace[1], 1))
		}
		if r.Leases != nil {
			raw.Leases = raw.Leases[:*r.Leases]
		}
		if r.NoProof {
			raw.Consistency = nil
		}
		_, _, err := writ.Verify(raw, j.root, mem, at(now))
		j.code(err, r.Code, "writ: "+r.Name)
	}
	j.want(len(f.Good) > 2 && len(f.Refused) > 0, "writ: nothing there")
}

func (j *judge) receipt() {
	var f Receipt
	j.none(read(j.fsys, "receipt.json", &f), "read")
	signed := func(text string) error {
		var r writ.Receipt
		if err := canon.Decode([]byte(text), &r); err != nil {
			return err
		}
		host, ok := j.root.Host(r.Host)
		j.want(text != f.Receipt || ok && host.Public == f.Public && r.Digest() == f.Digest && r.Good() == f.Good && string(r.Entry().Bytes()) == f.Entry, "receipt: other facts")
		return r.Signed(host)
	}
	j.none(signed(f.Receipt), "receipt")
	for _, r := range f.Refused {
		j.want(signed(r.Bytes) != nil, "receipt: %s is taken", r.Name)
	}
	j.want(len(f.Refused) > 0, "receipt: nothing there")
}

func (j *judge) verdict() {
	var f Verdict
	var v policy.Verdict
	var in policy.Input
	j.none(read(j.fsys, "verdict.json", &f), "read")
	j.none(canon.Decode([]byte(f.Verdict), &v), "verdict")
	j.none(canon.Decode([]byte(f.Input), &in), "verdict: input")
	again := policy.NewInput(j.root, in.Plan, in.Branches, in.Dossier, in.Facts, in.Grant, in.At)
	j.want(string(again.Bytes()) == f.Input, "verdict: another input")
	j.want(policy.InputDigest([]byte(f.Input)) == f.InputDigest && v.Input == f.InputDigest && v.Digest() == f.Digest && v.Plan == in.Plan.Digest(), "verdict: other digests")
	j.want(string(verdictEntry(v)) == f.Entry, "verdict: another entry")
}
