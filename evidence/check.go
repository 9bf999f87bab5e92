package evidence

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// Refusals of this room.
const (
	codeForm       refusal.Code = "PW-EVIDENCE-FORM"
	codeRoot       refusal.Code = "PW-EVIDENCE-ROOT"
	codePlan       refusal.Code = "PW-EVIDENCE-PLAN"
	codeBlob       refusal.Code = "PW-EVIDENCE-BLOB"
	codeApproval   refusal.Code = "PW-EVIDENCE-APPROVAL"
	codeVerdict    refusal.Code = "PW-EVIDENCE-VERDICT"
	codeLog        refusal.Code = "PW-EVIDENCE-LOG"
	codeProvenance refusal.Code = "PW-EVIDENCE-PROVENANCE"
	codeWrit       refusal.Code = "PW-EVIDENCE-WRIT"
	codeLease      refusal.Code = "PW-EVIDENCE-LEASE"
	codeReceipt    refusal.Code = "PW-EVIDENCE-RECEIPT"
)

// Decide evaluates a policy bundle file over input bytes again. It is room
// policy/rego's, handed in because that room lies at the edge.
type Decide func(bundle, input []byte) (policy.Decision, error)

// notProved says what no bundle can show.
var notProved = []string{
	"That the witnesses are run by different people: only you know who holds their keys.",
	"That the people understood what they signed: a signature shows a key, not a thought.",
	"That the host told the truth in its receipt: it is the host's own word, unless hardware attests it.",
	"That the vendor's bytes are harmless: the chain shows whose they are.",
	"That nothing else happened on the host outside Patchwrit.",
}

type checker struct {
	b      Bundle
	root   trust.Root
	policy tlog.Policy
	decide Decide
	blobs  map[canon.Digest][]byte
	used   map[canon.Digest]bool
	proven []proven // entries in the order of the log
}

type proven struct {
	entry tlog.Entry
	seen  tlog.Verified
}

// Run checks a bundle's bytes under the auditor's own trust root. With
// firstOnly it stops at the first check that fails. It never returns an error:
// whatever is wrong is a check that is not ok.
func Run(raw []byte, root trust.Root, decide Decide, firstOnly bool) Report {
	c := &checker{root: root, decide: decide, used: map[canon.Digest]bool{}}
	r := Report{OK: true, Checks: []Check{}, NotProved: notProved}
	steps := []struct {
		name string
		run  func() (string, error)
	}{
		{"form", func() (string, error) { return c.form(raw) }},
		{"blobs", c.readBlobs},
		{"trust root", c.rooted},
		{"plan", c.planned},
		{"log", c.logged},
		{"approvals", c.approved},
		{"writs", c.writs},
		{"leases", c.leases},
		{"receipts", c.receipts},
		{"verdict", c.verdict},
		{"provenance", c.provenance},
		{"nothing left over", c.leftOver},
	}
	for i, s := range steps {
		says, err := s.run()
		check := Check{Name: s.name, OK: err == nil, Says: says, Code: string(refusal.CodeOf(err))}
		if err != nil {
			r.OK, check.Says = false, err.Error()
		}
		r.Checks = append(r.Checks, check)
		if err != nil && (firstOnly || i < 4) { // without these the rest has nothing to stand on
			break
		}
	}
	if c.b.Type == TypeBundle {
		r.Plan = string(c.b.Header.Digest())
	}
	return r
}

func (c *checker) form(raw []byte) (string, error) {
	if err := canon.Decode(raw, &c.b); err != nil {
		return "", refusal.New(codeForm, "%v", err)
	}
	if c.b.Type != TypeBundle {
		return "", refusal.New(codeForm, "type %q", c.b.Type)
	}
	return fmt.Sprintf("%d bytes in the one canonical form", len(raw)), nil
}

