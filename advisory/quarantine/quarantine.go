// Package quarantine judges what a feed newly says before it counts.
//
// The parties: whoever writes a feed, or has come between (not trusted to move
// anything by one record); room feed, which brings snapshots; verified package
// indexes, which know what versions there ever were; people, who may release a
// record by name. The objects: a Case (what counts, what came, the World), and a
// Verdict: the set that counts from now on, and every record that is held.
//
// The promise: a record that is held does not count, and the version of it that
// counted before keeps counting. So a poisoned withdrawal, lowered version or
// vanished record ends no work, and a record about a version that nobody ever
// carried makes none. A snapshot that is empty, shrunk, older than the last, or
// whose signature failed counts not at all. A held record is freed by a second
// vendor's or distribution's record in another feed that says the same, or by a
// Release, which binds to the bytes of both versions of the record.
//
// What it cannot see: a well-formed record about a known package with a version
// that a trusted repository does carry is taken for true. It can then only ask
// for an upgrade that the vendor signed. Where no index of an ecosystem was
// verified, versions are held to the feed's own past alone.
package quarantine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Why a record is held.
const (
	CodeWithdrawn refusal.Code = "PW-POISON-WITHDRAWN" // it was taken back
	CodeGone      refusal.Code = "PW-POISON-GONE"      // it is no longer there
	CodeLowered   refusal.Code = "PW-POISON-LOWERED"   // versions that it called affected are no longer
	CodeSeverity  refusal.Code = "PW-POISON-SEVERITY"  // its severity jumped
	CodeFlood     refusal.Code = "PW-POISON-FLOOD"     // it came with far more new records than usual
	CodeLookAlike refusal.Code = "PW-POISON-LOOKALIKE" // its package's name is nearly that of a known one
	CodeVersion   refusal.Code = "PW-POISON-VERSION"   // a version that cannot be
	CodeTime      refusal.Code = "PW-POISON-TIME"      // its time went back, or lies in the future
)

// CodeMass is why a snapshot does not count of which too much would be held.
const CodeMass refusal.Code = "PW-POISON-MASS"

// Why a whole snapshot does not count; the depot's codes.
const (
	codeEmpty     refusal.Code = "PW-FEED-EMPTY"
	codeShrunk    refusal.Code = "PW-FEED-SHRUNK"
	codeBackwards refusal.Code = "PW-FEED-BACKWARDS"
	codeSignature refusal.Code = "PW-FEED-SIGNATURE"
)

// Limits are where ordinary news ends. The zero value of a field means the one
// of Default.
type Limits struct {
	Shrink int // percent of records that may be missing from a newer snapshot
	New    int // new records a day, beside Share
	Share  int // and this many percent of the records there were
	Mass   int // percent of the records that counted of which the newer form may be held
}

// Default holds what ordinary news are on the real records of real_test.go.
var Default = Limits{Shrink: 10, New: 500, Share: 2, Mass: 25}

const day = 24 * 3600

// Reason is one thing that speaks against a record or a snapshot: what happened.
// Why it matters and what to do next stand in the catalogue under the code.
type Reason struct {
	Code refusal.Code `json:"code"`
	Text canon.Note   `json:"text"`
}

// Held is one record that does not count as it came.
type Held struct {
	ID       string             `json:"id"`
	Raw      canon.Digest       `json:"raw"` // of the record that came, or "" when it is gone
	Was      canon.Digest       `json:"was"` // of the version that keeps counting, or "" when there is none
	Reasons  []Reason           `json:"reasons"`
	Subjects []advisory.Subject `json:"subjects"`       // packages that either version names, ascending
	Last     *advisory.Advisory `json:"last,omitempty"` // what keeps counting
}

// Release is a person's word that one held record may count.
type Release struct {
	ID  string       `json:"id"`
	Raw canon.Digest `json:"raw"` // as in Held: another version of the record is held again
	Was canon.Digest `json:"was"`
	By  canon.Note   `json:"by"`
	Why canon.Note   `json:"why"`
	At  int64        `json:"at"` // Unix seconds
}

// frees reports whether the release is a whole one, for exactly this.
func (r Release) frees(h Held) bool {
	return r.ID == h.ID && r.Raw == h.Raw && r.Was == h.Was && r.By != "" && r.Why != "" && r.At > 0
}

// Case is what is judged.
type Case struct {
	Last     *advisory.Set // what counts now: an earlier Verdict's Set; nil: nothing yet
	New      advisory.Set  // what came
	Failed   string        // what is wrong with its signature or pin, or ""
	World    World
	Others   []advisory.Set // what other feeds say and counts
	Releases []Release
	Before   []Held // what of the snapshot in Last is held: what came in a flood stays held whatever came since
	Recent   int    // new records that began to count within the last day
	Again    bool   // New is the very snapshot of Last, judged again with what is known by now
	Limits   Limits
	Now      int64 // Unix seconds
}

// Verdict is the answer. With any Whole reason nothing of what came counts, Set
// is what counted before (empty when there was nothing), and Held is empty.
type Verdict struct {
	Whole []Reason
	Set   advisory.Set
	Held  []Held  // ascending by ID, Raw
	Freed []Freed // likewise: what would be held, but for somebody's word
	Fresh int     // new records that count
}

