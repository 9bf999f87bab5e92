package docs

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/identity/softkey"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// planParts is the plan that several files speak of.
type planParts struct {
	header   plan.Header
	branches []plan.Branch
	dossier  proposal.Dossier
	leaves   [][]byte
}

// names of the package that the vectors upgrade.
const (
	pack     = "openssl"
	from, to = "3.0.20-1~deb12u2", "3.0.22-1~deb12u2"
)

// chain is what provenance would have shown about a change's artefact.
func chain(c change.Change) provenance.Chain {
	k := provenance.Entry{}.Chain()
	k.Origin, k.Package, k.Arch, k.Version, k.Artefact, k.Size = c.Origin, c.Package, c.Arch, c.To, c.Artefact, c.Size
	k.Release, k.Date, k.Signers, k.Path = sum("InRelease"), 1_767_571_200, []string{strings.Repeat("AB", 20)}, "main/binary-amd64/Packages.xz"
	k.Packages, k.Stanza, k.Filename = sum("Packages"), sum("stanza "+c.To), "pool/main/o/openssl/openssl_"+c.To+"_amd64.deb"
	return k
}

func sum(text string) canon.Digest { return canon.SumFile([]byte(text)) }

// plan makes the plan of all files: three hosts in two waves.
func (m *maker) plan() {
	forth := writtest.Upgrade(pack, from, to)
	back := writtest.Back(forth)
	old := artefact.Contents{Package: pack, Arch: "amd64", Version: from}
	in := artefact.Contents{Package: pack, Arch: "amd64", Version: to}
	r := proposal.Request{Nonce: strings.Repeat("11", 32), Author: m.house.People[2].ID, Created: m.now - 60, Expires: m.now + 6*24*3600,
		Generation: 2, Waves: []plan.Wave{{NotBefore: m.now - 60, Good: 1}, {NotBefore: m.now + 3600, Good: 2}},
		Note: "sicher ist sicher: é \\ \n",
		Facts: []proposal.Fact{{Package: pack, Arch: "amd64", From: from, To: to, Source: pack, SourceVersion: to, Class: change.Routine,
			Reasons: []artefact.Reason{}, Diff: artefact.Compare(&old, in), Breaks: []artefact.Break{}, Chain: chain(forth), Back: chain(back)}}}
	for i, h := range m.house.Hosts {
		r.Hosts = append(r.Hosts, proposal.HostRequest{ID: h.ID, Wave: min(i, 1), Inventory: sum("inventory"), Changes: []change.Change{forth}, Back: []change.Change{back},
			Findings: []match.Finding{{Advisory: "CVE-2026-0001", Package: pack, Arch: "amd64", State: match.Affected, Fixed: to,
				Sources: []match.Source{{State: match.Affected, Authority: advisory.Distribution}}}}})
	}
	var err error
	m.whole.header, m.whole.branches, m.whole.dossier, err = proposal.New(r)
	m.note(err)
	for _, b := range m.whole.branches {
		m.whole.leaves = append(m.whole.leaves, b.Bytes())
	}
}

func (m *maker) trustFile() Trust {
	t := Trust{About: "A whole trust repository (TUF): load it at now, pinned. refused: the same files under other circumstances.",
		Now: m.now, Pinned: m.house.Pinned, Files: map[string]string{}, Versions: m.house.Root.Versions}
	for name, b := range m.house.Bundle() {
		t.Files[name] = string(b)
	}
	for _, h := range m.house.Root.Hosts {
		t.Hosts = append(t.Hosts, Named{h.Public, h.ID})
	}
	for _, p := range m.house.Root.People {
		for _, c := range p.Credentials {
			t.Credentials = append(t.Credentials, Named{c.Public, c.ID})
		}
	}
	newer := t.Versions
	newer.Timestamp++
	t.Refused = []TrustRefused{
		{Name: "pinned to another root", Pinned: sum("another"), Now: m.now, Code: "PW-TRUST-PIN"},
		{Name: "a newer timestamp was seen before", Pinned: t.Pinned, Seen: newer, Now: m.now, Code: "PW-TRUST-ROLLBACK"},
		{Name: "thirty years later", Pinned: t.Pinned, Now: m.now + 30*366*24*3600, Code: "PW-TRUST-EXPIRED"},
		{Name: "no timestamp", Pinned: t.Pinned, Now: m.now, Without: "timestamp.json", Code: "PW-TRUST-FILE"},
	}
	return t
}