func (c *checker) readBlobs() (string, error) {
	c.blobs = map[canon.Digest][]byte{}
	for i, b := range c.b.Blobs {
		data, err := base64.StdEncoding.Strict().DecodeString(b.Data)
		if err != nil || canon.SumFile(data) != b.Digest || strings.ContainsAny(b.Data, "\r\n") {
			return "", refusal.New(codeBlob, "file %d is not %s", i, b.Digest.Short())
		}
		if i > 0 && c.b.Blobs[i-1].Digest >= b.Digest {
			return "", refusal.New(codeBlob, "file %d is not in order", i)
		}
		c.blobs[b.Digest] = data
	}
	return fmt.Sprintf("%d files are what their digests say", len(c.blobs)), nil
}

func (c *checker) rooted() (string, error) {
	if !c.root.Loaded() || c.root.ID != c.b.Root {
		return "", refusal.New(codeRoot, "the bundle is of house %s, your trust root is %s", c.b.Root.Short(), c.root.ID.Short())
	}
	policy, err := tlog.ParsePolicy(c.root.Witnesses)
	if err != nil {
		return "", refusal.New(codeRoot, "%v", err)
	}
	c.policy = policy
	says := fmt.Sprintf("house %s, root version %d, %d people, %d hosts", c.root.ID.Short(), c.root.Versions.Root, len(c.root.People), len(c.root.Hosts))
	if c.root.Solo {
		says += "; SOLO: one person may decide alone"
	}
	return says, nil
}

func (c *checker) planned() (string, error) {
	if err := plan.Open(c.b.Header, c.b.Branches); err != nil {
		return "", refusal.New(codePlan, "%v", err)
	}
	if d := c.b.Dossier.Digest(); d != c.b.Header.Dossier {
		return "", refusal.New(codePlan, "the dossier is %s, the plan names %s", d.Short(), c.b.Header.Dossier.Short())
	}
	return fmt.Sprintf("plan %s: %d hosts, class %s, tree rebuilt from every branch, dossier %s", c.b.Header.Digest().Short(), len(c.b.Branches), c.b.Header.Class, c.b.Header.Dossier.Short()), nil
}

// expected lists the entry of every event in the bundle.
func (c *checker) expected() []tlog.Entry {
	all := []tlog.Entry{writ.PlanEntry(c.b.Header)}
	for _, a := range c.b.Approvals {
		all = append(all, ApprovalEntry(a))
	}
	all = append(all, VerdictEntry(c.b.Verdict))
	for _, u := range c.b.Writs {
		all = append(all, u.Writ.Body.Entry())
		for _, r := range u.Receipts {
			all = append(all, r.Entry())
		}
	}
	return all
}

// ApprovalEntry is the log entry of a yes or no.
func ApprovalEntry(a approval.Approval) tlog.Entry {
	return tlog.NewEntry("approval", canon.Sum(approval.TypeApproval, canon.MustEncode(a)), a.At)
}

// VerdictEntry is the log entry of a verdict.
func VerdictEntry(v policy.Verdict) tlog.Entry { return tlog.NewEntry("verdict", v.Digest(), v.At) }

