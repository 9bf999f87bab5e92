// Package record is the control plane's ledger as an auditor reads it: a file
// of lines, one for each event of the log, and a seal at the end.
//
// The parties: the control plane writes the file and may lie in it, with all of
// its keys; witnesses have seen how the log grew; an auditor reads offline,
// under a trust root of their own. The objects: Row, Seal, Seen, Report.
//
// The promise: a row that was edited, taken out, put elsewhere or added, rows
// cut off at the end, and a tree that the control plane signed anew with its
// own key are each found and named. That rows were cut off together with the
// checkpoints that show them is found by what a witness has seen (Seen).
//
// So is a promotion of a model that not enough people signed, under the auditor's
// trust root: no bundle of package evidence would show it.
//
// It fetches nothing, and does not judge what other events mean: that is for
// package evidence.
package record

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"iter"
	"slices"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/visit"
	"github.com/patchwrit/patchwrit/writ"
)

// What is found.
const (
	CodeForm      refusal.Code = "PW-RECORD-FORM"      // a line that is none, or no seal at the end
	CodeEdited    refusal.Code = "PW-RECORD-EDITED"    // a row is not what was logged
	CodeDeleted   refusal.Code = "PW-RECORD-DELETED"   // a row is missing
	CodeOrder     refusal.Code = "PW-RECORD-ORDER"     // a row stands elsewhere than in the log
	CodeTruncated refusal.Code = "PW-RECORD-TRUNCATED" // rows at the end are missing
	CodeResigned  refusal.Code = "PW-RECORD-RESIGNED"  // a checkpoint that the witnesses have not seen
	CodeFork      refusal.Code = "PW-RECORD-FORK"      // the witnesses have seen another log
	CodeUnsigned  refusal.Code = "PW-RECORD-UNSIGNED"  // a promotion that not enough people signed
)

// Type names of the lines.
const (
	TypeRow  = "patchwrit/row/v1"
	TypeSeal = "patchwrit/seal/v1"
)

// MaxLine bounds a line, in bytes.
const MaxLine = 64 << 20

// Row is one event of the log.
type Row struct {
	Type  string     `json:"type"`
	Index int64      `json:"index"` // its leaf
	Entry tlog.Entry `json:"entry"` // the leaf
	Proof tlog.Proof `json:"proof"` // inclusion, as it was when it was logged
	Body  string     `json:"body"`  // base64 of the event's canonical JSON
}

// Seal is the last line.
type Seal struct {
	Type       string       `json:"type"`
	Root       canon.Digest `json:"root"`       // of the house, trust.Root.ID
	Checkpoint string       `json:"checkpoint"` // base64 of the newest signed checkpoint
	Rows       int64        `json:"rows"`       // lines before this one
}

// Seen is a state of the log that somebody else has seen.
type Seen struct {
	Who        string
	Checkpoint tlog.Checkpoint
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Line  int          `json:"line"`  // of the file, from 1; 0 when it is about none
	Index int64        `json:"index"` // of the leaf, -1 when it is about none
	Code  refusal.Code `json:"code"`
	Says  string       `json:"says"`
}

// Report is what a check found.
type Report struct {
	OK        bool         `json:"ok"`
	Rows      int64        `json:"rows"`
	Size      int64        `json:"size"` // of the sealed checkpoint
	Hash      canon.Digest `json:"hash"`
	Time      int64        `json:"time"` // when a quorum of witnesses had seen it, Unix seconds
	Seen      []string     `json:"seen"` // who else was asked, and had seen no more
	Findings  []Finding    `json:"findings"`
	More      int          `json:"more"` // findings that are not listed
	NotProved []string     `json:"not_proved"`
}

// maxFindings bounds a report.
const maxFindings = 100

// Check reads the lines once, and again for names when the tree does not hold.
func Check(lines iter.Seq[[]byte], root trust.Root, seen []Seen) Report {
	c := &checker{root: root, unknown: map[string]bool{}, under: map[canon.Digest][]approval.Approval{}}
	c.report = Report{Hash: "", Seen: []string{}, Findings: []Finding{}, NotProved: []string{}}
	p, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		c.find(0, -1, CodeForm, "the trust root's witness policy: %v", err)
		return c.report
	}
	c.policy = p
	n := 0
	for line := range lines {
		n++
		c.line(n, line)
	}
	c.end(n)
	held := c.sealed()
	c.others(seen)
	c.promotions()
	if !held || len(c.report.Findings) > 0 {
		c.name(lines)
	}
	c.report.OK = len(c.report.Findings) == 0
	c.limits(len(seen) > 0)
	return c.report
}