func (m *maker) planFile() Plan {
	w := m.whole
	p := Plan{About: "A plan's header, every branch, and the RFC 6962 tree over the branches' bytes.", Header: string(w.header.Bytes()), Digest: w.header.Digest(), Tree: w.header.Tree}
	for i, leaf := range w.leaves {
		path, err := whole.Path(w.leaves, i)
		m.note(err)
		hash := tlog.RecordHash(leaf)
		p.Branches = append(p.Branches, Leaf{string(leaf), canon.Sum(plan.TypeBranch, leaf), canon.Digest(fmt.Sprintf("%x", hash[:])), i, path})
	}
	first := p.Branches[0]
	p.RefusedPaths = []RefusedPath{
		{"another place", 0, 1, first.Path},
		{"another branch", 1, 0, first.Path},
		{"a path cut short", 0, 0, first.Path[:1]},
		{"a path too long", 0, 0, append(slices.Clone(first.Path), sum("more"))},
		{"beyond the last leaf", 0, 3, first.Path},
	}
	h := p.Header
	edit := func(old, new string) string { return strings.Replace(h, old, new, 1) }
	p.RefusedHeaders = []CanonBad{
		{"a key is missing", edit(`,"parent":""`, "")},
		{"a key too many", edit(`,"note":`, `,"extra":1,"note":`)},
		{"keys out of order", edit(`{"author":"p-003","class":"routine",`, `{"class":"routine","author":"p-003",`)},
		{"another type", edit("patchwrit/plan/v1", "patchwrit/plan/v2")},
		{"lives longer than seven days", edit(fmt.Sprintf(`"expires":%d`, w.header.Expires), fmt.Sprintf(`"expires":%d`, w.header.Created+plan.MaxLife+1))},
		{"waves and leaves disagree", edit(`"leaves":3`, `"leaves":4`)},
		{"an unknown class", edit(`"class":"routine"`, `"class":"mild"`)},
	}
	up := w.branches[0].Changes[0]
	down, gone, none := up, up, up
	down.From, down.To = up.To, up.From
	gone.Op = change.Remove
	none.Artefact = ""
	p.RefusedChanges = []RefusedChange{{"an upgrade that goes down", down}, {"a removal that names what comes", gone}, {"no artefact", none}}
	return p
}

func (m *maker) wholePlanFile() PlanFile {
	f := proposal.NewFile(m.whole.header, m.whole.branches, m.whole.dossier)
	text := string(f.Bytes())
	return PlanFile{About: "A plan file: header, all branches and the dossier that the header names.", Bytes: text, Plan: f.Header.Digest(), Dossier: f.Dossier.Digest(),
		Refused: []Replaced{
			{"the dossier tells another class", `"class":"routine","diff"`, `"class":"critical","diff"`},
			{"a branch takes the network", `"network":false`, `"network":true`},
			{"the dossier's cause is another advisory", "CVE-2026-0001", "CVE-2026-0002"},
		}}
}

// taken is the earlier approval of that name if it still passes, so that a
// signature with chance in it stays as it was committed.
func (m *maker) taken(old fs.FS, name string, s approval.Statement) (approval.Approval, bool) {
	var file Approvals
	if old == nil || read(old, "approvals.json", &file) != nil {
		return approval.Approval{}, false
	}
	for _, g := range file.Good {
		var a approval.Approval
		if g.Name != name || canon.Decode([]byte(g.Approval), &a) != nil {
			continue
		}
		_, _, err := approval.Check(m.house.Root, s, a)
		return a, err == nil
	}
	return approval.Approval{}, false
}