// Freed is a record against which something speaks and which counts all the same.
type Freed struct {
	Held
	Release *Release            // the person's word; or
	By      []advisory.Advisory // the records that say the same
}

// Judge says what of a snapshot counts. The same case gives the same verdict.
func Judge(c Case) Verdict {
	c.Limits = Limits{cmp.Or(c.Limits.Shrink, Default.Shrink), cmp.Or(c.Limits.New, Default.New), cmp.Or(c.Limits.Share, Default.Share), cmp.Or(c.Limits.Mass, Default.Mass)}
	if whole := c.whole(); len(whole) > 0 {
		v := Verdict{Whole: whole, Held: []Held{}, Set: advisory.Set{Snapshot: c.New.Snapshot, Advisories: []advisory.Advisory{}}}
		if v.Set.Snapshot.Count = 0; c.Last != nil {
			v.Set = *c.Last
		}
		return v
	}
	j := newJudge(c)
	v := Verdict{Set: advisory.Set{Snapshot: c.New.Snapshot, Advisories: []advisory.Advisory{}}, Held: []Held{}}
	flood := j.flood()
	for i := range c.New.Advisories {
		a := &c.New.Advisories[i]
		old := j.pairs[i]
		reasons := j.against(a, old)
		if old == nil && a.Basis != advisory.BasisStatement {
			if flood != nil {
				reasons = append(reasons, *flood)
			} else if r, ok := j.flooded[a.ID]; ok {
				reasons = append(reasons, r)
			}
			v.Fresh++
		}
		v.settle(j, held(a, old, reasons), a)
	}
	for _, old := range j.gone {
		if old.Basis != advisory.BasisStatement && (old.Expires == 0 || old.Expires > c.Now) {
			v.settle(j, held(nil, old, []Reason{say(CodeGone, "the record is no longer in the feed, and nobody has withdrawn it")}), nil)
		}
	}
	slices.SortFunc(v.Held, compareHeld)
	slices.SortFunc(v.Freed, func(a, b Freed) int { return compareHeld(a.Held, b.Held) })
	if why := j.mass(v.Held); why != nil {
		return Verdict{Whole: []Reason{*why}, Held: []Held{}, Set: *c.Last}
	}
	return v
}

func compareHeld(a, b Held) int {
	return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(string(a.Raw), string(b.Raw)), strings.Compare(string(a.Was), string(b.Was)))
}

// settle puts a record, or what keeps counting instead of it, into the set.
func (v *Verdict) settle(j *judge, h Held, a *advisory.Advisory) {
	if len(h.Reasons) > 0 {
		f := Freed{Held: h, By: j.corroboration(a, h.Last)}
		if i := slices.IndexFunc(j.Releases, func(r Release) bool { return r.frees(h) }); i >= 0 {
			f.Release = &j.Releases[i]
		}
		if f.Release == nil && len(f.By) == 0 {
			v.Held = append(v.Held, h)
			if a != nil && h.Last == nil {
				v.Fresh--
			}
			if h.Last != nil {
				v.Set.Advisories = append(v.Set.Advisories, *h.Last)
			}
			return
		}
		v.Freed = append(v.Freed, f)
	}
	if a != nil {
		v.Set.Advisories = append(v.Set.Advisories, *a)
	}
}

// held describes a record for which reasons are given.
func held(a, old *advisory.Advisory, reasons []Reason) Held {
	h := Held{Reasons: reasons, Last: old, Subjects: []advisory.Subject{}}
	for _, r := range []*advisory.Advisory{old, a} {
		if r == nil {
			continue
		}
		h.ID = r.ID
		if len(reasons) == 0 {
			continue // nobody will read it
		}
		for _, f := range r.Affected {
			h.Subjects = append(h.Subjects, advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package})
		}
	}
	if old != nil {
		h.Was = old.Raw
	}
	if a != nil {
		h.Raw = a.Raw
	}
	slices.SortFunc(h.Subjects, func(a, b advisory.Subject) int {
		return cmp.Or(strings.Compare(a.Ecosystem, b.Ecosystem), strings.Compare(a.Package, b.Package))
	})
	h.Subjects = slices.Compact(h.Subjects)
	return h
}

// whole lists what speaks against the snapshot as such.
func (c Case) whole() []Reason {
	out := []Reason{}
	if c.Failed != "" {
		out = append(out, say(codeSignature, "its signature or pin does not hold: %s", c.Failed))
	}
	n := c.New.Snapshot
	if len(c.New.Advisories) == 0 && n.Lapsed == 0 {
		out = append(out, say(codeEmpty, "there is no record in it"))
	}
	if c.Last == nil {
		return out
	}
	l := c.Last.Snapshot
	if lost := l.Count - n.Count; lost*100 > l.Count*c.Limits.Shrink {
		out = append(out, say(codeShrunk, "it has %d records, the one in use has %d; at most %d%% may be missing", n.Count, l.Count, c.Limits.Shrink))
	}
	if n.Newest < l.Newest {
		out = append(out, say(codeBackwards, "its newest record is of %s, that of the one in use of %s", date(n.Newest), date(l.Newest)))
	}
	return out
}

func say(code refusal.Code, format string, args ...any) Reason {
	return Reason{code, canon.NoteOf(fmt.Sprintf(format, args...))}
}

func date(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05Z") }