// checker is a check under way.
type checker struct {
	root    trust.Root
	policy  tlog.Policy
	report  Report
	leaves  []hash // by index
	have    []bool // whether the leaf came
	at      []int  // line of each leaf
	seal    *Seal
	unknown map[string]bool // kinds whose bodies cannot be held to their entry

	under    map[canon.Digest][]approval.Approval // signatures under promotions, by statement
	promoted []promoted
	unproved []string
}

func (c *checker) find(line int, index int64, code refusal.Code, format string, args ...any) {
	f := Finding{line, index, code, fmt.Sprintf(format, args...)}
	switch {
	case slices.ContainsFunc(c.report.Findings, func(o Finding) bool { return o.Line == line && o.Index == index && o.Code == code }):
	case len(c.report.Findings) == maxFindings:
		c.report.More++
	default:
		c.report.Findings = append(c.report.Findings, f)
	}
}

// line takes one line: a row, or the seal after which nothing comes.
func (c *checker) line(n int, raw []byte) {
	if c.seal != nil {
		c.find(n, -1, CodeForm, "a line after the seal")
		return
	}
	var r Row
	err := canon.Decode(raw, &r)
	if err == nil && r.Type == TypeRow {
		c.row(n, r)
		return
	}
	var s Seal
	if canon.Decode(raw, &s) == nil && s.Type == TypeSeal {
		c.seal = &s
		return
	}
	c.find(n, -1, CodeForm, "line %d is neither a row nor the seal: %v", n, err)
}

// maxLeaves bounds what a hostile index makes this program hold.
const maxLeaves = 1 << 26

func (c *checker) row(n int, r Row) {
	c.report.Rows++
	leaf, err := r.Entry.Leaf()
	if err != nil || r.Index < 0 || r.Index >= maxLeaves || r.Index > int64(len(c.leaves))+1<<20 {
		c.find(n, r.Index, CodeForm, "row with index %d and entry %s: %v", r.Index, r.Entry.Kind, err)
		return
	}
	c.body(n, r)
	h := leafHash(leaf)
	last := int64(len(c.leaves)) - 1
	for int64(len(c.leaves)) <= r.Index {
		c.leaves, c.have, c.at = append(c.leaves, hash{}), append(c.have, false), append(c.at, 0)
	}
	switch {
	case c.have[r.Index] && c.leaves[r.Index] == h: // one event that happened twice has one leaf
		return
	case c.have[r.Index]:
		c.find(n, r.Index, CodeOrder, "line %d says that it is leaf %d, and so does line %d, which is another event", n, r.Index, c.at[r.Index])
		return
	case r.Index < last:
		c.find(n, r.Index, CodeOrder, "leaf %d stands behind leaf %d: the rows were put in another order", r.Index, last)
	}
	c.leaves[r.Index], c.have[r.Index], c.at[r.Index] = h, true, n
}

// body holds the event's bytes to its entry.
func (c *checker) body(n int, r Row) {
	raw, err := base64.StdEncoding.Strict().DecodeString(r.Body)
	if err != nil {
		c.find(n, r.Index, CodeForm, "line %d: its body is no base64: %v", n, err)
		return
	}
	want, err := c.entryOf(n, r, raw)
	switch {
	case err == errKind:
		c.unknown[r.Entry.Kind] = true
	case err != nil:
		c.find(n, r.Index, CodeEdited, "leaf %d, a %s: its body is not what was logged: %v", r.Index, r.Entry.Kind, err)
	case want != r.Entry:
		c.find(n, r.Index, CodeEdited, "leaf %d, a %s: its body is %s of %d, the entry says %s of %d", r.Index, r.Entry.Kind, want.Subject.Short(), want.At, r.Entry.Subject.Short(), r.Entry.At)
	}
}

// end looks for what never came.
func (c *checker) end(lines int) {
	if c.seal == nil {
		c.find(lines, -1, CodeTruncated, "the file has no seal: its end is missing")
	} else if c.seal.Rows != int64(lines-1) {
		c.find(lines, -1, CodeDeleted, "the seal speaks of %d lines, %d are there", c.seal.Rows, lines-1)
	}
	for from := 0; from < len(c.have); from++ {
		to := from
		for to < len(c.have) && !c.have[to] {
			to++
		}
		switch {
		case to == from+1:
			c.find(0, int64(from), CodeDeleted, "leaf %d is missing: the row was taken out", from)
		case to > from:
			c.find(0, int64(from), CodeDeleted, "leaves %d to %d are missing: the rows were taken out", from, to-1)
		}
		from = max(from, to-1)
	}
}

