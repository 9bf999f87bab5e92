// Package writtest makes whole, valid writs in the house of trust/trusttest —
// plan, approvals or grant, log proof, leases — for tests of every room that
// takes one. Each part can be spoiled on its way, exactly one thing at a time.
//
// Nothing is stubbed: signatures, trees and cosignatures are real. It is for
// tests only.
package writtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/writ"
)

// Case is one writ in the making. New fills every field with good values;
// change what the test is about, then call Raw.
type Case struct {
	House    trusttest.House
	Host     trusttest.Host // the host the writ is for
	Header   plan.Header    // Tree and Leaves are filled by Raw, unless Sealed
	Branches []plan.Branch  // ascending by host
	Signers  []int          // indexes into House.People who sign the plan (or the grant)
	Grant    *approval.Grant
	Memory   writ.Memory
	Now      int64   // Unix seconds: witnesses' time and host's clock
	StoodAt  int64   // when the plan's entry was witnessed; Now when 0
	Leases   []int64 // one lease for each witness, at this time; all at Now when nil
	Sealed   bool
	Filler   int // entries in the log before the writ's

	EditApprovals func(*writ.Writ)           // before the body names them
	EditBody      func(*writ.Body)           // before it is logged
	EditEntry     func(*tlog.Entry)          // what is logged instead
	EditWrit      func(*writ.Writ)           // after everything
	EditLease     func(n int, l *writ.Lease) // before it is signed
	EditRaw       func(*writ.Raw)            // the bytes that reach the host
}

// Nonce is the lease nonce that the case's memory has outstanding.
var Nonce = strings.Repeat("5a", 32)

// New is a good case: one host, one upgrade, approved by people 1 and 2 of a
// plan written by person 3.
func New(house trusttest.House) *Case {
	now := house.Now.Unix()
	host := house.Hosts[0]
	c := &Case{House: house, Host: host, Signers: []int{0, 1}, Now: now, Filler: 5,
		Header: plan.Header{Type: plan.TypeHeader, Nonce: strings.Repeat("11", 32), Author: house.People[2].ID, Created: now - 60,
			Expires: now + 6*24*3600, Generation: 2, Dossier: canon.SumFile([]byte("dossier")), Class: change.Routine,
			Waves: []plan.Wave{{NotBefore: now - 60, Hosts: 1, Good: 1}}},
		Branches: []plan.Branch{Branch(host.ID, 0, Upgrade("openssl", "3.0.20-1~deb12u2", "3.0.22-1~deb12u2"))},
		Memory:   writ.NewMemory(host.ID, house.Root.ID).Asking(Nonce, now-5)}
	return c
}

// Upgrade is a routine upgrade of a package of debian-security.
func Upgrade(name, from, to string) change.Change {
	return change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: name, Arch: "amd64", From: from, To: to,
		Artefact: canon.SumFile([]byte(name + to)), Size: 1000, Origin: "debian-security", Class: change.Routine}
}

// Branch is a host's branch with its way back. Changes must be sorted by key.
func Branch(host trust.HostID, wave int, cs ...change.Change) plan.Branch {
	b := plan.Branch{Type: plan.TypeBranch, Host: host, Wave: wave, Changes: cs, Rollback: []change.Change{}}
	for _, c := range cs {
		b.Rollback = append(b.Rollback, Back(c))
	}
	return b
}

// Back is the inverse of a change.
func Back(c change.Change) change.Change {
	c.From, c.To = c.To, c.From
	switch c.Op {
	case change.Upgrade:
		c.Op = change.Downgrade
	case change.Downgrade:
		c.Op = change.Upgrade
	case change.Install:
		c.Op, c.Artefact, c.Size, c.Origin = change.Remove, "", 0, ""
		return c
	case change.Remove:
		c.Op, c.Origin = change.Install, "debian-main"
	}
	c.Artefact, c.Size = canon.SumFile([]byte(c.Package+c.To)), 900
	return c
}

// GrantFor is a grant that covers the case: routine upgrades of any package
// from debian-security in every domain, an hour of soak.
func (c *Case) GrantFor() *approval.Grant {
	return &approval.Grant{Type: approval.TypeGrant, Nonce: strings.Repeat("22", 32), Author: c.House.People[2].ID, Created: c.Now - 24*3600,
		Expires: c.Now + 30*24*3600, Scope: trust.Scope{All: true, Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{}},
		Packages: []string{"*"}, Origins: []change.Origin{"debian-security"}, Ceiling: change.Routine, Soak: 3600,
		Slots: []approval.Slot{{Domain: "a", After: 0}, {Domain: "b", After: 600}}, Budget: 3}
}

// Sign makes person n's approval of a statement with their SSH key.
func Sign(p trusttest.Person, s approval.Statement, at int64) approval.Approval {
	signer, err := ssh.NewSignerFromKey(p.SSH)
	must(err)
	hash := sha512.Sum512(s.Bytes)
	type signed struct{ Namespace, Reserved, HashAlgorithm, Hash string }
	sig, err := signer.Sign(rand.Reader, append([]byte("SSHSIG"), ssh.Marshal(signed{s.Kind.Namespace(), "", "sha512", string(hash[:])})...))
	must(err)
	type blob struct {
		Version                                                  uint32
		PublicKey, Namespace, Reserved, HashAlgorithm, Signature string
	}
	raw := append([]byte("SSHSIG"), ssh.Marshal(blob{1, string(signer.PublicKey().Marshal()), s.Kind.Namespace(), "", "sha512", string(ssh.Marshal(*sig))})...)
	return approval.Approval{Type: approval.TypeApproval, Kind: s.Kind, Statement: s.Digest(), Person: p.ID,
		Credential: p.SSHCredential().ID, At: at, Signature: base64.StdEncoding.EncodeToString(raw)}
}