func (m *maker) approvalsFile(old fs.FS) Approvals {
	s := approval.Statement{Kind: approval.Approve, Bytes: m.whole.header.Bytes()}
	no := approval.Statement{Kind: approval.Deny, Bytes: s.Bytes}
	ssh := writtest.Sign(m.house.People[0], s, m.now)
	pass, ok := m.taken(old, "webauthn", s)
	if !ok {
		p, err := softkey.Passkey(m.house.Root, m.house.People[1].Passkey, m.house.People[1].PasskeyCredential(), s, m.now)
		m.note(err)
		pass = p
	}
	f := Approvals{About: "Approvals, judged by approval.Check under the roster of trust.json. The webauthn signature is ECDSA: frozen, never made twice."}
	f.Good = []ApprovalGood{good("ssh", s, ssh), good("webauthn", s, pass), good("ssh, a no", no, writtest.Sign(m.house.People[1], no, m.now))}
	refuse := func(name, of string, k approval.Kind, a approval.Approval, edit func(*approval.Approval), code string) {
		edit(&a)
		f.Refused = append(f.Refused, ApprovalRefused{Name: name, Of: of, Kind: string(k), Approval: string(canon.MustEncode(a)), Code: "PW-APPROVAL-" + codeOf(code)})
	}
	refuse("a yes shown as a no", "ssh", approval.Deny, ssh, func(*approval.Approval) {}, "KIND")
	refuse("a yes renamed to a no", "ssh", approval.Deny, ssh, func(a *approval.Approval) { a.Kind, a.Statement = no.Kind, no.Digest() }, "SSH-NAMESPACE")
	refuse("another statement", "ssh", approval.Approve, ssh, func(a *approval.Approval) { a.Statement = sum("another") }, "STATEMENT")
	refuse("somebody else's name", "ssh", approval.Approve, ssh, func(a *approval.Approval) { a.Person = "p-002" }, "CREDENTIAL")
	refuse("somebody unknown", "ssh", approval.Approve, ssh, func(a *approval.Approval) { a.Person = "p-999" }, "PERSON")
	refuse("one bit of the signature", "ssh", approval.Approve, ssh, func(a *approval.Approval) { a.Signature = flip(a.Signature, -1, 1) }, "SIGNATURE")
	refuse("nobody verified who touched it", "webauthn", approval.Approve, pass, func(a *approval.Approval) { a.Authenticator = flip(a.Authenticator, 32, 4) }, "VERIFICATION")
	refuse("nobody touched it", "webauthn", approval.Approve, pass, func(a *approval.Approval) { a.Authenticator = flip(a.Authenticator, 32, 1) }, "PRESENCE")
	refuse("another relying party", "webauthn", approval.Approve, pass, func(a *approval.Approval) { a.Authenticator = flip(a.Authenticator, 0, 1) }, "RP")
	refuse("another page", "webauthn", approval.Approve, pass, swap("localhost:8444", "localhost:8445"), "ORIGIN")
	refuse("in a frame", "webauthn", approval.Approve, pass, swap(`"crossOrigin":false`, `"crossOrigin":true`), "CROSSORIGIN")
	refuse("a registration", "webauthn", approval.Approve, pass, swap("webauthn.get", "webauthn.create"), "CLIENT-TYPE")
	refuse("the counter changed", "webauthn", approval.Approve, pass, func(a *approval.Approval) { a.Authenticator = flip(a.Authenticator, -1, 1) }, "SIGNATURE")
	return f
}

func good(name string, s approval.Statement, a approval.Approval) ApprovalGood {
	return ApprovalGood{Name: name, Kind: string(s.Kind), Domain: s.Kind.Domain(), Namespace: s.Kind.Namespace(), Statement: string(s.Bytes), Digest: s.Digest(),
		Challenge: base64.RawURLEncoding.EncodeToString(s.Digest().Bytes()), Person: a.Person, Approval: string(canon.MustEncode(a))}
}

// flip changes bits of the byte at index at (from the end when negative) of base64.
func flip(text string, at int, bits byte) string {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	b[(at+len(b))%len(b)] ^= bits
	return base64.StdEncoding.EncodeToString(b)
}

// swap replaces text inside the client data.
func swap(old, new string) func(*approval.Approval) {
	return func(a *approval.Approval) {
		b, err := base64.StdEncoding.DecodeString(a.Client)
		if err != nil {
			panic(err)
		}
		a.Client = base64.StdEncoding.EncodeToString(bytes.Replace(b, []byte(old), []byte(new), 1))
	}
}