// sealed holds the tree of the rows to the sealed checkpoint.
func (c *checker) sealed() bool {
	if c.seal == nil {
		return false
	}
	if c.seal.Root != c.root.ID {
		c.find(0, -1, CodeForm, "the record is of house %s, the trust root of %s", c.seal.Root.Short(), c.root.ID.Short())
	}
	signed, err := base64.StdEncoding.Strict().DecodeString(c.seal.Checkpoint)
	if err != nil {
		c.find(0, -1, CodeForm, "the seal's checkpoint is no base64: %v", err)
		return false
	}
	v, err := c.policy.Checkpoint(signed)
	if err != nil {
		c.find(0, -1, CodeResigned, "the sealed checkpoint is not one that the witnesses have seen (%v): whoever holds the log's key signed it alone", err)
		return false
	}
	c.report.Size, c.report.Hash, c.report.Time = v.Checkpoint.Size, v.Checkpoint.Hash, v.Time
	if n := int64(len(c.leaves)); n > v.Checkpoint.Size {
		c.find(c.at[v.Checkpoint.Size], v.Checkpoint.Size, CodeEdited, "leaves %d to %d stand behind the sealed checkpoint: no witness vouches for them", v.Checkpoint.Size, n-1)
	}
	return c.holds("the sealed checkpoint", v.Checkpoint)
}

// holds compares the tree with a checkpoint.
func (c *checker) holds(who string, k tlog.Checkpoint) bool {
	n := int64(len(c.leaves))
	switch {
	case k.Size > n:
		c.find(0, n, CodeTruncated, "%s shows %d leaves, the rows end with leaf %d: leaves %d to %d were cut off", who, k.Size, n-1, n, k.Size-1)
		return false
	case slices.Contains(c.have[:k.Size], false):
		return false // named already
	case treeHash(c.leaves[:k.Size]) != k.Hash:
		c.find(0, -1, CodeFork, "%s shows another tree of %d leaves than these rows make: %s, not %s", who, k.Size, k.Hash.Short(), treeHash(c.leaves[:k.Size]).Short())
		return false
	}
	return true
}

// others holds the record to what others have seen.
func (c *checker) others(seen []Seen) {
	for _, s := range seen {
		if s.Checkpoint.Size > c.report.Size && c.seal != nil {
			c.find(0, c.report.Size, CodeTruncated, "%s has seen %d leaves, this record ends with %d: its end was cut off, or it is older", s.Who, s.Checkpoint.Size, c.report.Size)
		} else if c.holds(s.Who, s.Checkpoint) {
			c.report.Seen = append(c.report.Seen, s.Who)
		}
	}
}

// name finds the rows that are not what the witnesses have seen, by the proof
// that each row carries from the time when it was logged.
func (c *checker) name(lines iter.Seq[[]byte]) {
	n := 0
	for line := range lines {
		n++
		var r Row
		if canon.Decode(line, &r) != nil || r.Type != TypeRow {
			continue
		}
		v, err := c.policy.Verify(r.Entry, r.Proof)
		switch code := refusal.CodeOf(err); {
		case err == nil && v.Index != r.Index:
			c.find(n, r.Index, CodeOrder, "line %d says leaf %d, the witnesses have seen it as leaf %d", n, r.Index, v.Index)
		case err == nil:
		case code == tlog.CodeInclusion || code == tlog.CodeEntry || code == tlog.CodeProof:
			c.find(n, r.Index, CodeEdited, "leaf %d, a %s: it is not what the witnesses have seen there", r.Index, r.Entry.Kind)
		default:
			c.find(n, r.Index, CodeResigned, "leaf %d, a %s: its proof is not one that the witnesses have seen (%s)", r.Index, r.Entry.Kind, code)
		}
	}
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int { return a.Line - b.Line })
}