// Raw builds the writ and everything beside it.
func (c *Case) Raw() writ.Raw {
	if !c.Sealed {
		c.seal()
	}
	w := c.assemble()
	entries := c.entries(&w)
	times := slices.Repeat([]int64{c.Now}, len(c.House.Witnesses))
	proof, err := c.House.Prove(entries, len(entries)-1, times...)
	must(err)
	w.Proof = proof
	if c.EditWrit != nil {
		c.EditWrit(&w)
	}
	raw := writ.Raw{Writ: canon.MustEncode(w), Leases: c.leases(entries)}
	if n := c.Memory.Checkpoint.Size; n > 0 && n < int64(len(entries)) {
		raw.Consistency, err = trusttest.Consistent(entries, n)
		must(err)
	}
	if c.EditRaw != nil {
		c.EditRaw(&raw)
	}
	return raw
}

// seal fills tree, leaf count and wave sizes of the header.
func (c *Case) seal() {
	leaves := [][]byte{}
	for _, b := range c.Branches {
		leaves = append(leaves, b.Bytes())
	}
	tree, err := whole.Tree(leaves)
	must(err)
	c.Header.Tree, c.Header.Leaves = tree, len(leaves)
}

func (c *Case) assemble() writ.Writ {
	n := slices.IndexFunc(c.Branches, func(b plan.Branch) bool { return b.Host == c.Host.ID })
	leaves := [][]byte{}
	for _, b := range c.Branches {
		leaves = append(leaves, b.Bytes())
	}
	path, err := whole.Path(leaves, n)
	must(err)
	w := writ.Writ{Type: writ.TypeFile, Header: c.Header, Branch: c.Branches[n], Index: n, Path: path,
		Approvals: []approval.Approval{}, Grants: []writ.Granted{}, Earlier: []writ.Earlier{},
		Body: writ.Body{Type: writ.TypeBody, Nonce: strings.Repeat("33", 32), Host: c.Host.ID, Plan: c.Header.Digest(),
			Branch: canon.Sum(plan.TypeBranch, leaves[n]), Verdict: canon.SumFile([]byte("verdict")),
			Issued: c.Now - 30, Expires: c.Now + 3600, Trust: c.House.Root.Versions}}
	s := approval.Statement{Kind: approval.Approve, Bytes: c.Header.Bytes()}
	if c.Grant != nil {
		s = approval.Statement{Kind: approval.Allow, Bytes: canon.MustEncode(*c.Grant)}
		w.Body.Grant = s.Digest()
		w.Grants = append(w.Grants, writ.Granted{Grant: *c.Grant})
	}
	for _, n := range c.Signers {
		w.Approvals = append(w.Approvals, Sign(c.House.People[n], s, c.Now))
	}
	if c.EditApprovals != nil {
		c.EditApprovals(&w)
	}
	w.Body.Approvals = writ.ApprovalsDigest(w.Approvals)
	if c.EditBody != nil {
		c.EditBody(&w.Body)
	}
	return w
}

// entries is the log: filler, the plan's entry, more filler, the writ's entry.
func (c *Case) entries(w *writ.Writ) [][]byte {
	all := [][]byte{}
	for i := range c.Filler {
		all = append(all, tlog.NewEntry("filler", canon.SumFile([]byte{byte(i)}), c.Now).Bytes())
	}
	all = append(all, writ.PlanEntry(c.Header).Bytes())
	if len(w.Grants) == 1 {
		stood := c.StoodAt
		if stood == 0 {
			stood = c.Now
		}
		proof, err := c.House.Prove(all, len(all)-1, slices.Repeat([]int64{stood}, len(c.House.Witnesses))...)
		must(err)
		w.Grants[0].Proof = proof
	}
	e := w.Body.Entry()
	if c.EditEntry != nil {
		c.EditEntry(&e)
	}
	return append(all, e.Bytes())
}

// Entries is the log as Raw would build it, for tests that need earlier states.
func (c *Case) Entries() [][]byte {
	if !c.Sealed {
		c.seal()
	}
	w := c.assemble()
	return c.entries(&w)
}

func (c *Case) leases(entries [][]byte) [][]byte {
	signed, err := c.House.Witnessed(entries, slices.Repeat([]int64{c.Now}, len(c.House.Witnesses))...)
	must(err)
	policy, err := tlog.ParsePolicy(c.House.Root.Witnesses)
	must(err)
	seen, err := policy.Checkpoint(signed)
	must(err)
	all := [][]byte{}
	for i, w := range c.House.Witnesses {
		at := c.Now
		if c.Leases != nil {
			if i >= len(c.Leases) {
				break
			}
			at = c.Leases[i]
		}
		l := writ.Lease{Type: writ.TypeLease, Witness: w.Name, Host: c.Host.ID, Nonce: Nonce, Time: at,
			Checkpoint: seen.Checkpoint, Trust: c.House.Root.ID, Versions: c.House.Root.Versions}
		if c.EditLease != nil {
			c.EditLease(i, &l)
		}
		all = append(all, canon.MustEncode(SignLease(l, w.Key)))
	}
	return all
}

// SignLease signs a lease as its witness.
func SignLease(l writ.Lease, key ed25519.PrivateKey) writ.Lease {
	l.Signature = hex.EncodeToString(ed25519.Sign(key, l.Digest().Bytes()))
	return l
}

// SignReceipt signs a receipt as its host.
func SignReceipt(r writ.Receipt, key ed25519.PrivateKey) writ.Receipt {
	r.Signature = hex.EncodeToString(ed25519.Sign(key, r.Digest().Bytes()))
	return r
}

// must turns an error of this test tool into a panic.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