// logged verifies every proof, that the log's order is the order of the events,
// that exactly the bundle's events are there, and that all checkpoints are
// states of one log.
func (c *checker) logged() (string, error) {
	for i, l := range c.b.Entries {
		seen, err := c.policy.Verify(l.Entry, l.Proof)
		if err != nil {
			return "", refusal.New(codeLog, "entry %d (%s): %v", i, l.Entry.Kind, err)
		}
		if i > 0 && c.proven[i-1].seen.Index >= seen.Index {
			return "", refusal.New(codeLog, "entry %d (%s) is not in the log's order", i, l.Entry.Kind)
		}
		c.proven = append(c.proven, proven{l.Entry, seen})
	}
	want := c.expected()
	if len(want) != len(c.proven) {
		return "", refusal.New(codeLog, "%d events, %d entries", len(want), len(c.proven))
	}
	for _, e := range want {
		if !slices.ContainsFunc(c.proven, func(p proven) bool { return p.entry == e }) {
			return "", refusal.New(codeLog, "the %s of %s is not in the log", e.Kind, stamp(e.At))
		}
	}
	if err := c.inSequence(); err != nil {
		return "", err
	}
	if err := c.linked(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d events, each in a checkpoint that the log signed and a quorum of witnesses saw; one log throughout", len(want)), nil
}

// inSequence holds the kinds to the order in which they may have effect.
func (c *checker) inSequence() error {
	order := map[string]int{"plan": 0, "approval": 1, "verdict": 2, "writ": 3, "receipt": 4}
	first := map[string]int64{}
	last := map[string]int64{}
	for _, p := range c.proven {
		if _, ok := first[p.entry.Kind]; !ok {
			first[p.entry.Kind] = p.seen.Index
		}
		last[p.entry.Kind] = p.seen.Index
	}
	for a, na := range order {
		for b, nb := range order {
			lastA, okA := last[a]
			firstB, okB := first[b]
			if okA && okB && na < nb && nb <= 3 && lastA > firstB {
				return refusal.New(codeLog, "a %s was logged after a %s it should stand before", a, b)
			}
		}
	}
	for _, u := range c.b.Writs {
		for _, r := range u.Receipts {
			if c.index(r.Entry()) < c.index(u.Writ.Body.Entry()) {
				return refusal.New(codeLog, "the receipt of host %s stands before its writ", r.Host.Short())
			}
		}
	}
	return nil
}

func (c *checker) index(e tlog.Entry) int64 {
	i := slices.IndexFunc(c.proven, func(p proven) bool { return p.entry == e })
	return c.proven[i].seen.Index
}

// linked proves that the checkpoints of all proofs are states of one log.
func (c *checker) linked() error {
	points := []tlog.Checkpoint{}
	for _, p := range c.proven {
		points = append(points, p.seen.Checkpoint)
	}
	for _, u := range c.b.Writs {
		seen, err := c.policy.Verify(u.Writ.Body.Entry(), u.Writ.Proof)
		if err != nil {
			return refusal.New(codeLog, "the writ's own proof: %v", err)
		}
		points = append(points, seen.Checkpoint)
	}
	slices.SortFunc(points, func(a, b tlog.Checkpoint) int {
		return strings.Compare(fmt.Sprintf("%020d%s", a.Size, a.Hash), fmt.Sprintf("%020d%s", b.Size, b.Hash))
	})
	points = slices.Compact(points)
	if len(c.b.Links) != len(points)-1 {
		return refusal.New(codeLog, "%d checkpoints, %d links", len(points), len(c.b.Links))
	}
	for i, l := range c.b.Links {
		if l.From != points[i].Size || l.To != points[i+1].Size {
			return refusal.New(codeLog, "link %d joins other sizes", i)
		}
		if err := tlog.Consistent(points[i], points[i+1], l.Proof); err != nil {
			return refusal.New(codeLog, "from size %d to %d: %v", l.From, l.To, err)
		}
	}
	return nil
}

func (c *checker) approved() (string, error) {
	yes, no := 0, 0
	for _, a := range c.b.Approvals {
		s := approval.Statement{Kind: a.Kind, Bytes: c.b.Header.Bytes()}
		if a.Kind != approval.Approve && a.Kind != approval.Deny {
			return "", refusal.New(codeApproval, "a %s is no word on a plan", a.Kind)
		}
		if _, _, err := approval.Check(c.root, s, a); err != nil {
			return "", refusal.New(codeApproval, "%s of %s: %v", a.Kind, a.Person, err)
		}
		if a.Kind == approval.Approve {
			yes++
		} else {
			no++
		}
	}
	if no > 0 && len(c.b.Writs) > 0 {
		return "", refusal.New(codeApproval, "%d people said no, and writs were issued all the same", no)
	}
	return fmt.Sprintf("%d yes, %d no, each by a key of the roster over these very bytes", yes, no), nil
}

// writs verifies every writ as its host did, at its leases' time.
func (c *checker) writs() (string, error) {
	for _, u := range c.b.Writs {
		host := u.Writ.Body.Host
		if u.Writ.Body.Plan != c.b.Header.Digest() || u.Writ.Body.Verdict != c.b.Verdict.Digest() {
			return "", refusal.New(codeWrit, "host %s: the writ is of another plan or verdict", host.Short())
		}
		if !slices.ContainsFunc(c.b.Branches, func(b plan.Branch) bool { return bytes.Equal(b.Bytes(), u.Writ.Branch.Bytes()) }) {
			return "", refusal.New(codeWrit, "host %s: the branch is not of this plan", host.Short())
		}
		if len(u.Leases) == 0 {
			return "", refusal.New(codeWrit, "host %s: no leases", host.Short())
		}
		newest := int64(0)
		raw := writ.Raw{Writ: canon.MustEncode(u.Writ)}
		for _, l := range u.Leases {
			raw.Leases = append(raw.Leases, canon.MustEncode(l))
			newest = max(newest, l.Time)
		}
		memory := writ.NewMemory(host, c.root.ID).Asking(u.Leases[0].Nonce, newest)
		if _, _, err := writ.Verify(raw, c.root, memory, time.Unix(newest, 0)); err != nil {
			return "", refusal.New(codeWrit, "host %s: %v", host.Short(), err)
		}
	}
	return fmt.Sprintf("%d writs verify as their hosts verified them", len(c.b.Writs)), nil
}

// leases checks every single one: on a host a bad one does not count, here it
// is a finding.
func (c *checker) leases() (string, error) {
	n := 0
	for _, u := range c.b.Writs {
		for _, l := range u.Leases {
			key, known := c.policy.Key(l.Witness)
			if !known {
				return "", refusal.New(codeLease, "witness %q is not in the policy", l.Witness)
			}
			if err := l.Signed(key); err != nil {
				return "", refusal.New(codeLease, "%v", err)
			}
			n++
		}
	}
	return fmt.Sprintf("%d leases, each signed by its witness", n), nil
}

func (c *checker) receipts() (string, error) {
	says := []string{}
	for _, u := range c.b.Writs {
		for _, r := range u.Receipts {
			host, known := c.root.Host(r.Host)
			if !known || r.Host != u.Writ.Body.Host || r.Writ != u.Writ.Body.Digest() || r.Plan != u.Writ.Body.Plan || r.Wave != u.Writ.Branch.Wave {
				return "", refusal.New(codeReceipt, "host %s: it speaks for another host, writ or plan", r.Host.Short())
			}
			if err := r.Signed(host); err != nil {
				return "", refusal.New(codeReceipt, "host %s: %v", r.Host.Short(), err)
			}
			if err := told(r, u.Writ.Branch.Changes); err != nil {
				return "", err
			}
			e := r.Effective
			says = append(says, fmt.Sprintf("host %s %s: installed %s, running %s, rescanned %s, healthy %s, attested %s",
				r.Host.Short(), r.Outcome, e.Installed, e.Running, e.Rescanned, e.Healthy, e.Attested))
		}
	}
	return strings.Join(append([]string{fmt.Sprintf("%d receipts signed by their hosts", len(says))}, says...), "; "), nil
}

// told holds a receipt that says done to the versions of its branch.
func told(r writ.Receipt, changes []change.Change) error {
	if r.Outcome != writ.Done {
		return nil
	}
	for _, ch := range changes {
		ok := slices.ContainsFunc(r.States, func(s writ.State) bool {
			return s.Package == ch.Package && s.Arch == ch.Arch && s.Before == ch.From && s.After == ch.To
		})
		if !ok {
			return refusal.New(codeReceipt, "host %s says done, but not that %s went to %q", r.Host.Short(), ch.Key(), ch.To)
		}
	}
	return nil
}

// verdict gathers the rules' input again and evaluates the pinned bundle.
func (c *checker) verdict() (string, error) {
	in := policy.NewInput(c.root, c.b.Header, c.b.Branches, c.b.Dossier, c.b.Input.Grant, c.b.Input.At)
	if !bytes.Equal(in.Bytes(), c.b.Input.Bytes()) {
		return "", refusal.New(codeVerdict, "the input is not what plan, dossier and trust root give")
	}
	file, ok := c.blobs[c.root.Policy.Bundle]
	if !ok {
		return "", refusal.New(codeVerdict, "the policy bundle %s that the trust root pins is not there", c.root.Policy.Bundle.Short())
	}
	c.used[c.root.Policy.Bundle] = true
	d, err := c.decide(file, in.Bytes())
	if err != nil {
		return "", refusal.New(codeVerdict, "%v", err)
	}
	again := policy.Bind(d, c.b.Header.Digest(), c.b.Header.Class, in.At, c.root.Policy.Bundle, policy.InputDigest(in.Bytes()))
	if again.Digest() != c.b.Verdict.Digest() {
		return "", refusal.New(codeVerdict, "the rules say %s, the record says %s", again.Outcome, c.b.Verdict.Outcome)
	}
	if again.Outcome.Rank() > policy.Quorum.Rank() && len(c.b.Writs) > 0 {
		return "", refusal.New(codeVerdict, "the rules said %s, and writs were issued all the same", again.Outcome)
	}
	return fmt.Sprintf("the rules, evaluated again, say the same: %s (%d reasons)", again.Outcome, len(again.Reasons)), nil
}

// provenance walks from the vendor's signatures to every artefact again.
func (c *checker) provenance() (string, error) {
	indexes := map[change.Origin][]provenance.Index{}
	for _, r := range c.b.Releases {
		xs, err := c.release(r)
		if err != nil {
			return "", err
		}
		indexes[r.Origin] = append(indexes[r.Origin], xs...)
	}
	n := 0
	for _, f := range c.b.Dossier.Artefacts {
		for _, want := range []provenance.Chain{f.Chain, f.Back} {
			if want.Artefact == "" {
				continue
			}
			if !found(indexes[want.Origin], want) {
				return "", refusal.New(codeProvenance, "%s %s: the chain to %s cannot be walked again", want.Package, want.Version, want.Origin)
			}
			n++
		}
	}
	return fmt.Sprintf("%d artefacts lead back to their vendor's signatures", n), nil
}

func (c *checker) release(r Release) ([]provenance.Index, error) {
	o, known := c.root.Origin(r.Origin)
	raw, there := c.blobs[r.InRelease]
	if !known || !there {
		return nil, refusal.New(codeProvenance, "origin %s: not in the trust root, or its release is not there", r.Origin)
	}
	c.used[r.InRelease] = true
	release, err := provenance.ReadRelease(raw, o, c.root.Keyrings[o.Keyring], 0, time.Unix(c.b.Header.Created, 0))
	if err != nil {
		return nil, refusal.New(codeProvenance, "origin %s: %v", r.Origin, err)
	}
	xs := []provenance.Index{}
	for _, p := range r.Packages {
		data, there := c.blobs[p.Blob]
		if !there {
			return nil, refusal.New(codeProvenance, "origin %s: %s is not there", r.Origin, p.Path)
		}
		c.used[p.Blob] = true
		x, err := release.ReadPackages(p.Path, bytes.NewReader(data))
		if err != nil {
			return nil, refusal.New(codeProvenance, "origin %s: %v", r.Origin, err)
		}
		xs = append(xs, x)
	}
	return xs, nil
}

// found reports whether an index gives exactly this chain again.
func found(xs []provenance.Index, want provenance.Chain) bool {
	for _, x := range xs {
		e, err := x.Find(want.Package, want.Arch, want.Version)
		if err == nil && bytes.Equal(canon.MustEncode(e.Chain()), canon.MustEncode(want)) {
			return true
		}
	}
	return false
}

// leftOver refuses files that no check has looked at.
func (c *checker) leftOver() (string, error) {
	for d := range c.blobs {
		if !c.used[d] {
			return "", refusal.New(codeBlob, "file %s belongs to nothing", d.Short())
		}
	}
	return "every file in the bundle was used by a check", nil
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