// limits says what the report does not prove.
func (c *checker) limits(asked bool) {
	add := func(format string, args ...any) {
		c.report.NotProved = append(c.report.NotProved, fmt.Sprintf(format, args...))
	}
	if !asked {
		add("That nothing was cut off after the sealed checkpoint: nobody was asked what they have seen since (--ask, or --seen an earlier record).")
	}
	c.report.NotProved = append(c.report.NotProved, c.unproved...)
	for _, kind := range slices.Sorted(keys(c.unknown)) {
		add("That the bodies of kind %q are what was logged: this version does not know the kind.", kind)
	}
	add("What the control plane never logged, and events that do not go to the log (enrolments, leases it relayed, questions of agents).")
	add("That the witnesses are run by different people who do not act together.")
}

func keys(m map[string]bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// errKind says that no rule derives this kind's entry.
var errKind = fmt.Errorf("a kind that is not known here")

// entryOf derives the entry of an event from its body. The time of a revocation
// stands in the entry alone.
func (c *checker) entryOf(n int, r Row, raw []byte) (tlog.Entry, error) {
	switch e := r.Entry; e.Kind {
	case "plan":
		return derive(raw, writ.PlanEntry, func(plan.Header) error { return nil })
	case "basis":
		return derive(raw, proposal.Basis.Entry, func(proposal.Basis) error { return nil })
	case "verdict":
		return derive(raw, evidence.VerdictEntry, func(policy.Verdict) error { return nil })
	case "advice":
		return derive(raw, advice.Exchange.Entry, func(advice.Exchange) error { return nil })
	case "registration":
		return derive(raw, conduct.Registration.Entry, func(conduct.Registration) error { return nil })
	case "promotion":
		return derive(raw, conduct.Promotion.Entry, func(p conduct.Promotion) error {
			c.promoted = append(c.promoted, promoted{n, r.Index, p})
			return p.Valid()
		})
	case "demotion":
		return derive(raw, conduct.Demotion.Entry, func(conduct.Demotion) error { return nil })
	case "approval":
		return derive(raw, evidence.ApprovalEntry, c.heard)
	case "writ":
		return derive(raw, writ.Body.Entry, func(writ.Body) error { return nil })
	case "receipt":
		return derive(raw, writ.Receipt.Entry, c.signed)
	case "grant":
		return derive(raw, func(g approval.Grant) tlog.Entry {
			return tlog.NewEntry("grant", g.Statement(approval.Allow).Digest(), g.Created)
		}, approval.Grant.Valid)
	case "revoke":
		return derive(raw, func(g approval.Grant) tlog.Entry {
			return tlog.NewEntry("revoke", g.Statement(approval.Revoke).Digest(), e.At)
		}, approval.Grant.Valid)
	case "visitor":
		return derive(raw, visit.Admission.Entry, func(visit.Admission) error { return nil })
	case "request":
		return derive(raw, visit.Request.Entry, visit.Request.Valid)
	}
	return tlog.Entry{}, errKind
}

// derive reads a body of one type and makes its entry.
func derive[T any](raw []byte, entry func(T) tlog.Entry, valid func(T) error) (tlog.Entry, error) {
	var v T
	if err := canon.Decode(raw, &v); err != nil {
		return tlog.Entry{}, err
	}
	return entry(v), valid(v)
}

// signed wants the host's signature, which the entry does not cover; a host that
// the trust root names no more cannot be asked.
func (c *checker) signed(r writ.Receipt) error {
	h, known := c.root.Host(r.Host)
	if !known {
		c.unknown["receipt of host "+r.Host.Short()] = true
		return nil
	}
	return r.Signed(h)
}

// hash is a node of the tree (RFC 6962).
type hash [sha256.Size]byte

func leafHash(leaf []byte) hash { return sha256.Sum256(append([]byte{0}, leaf...)) }

func node(a, b hash) hash {
	return sha256.Sum256(append(append([]byte{1}, a[:]...), b[:]...))
}

// treeHash is the root over the leaves' hashes.
func treeHash(leaves []hash) canon.Digest {
	if len(leaves) == 0 {
		return canon.SumFile(nil)
	}
	stack, sizes := []hash{}, []int{}
	for _, h := range leaves {
		size := 1
		for len(sizes) > 0 && sizes[len(sizes)-1] == size {
			h, size = node(stack[len(stack)-1], h), 2*size
			stack, sizes = stack[:len(stack)-1], sizes[:len(sizes)-1]
		}
		stack, sizes = append(stack, h), append(sizes, size)
	}
	top := stack[len(stack)-1]
	for i := len(stack) - 2; i >= 0; i-- {
		top = node(stack[i], top)
	}
	return canon.Digest(fmt.Sprintf("%x", top))
}