func (m *maker) grantFile() Grant {
	g := approval.Grant{Type: approval.TypeGrant, Nonce: strings.Repeat("22", 32), Author: m.house.People[2].ID, Created: m.now - 60, Expires: m.now + approval.MaxGrantLife - 60,
		Scope: trust.Scope{Hosts: []trust.HostID{}, Domains: []string{"a"}, Labels: []trust.Label{}}, Packages: []string{"lib*", pack}, Origins: []change.Origin{"debian-security"},
		Ceiling: change.Routine, Soak: 3600, Slots: []approval.Slot{{Domain: "a", After: 600}}, Budget: 5, Note: "canaries only"}
	h := approval.Halt{Type: approval.TypeHalt, Nonce: strings.Repeat("44", 32), Author: m.house.People[0].ID, From: m.now, Until: m.now + 3600,
		Scope: trust.Scope{All: true, Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{}}, Note: canon.NoteOf("something is wrong\n")}
	allow, stop := g.Statement(approval.Allow), h.Statement(approval.Stop)
	f := Grant{About: "A grant that two people signed and a halt that one signed; what the grant covers, when a host may begin under it, and whom the halt stops.",
		Grant: m.signed(allow, 0, 1), Halt: m.signed(stop, 0)}
	a, b := m.house.Hosts[0].ID, m.house.Hosts[1].ID
	up := writtest.Upgrade(pack, from, to)
	cover := func(name string, host trust.HostID, code string, edit func(*change.Change)) {
		c := up
		edit(&c)
		f.Covers = append(f.Covers, Covered{name, host, c, codeOf(code)})
	}
	cover("covered", a, "", func(*change.Change) {})
	cover("another fault domain", b, "PW-GRANT-SCOPE", func(*change.Change) {})
	cover("another package", a, "PW-GRANT-PACKAGE", func(c *change.Change) { c.Package = "curl" })
	cover("another origin", a, "PW-GRANT-ORIGIN", func(c *change.Change) { c.Origin = "debian-main" })
	cover("above the ceiling", a, "PW-GRANT-CEILING", func(c *change.Change) { c.Class = change.Sensitive })
	cover("on the critical list", a, "PW-GRANT-CRITICAL", func(c *change.Change) { c.Package = "libc6" })
	cover("a downgrade", a, "PW-GRANT-OP", func(c *change.Change) { *c = writtest.Back(*c) })
	cover("Patchwrit itself", a, "PW-GRANT-SELF", func(c *change.Change) { c.Package = "patchwrit-agent" })
	f.NotBefore = []SoakedUntil{{a, m.now, m.now + 3600 + 600}}
	f.Halted = []HaltedAt{{a, m.now - 1, false}, {a, m.now, true}, {b, m.now + 3599, true}, {b, m.now + 3600, false}}
	return f
}

// signed has people sign a statement with their SSH keys.
func (m *maker) signed(s approval.Statement, people ...int) Signed {
	out := Signed{Bytes: string(s.Bytes), Kind: string(s.Kind), Digest: s.Digest(), Quorum: string(s.Kind)}
	for _, n := range people {
		out.Approvals = append(out.Approvals, string(canon.MustEncode(writtest.Sign(m.house.People[n], s, m.now))))
	}
	return out
}

func (m *maker) verdictFile() Verdict {
	in := policy.NewInput(m.house.Root, m.whole.header, m.whole.branches, m.whole.dossier, policy.Facts{}, "", m.now)
	d := policy.Decision{Outcome: policy.Quorum, Class: change.Routine, Reasons: []policy.Reason{{Rule: "no_grant", Outcome: policy.Quorum, Text: "no grant was given"}}}
	v := policy.Bind(d, m.whole.header.Digest(), m.whole.header.Class, m.now, sum("bundle"), policy.InputDigest(in.Bytes()))
	return Verdict{About: "What the rules looked at and their answer. The bundle's digest is made up: no rules are in this file.",
		Input: string(in.Bytes()), InputDigest: v.Input, Verdict: string(v.Bytes()), Digest: v.Digest(), Entry: string(verdictEntry(v))}
}
