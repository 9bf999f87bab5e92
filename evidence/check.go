package evidence

import (
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
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
	"That the bundle is complete: a no, a writ or a receipt that was logged and left out is found only in the log itself (patchwrit ledger ls).",
	"That the witnesses are run by different people: only you know who holds their keys.",
	"That the people understood what they signed: a signature shows a key, not a thought.",
	"That the host told the truth in its receipt: it is the host's own word, unless hardware attests it.",
	"That the inventories and advisories behind the plan were right: the dossier names them, the bundle does not hold them.",
	"That the vendor's bytes are harmless, or what is inside them: the chain shows whose they are, and hosts look inside again.",
	"That nothing else happened on the host outside Patchwrit.",
}

// checker carries one check from step to step. The cheap steps come first.
type checker struct {
	b      Bundle
	root   trust.Root
	policy tlog.Policy
	decide Decide
	blobs  map[canon.Digest][]byte
	used   map[canon.Digest]bool
	place  map[tlog.Entry]int // of each event in Bundle.Entries
	bare   []string           // artefacts that the dossier has no chain for
}

// step is one named check: what it proved, or why not.
type step struct {
	name string
	run  func() (string, error)
}

// Run checks a bundle's bytes under the auditor's own trust root. With
// firstOnly it stops at the first check that fails. It never returns an error:
// whatever is wrong is a check that is not ok.
func Run(raw []byte, root trust.Root, decide Decide, firstOnly bool) Report {
	c := &checker{root: root, decide: decide, used: map[canon.Digest]bool{}}
	r := Report{OK: true, Checks: []Check{}, NotProved: slices.Clone(notProved)}
	standing := []step{ // without any of these the rest has nothing to stand on
		{"form", func() (string, error) { return c.form(raw) }},
		{"files", c.files},
		{"trust root", c.rooted},
		{"plan", c.planned},
		{"order of events", c.ordered},
	}
	rest := []step{{"receipts", c.receipts}, {"approvals", c.approved}, {"log", c.logged}, {"writs", c.writs},
		{"leases", c.leases}, {"verdict", c.verdict}, {"provenance", c.provenance}, {"nothing left over", c.leftOver}}
	if c.each(&r, standing, true) && c.each(&r, rest, firstOnly) && len(c.bare) > 0 {
		r.NotProved = append(r.NotProved, fmt.Sprintf("Whose bytes would bring back what is removed: the dossier says nothing about %q.", c.bare))
	}
	if c.b.Type == TypeBundle {
		r.Plan = string(c.b.Header.Digest())
	}
	return r
}

// each runs steps into the report and tells whether all were ok.
func (c *checker) each(r *Report, steps []step, stop bool) bool {
	for _, s := range steps {
		says, err := s.run()
		check := Check{Name: s.name, OK: err == nil, Says: says, Code: string(refusal.CodeOf(err))}
		if err != nil {
			r.OK, check.Says = false, err.Error()
		}
		r.Checks = append(r.Checks, check)
		if err != nil && stop {
			break
		}
	}
	return r.OK
}

func (c *checker) form(raw []byte) (string, error) {
	var b Bundle
	if err := canon.Decode(raw, &b); err != nil {
		return "", refusal.New(codeForm, "%v", err)
	}
	if b.Type != TypeBundle {
		return "", refusal.New(codeForm, "type %q", b.Type)
	}
	c.b = b
	return fmt.Sprintf("%d bytes in the one canonical form", len(raw)), nil
}

func (c *checker) files() (string, error) {
	c.blobs = map[canon.Digest][]byte{}
	for i, b := range c.b.Blobs {
		data, err := base64.StdEncoding.Strict().DecodeString(b.Data)
		if err != nil || canon.SumFile(data) != b.Digest {
			return "", refusal.New(codeBlob, "file %d is not %s", i, b.Digest.Short())
		}
		if i > 0 && c.b.Blobs[i-1].Digest >= b.Digest {
			return "", refusal.New(codeBlob, "file %d is not in order", i)
		}
		c.blobs[b.Digest] = data
	}
	return fmt.Sprintf("%d files are what their digests say", len(c.blobs)), nil
}

// file gives a blob to the check that needs it.
func (c *checker) file(d canon.Digest) ([]byte, bool) {
	c.used[d] = true
	b, ok := c.blobs[d]
	return b, ok
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
	h := c.b.Header
	if err := proposal.NewFile(h, c.b.Branches, c.b.Dossier).Open(); err != nil {
		return "", refusal.New(codePlan, "%v", err)
	}
	return fmt.Sprintf("plan %s: %d hosts, class %s, tree rebuilt from every branch, dossier %s", h.Digest().Short(), len(c.b.Branches), h.Class, h.Dossier.Short()), nil
}

func (c *checker) approved() (string, error) {
	yes, no := 0, 0
	for _, a := range c.b.Approvals {
		switch a.Kind {
		case approval.Approve:
			yes++
		case approval.Deny:
			no++
		default:
			return "", refusal.New(codeApproval, "a %s is no word on a plan", a.Kind)
		}
		s := approval.Statement{Kind: a.Kind, Bytes: c.b.Header.Bytes()}
		if _, _, err := approval.Check(c.root, s, a); err != nil {
			return "", refusal.New(codeApproval, "%s of %s: %v", a.Kind, a.Person, err)
		}
	}
	for _, u := range c.b.Writs {
		if err := c.enough(u); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d yes, %d no, each by a key of the roster over these very bytes; every writ had enough of them before it, and no no", yes, no), nil
}

// enough holds a writ to the words that stood in the log before it: each yes it
// carries, no no, and the quorum of the class that the rules asked for. (The
// plan's own class, the grant and rollbacks are for writ.Verify.)
func (c *checker) enough(u Used) error {
	host, at := u.Writ.Body.Host.Short(), c.place[u.Writ.Body.Entry()]
	for _, a := range c.b.Approvals {
		if a.Kind == approval.Deny && c.place[ApprovalEntry(a)] < at {
			return refusal.New(codeApproval, "host %s: %s had said no, and the writ was issued all the same", host, a.Person)
		}
	}
	if u.Writ.Body.Grant != "" {
		return nil
	}
	for _, a := range u.Writ.Approvals {
		if p, logged := c.place[ApprovalEntry(a)]; !logged || p > at {
			return refusal.New(codeApproval, "host %s: the writ carries a word of %s that was not logged before it", host, a.Person)
		}
	}
	name := change.Max(c.b.Verdict.Class, c.b.Header.Class)
	q, ok := c.root.Quorum(string(name))
	if !ok {
		return refusal.New(codeApproval, "the trust root has no quorum for %q", name)
	}
	s := approval.Statement{Kind: approval.Approve, Bytes: c.b.Header.Bytes()}
	if _, err := approval.Tally(c.root, q, s, c.b.Header.Author, u.Writ.Approvals); err != nil {
		return refusal.New(codeApproval, "host %s: quorum %s: %v", host, name, err)
	}
	return nil
}

// leftOver refuses files that no check has looked at.
func (c *checker) leftOver() (string, error) {
	for _, b := range c.b.Blobs {
		if !c.used[b.Digest] {
			return "", refusal.New(codeBlob, "file %s belongs to nothing", b.Digest.Short())
		}
	}
	return "every file in the bundle was used by a check", nil
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
