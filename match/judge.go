package match

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

// Code names one kind of reason; codes never change their meaning.
type Code string

// Reasons for Affected.
const (
	BelowFixed Code = "below-fixed" // older than the fixed version
	Unfixed    Code = "unfixed"     // in a range without end
	InRange    Code = "in-range"    // in a range that ends with the last affected version
	Listed     Code = "listed"      // named one by one
	NoAdvisory Code = "no-advisory" // unfixed; held to be minor, no security update of its own
	Postponed  Code = "postponed"   // unfixed; to be fixed together with a later one
	WontFix    Code = "wont-fix"    // unfixed, and will stay so
	EndOfLife  Code = "end-of-life" // unfixed, and the package has no support any more

	// FoundNotFixable is a library of a language ecosystem: whoever built it must update it.
	FoundNotFixable Code = "found-not-fixable"
)

// Reasons for NotAffected.
const (
	Fixed         Code = "fixed"          // at or above a fixed version
	NotIntroduced Code = "not-introduced" // older than the first affected version
	OutsideRanges Code = "outside-ranges" // newer than the last affected version
	Withdrawn     Code = "withdrawn"      // the source took the record back
	NotInstalled  Code = "not-installed"  // the package is not here
	NotNamed      Code = "not-named"      // no record that was read names it
	Denied        Code = "denied"         // the source says that it is not affected
)

// Reasons for Unknown.
const (
	VersionUnreadable Code = "version-unreadable" // here or in the record
	NotSettled        Code = "not-settled"        // an installation was interrupted: which files are there is open
	NoRange           Code = "no-range"           // the record names the package and no version
	ReleaseUnnamed    Code = "release-unnamed"    // the record names the distribution and no release
	InventoryGap      Code = "inventory-gap"
	IndexBroken       Code = "index-broken"     // compiled records could not be read
	CapitalsUnknown   Code = "capitals-unknown" // of a library that the bill spells in two ways: a record names the second
	TooMany           Code = "too-many"         // more answers than MaxFindings, or more to weigh than MaxWeighed: none is given
	NoFeed            Code = "no-feed"
	FeedEmpty         Code = "feed-empty"
	FeedPartial       Code = "feed-partial"
	SystemUnknown     Code = "system-unknown"
	NotCovered        Code = "not-covered"      // no feed speaks about this release or package
	NoSuchAdvisory    Code = "no-such-advisory" // no feed has a record of this name
	Undetermined      Code = "undetermined"     // the source does not know or contradicts itself
	Quarantined       Code = "quarantined"      // a record that is held would make it affected
	Stated            Code = "stated"           // people say that it is affected, which alone makes no work
	KernelUnmatched   Code = "kernel-unmatched" // what runs is of no installed package, or of an older build; told by who knows what runs
	ModuleUnknown     Code = "module-unknown"   // affected if it comes from the module stream that the record means, and which that is is not known
)

// Investigated is the reason for UnderInvestigation.
const Investigated Code = "under-investigation"

// intents are the reasons for Affected where no fixed version is known and the
// source says what it means to do.
var intents = map[advisory.Status]Code{
	advisory.NoAdvisory: NoAdvisory, advisory.Postponed: Postponed, advisory.WontFix: WontFix, advisory.EndOfLife: EndOfLife,
}

// verdict is what one record says about one package.
type verdict struct {
	record
	id     identity
	state  State
	code   Code
	fixed  string
	detail string // what else the sentence needs
	note   canon.Note
	key    string // under which it is joined with others

	authority advisory.Authority // of the record over the package that it names here
	ecosystem string             // as the record spells it
}

// asked is a package with what its records are looked up by.
type asked struct {
	*inventory.Package
	ids []identity
}

func askedOf(p *inventory.Package) asked { return asked{p, identities(*p)} }

// compareAsked is 0 for packages about which every record says the same.
func compareAsked(a, b asked) int {
	if c := slices.CompareFunc(a.ids, b.ids, func(x, y identity) int {
		return cmp.Or(strings.Compare(x.source, y.source), strings.Compare(x.version, y.version))
	}); c != 0 {
		return c
	}
	return cmp.Or(
		strings.Compare(string(a.Scheme), string(b.Scheme)), strings.Compare(a.Source, b.Source), strings.Compare(a.Module, b.Module),
		strings.Compare(a.Status.Want, b.Status.Want), strings.Compare(a.Status.Flag, b.Status.Flag), strings.Compare(a.Status.State, b.Status.State),
	)
}

// keyed is a finding: what is said of a source, the package it is said about,
// and the name under which records were joined.
type keyed struct {
	said *Finding // its Package, Arch and Version are of any package of the source
	*inventory.Package
	key string
}

// judging collects answers.
type judging struct {
	ix       Index
	system   system
	name     string // of the only advisory that is asked for; "": all
	negative bool   // NotAffected is wanted, too
	out      []keyed
	verdicts verdicts // of one source
	Budget
}

// verdicts is a list that is filled again and again. A verdict stays where it is
// when the list grows: the largest sources have thousands.
type verdicts struct {
	list []*verdict
	made []*[64]own
}

// own is a verdict with the record that it is about.
type own struct {
	verdict
	record advisory.Advisory
}

func (l *verdicts) add(v verdict) {
	const slab = len(l.made[0])
	n := len(l.list)
	if n == slab*len(l.made) {
		l.made = append(l.made, new([slab]own))
	}
	at := &l.made[n/slab][n%slab]
	at.record, at.verdict = *v.Advisory, v
	at.Advisory = &at.record
	l.list = append(l.list, &at.verdict)
}

// judge answers every advisory that names a package. Records about one
// vulnerability (advisory.Advisory.Key) are joined into one finding.
func (j *judging) judge(p asked) {
	j.verdicts.list = j.verdicts.list[:0]
	if j.system.main != nil {
		for _, v := range j.ix.redHat(j.system, *p.Package, j.name) {
			if !j.Weigh() {
				return
			}
			v.key = v.Key()
			j.verdicts.add(v)
		}
	}
	base, _, _ := strings.Cut(j.system.name, ":")
	for _, id := range p.ids {
		if j.system.main == nil {
			for a, parts := range j.ix.of(advisory.Subject{Ecosystem: j.system.name, Package: id.source}) {
				j.take(record{a, parts}, *p.Package, id, false)
			}
		}
		for a, parts := range j.ix.of(advisory.Subject{Ecosystem: base, Package: id.source}) {
			j.take(record{a, parts}, *p.Package, id, true)
		}
	}
	list := j.verdicts.list
	slices.SortStableFunc(list, func(a, b *verdict) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return compareVerdicts(a, b)
	})
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].key == list[0].key {
			n++
		}
		if j.negative || list[0].state != NotAffected {
			if !j.Keep() {
				return
			}
			f := finding(*p.Package, list[:n])
			j.out = append(j.out, keyed{&f, p.Package, list[0].key})
		}
		list = list[n:]
	}
}

// take adds what one record says.
func (j *judging) take(r record, p inventory.Package, id identity, unnamed bool) {
	if j.name != "" && !slices.Contains(r.Names(), j.name) {
		return
	}
	if !j.Weigh() {
		return
	}
	if v, speaks := r.about(p, id, unnamed); speaks {
		v.key = r.Key()
		j.verdicts.add(v)
	}
}

var rank = map[State]int{Affected: 0, Unknown: 1, UnderInvestigation: 2, NotAffected: 3}

// works is 1 where the record can make work, else 0.
func (v *verdict) works() int {
	if v.authority.Works() {
		return 1
	}
	return 0
}

// compareVerdicts puts the deciding verdict first: the worse answer, then a
// vendor or distribution before everybody else, a record before a mention, and
// by name.
func compareVerdicts(a, b *verdict) int {
	return cmp.Or(
		rank[a.state]-rank[b.state],
		b.works()-a.works(),
		-strings.Compare(string(a.Basis), string(b.Basis)), // "record" before "changelog-mention"
		strings.Compare(a.ID, b.ID),
		strings.Compare(a.Feed.Name, b.Feed.Name),
		strings.Compare(string(a.Feed.Snapshot), string(b.Feed.Snapshot)),
		strings.Compare(string(a.Raw), string(b.Raw)),
		strings.Compare(a.id.source, b.id.source),
	)
}

// silent reports whether a record speaks of other versions only, one by one and
// without a word about the rest.
func (r record) silent(ver string) bool {
	return !slices.ContainsFunc(r.parts, func(f *advisory.Affected) bool {
		return f.Status == "" && r.Basis != advisory.BasisStatement || speaks(f, ver)
	})
}

func speaks(f *advisory.Affected, ver string) bool {
	return len(f.Versions) == 0 || len(f.Ranges) > 0 || slices.Contains(f.Versions, ver)
}

// about is the verdict on a package by what the record says about it, with its
// module stream in mind; false means that it says nothing about it.
func (r record) about(p inventory.Package, id identity, unnamed bool) (verdict, bool) {
	all := r.parts
	sure, open := divide(all, p)
	if len(sure)+len(open) == 0 || (record{r.Advisory, append(slices.Clip(sure), open...)}).silent(id.version) {
		return verdict{}, false
	}
	if len(open) == 0 {
		r.parts = sure
		return r.verdict(p, id, unnamed), true
	}
	r.parts = open
	v := r.verdict(p, id, unnamed) // as if it came from the stream that is meant
	if len(sure) > 0 {
		r.parts = sure
		certain := r.verdict(p, id, unnamed)
		if v.state == NotAffected || certain.state == Affected || certain.state == Unknown {
			return certain, true
		}
	}
	if v.state == Affected {
		stream, _ := ModuleStream(p)
		v.state, v.code, v.detail = Unknown, ModuleUnknown, stream
	}
	return v, true
}

// verdict compares one record with one installed version.
func (r record) verdict(p inventory.Package, id identity, unnamed bool) verdict {
	v := verdict{record: r, id: id, state: Unknown, authority: r.Over(r.parts[0].Ecosystem), ecosystem: r.parts[0].Ecosystem}
	scheme, known := advisory.SchemeOf(r.parts[0].Ecosystem)
	switch {
	case r.Withdrawn > 0:
		v.state, v.code = NotAffected, Withdrawn
	case unnamed:
		v.code = ReleaseUnnamed
	case !p.Status.Settled():
		v.code, v.detail = NotSettled, p.Status.State
	case !known || version.Valid(scheme, id.version) != nil:
		v.code, v.detail = VersionUnreadable, "installed version "+quoted(id.version)
	default:
		v.compare(scheme)
	}
	v.parts = nil // they may be many, and are settled
	return v
}

// compare evaluates ranges and listed versions, as OSV's schema says, and what
// the source says beside them. Of several parts the worst counts.
func (v *verdict) compare(s version.Scheme) {
	stretches, code, hit := 0, Unfixed, false
	said := map[advisory.Status]bool{}
	for _, f := range v.parts {
		if f.Status != "" && len(f.Ranges) == 0 { // a word without ranges
			said[f.Status] = said[f.Status] || speaks(f, v.id.version)
			continue
		}
		stretches += len(f.Ranges) + len(f.Versions)
		if slices.Contains(f.Versions, v.id.version) {
			hit, code = true, Listed
		}
		for _, r := range f.Ranges {
			in, err := r.Contains(s, v.id.version)
			switch {
			case err != nil && v.detail == "":
				v.detail = "the record: " + strings.TrimSuffix(fmt.Sprintf("%+q", err.Error()), ".")
			case in && r.Fixed == "" && r.LastAffected != "":
				hit, code = true, InRange
			case in:
				hit = true
				if intent, ok := intents[f.Status]; ok {
					code, v.note = intent, f.Note
				}
			}
		}
	}
	switch {
	case hit && v.Basis == advisory.BasisStatement:
		v.code = Stated
	case hit:
		v.state, v.code, v.fixed = Affected, code, v.lowestFix(s)
		if v.fixed != "" {
			v.code = BelowFixed
		}
	case v.detail != "":
		v.code = VersionUnreadable
	case said[advisory.Undetermined]:
		v.code = Undetermined
	case said[advisory.UnderInvestigation]:
		v.state, v.code = UnderInvestigation, Investigated
	case stretches == 0 && said[advisory.NotAffected]:
		v.state, v.code = NotAffected, Denied
	case stretches == 0:
		v.code = NoRange
	default:
		v.state = NotAffected
		v.code, v.fixed = v.why(s)
	}
}

// lowestFix is the lowest fixed version above the installed one that is in no
// range of the record itself, or "".
func (v *verdict) lowestFix(s version.Scheme) string {
	if f := v.parts[0]; len(v.parts) == 1 && len(f.Ranges) == 1 && len(f.Versions) == 0 {
		return f.Ranges[0].Fixed // the usual record: the installed version is in its only range
	}
	best := ""
	for _, f := range v.parts {
		for _, r := range f.Ranges {
			if !above(s, r.Fixed, v.id.version) || v.contains(s, r.Fixed) {
				continue
			}
			if best == "" || above(s, best, r.Fixed) {
				best = r.Fixed
			}
		}
	}
	return best
}

func (v *verdict) contains(s version.Scheme, ver string) bool {
	return slices.ContainsFunc(v.parts, func(f *advisory.Affected) bool {
		return slices.Contains(f.Versions, ver) || slices.ContainsFunc(f.Ranges, func(r advisory.Range) bool {
			in, err := r.Contains(s, ver)
			return in || err != nil
		})
	})
}

// why tells a negative answer's reason: the highest fixed version that is
// reached, else whether the trouble begins later or has ended.
func (v *verdict) why(s version.Scheme) (Code, string) {
	fixed, later := "", true
	for _, f := range v.parts {
		for _, r := range f.Ranges {
			if r.Introduced == advisory.Beginning || atLeast(s, v.id.version, r.Introduced) {
				later = false
			}
			if atLeast(s, v.id.version, r.Fixed) && (fixed == "" || above(s, r.Fixed, fixed)) {
				fixed = r.Fixed
			}
		}
	}
	switch {
	case fixed != "":
		return Fixed, fixed
	case later && slices.ContainsFunc(v.parts, func(f *advisory.Affected) bool { return len(f.Ranges) > 0 }):
		return NotIntroduced, ""
	}
	return OutsideRanges, ""
}

// above and atLeast order a against b; both are false when one is unreadable.
func above(s version.Scheme, a, b string) bool {
	c, err := version.Compare(s, a, b)
	return err == nil && c > 0
}

func atLeast(s version.Scheme, a, b string) bool {
	c, err := version.Compare(s, a, b)
	return err == nil && c >= 0
}

// finding joins the verdicts of one package and one vulnerability.
func finding(p inventory.Package, list []*verdict) Finding {
	lead := list[0]
	f := Finding{Advisory: lead.ID, Package: p.Name, Arch: p.Arch, Source: lead.id.source, Version: p.Version, SourceVersion: lead.id.version,
		State: lead.state, Fixed: lead.fixed, Reason: Reason{lead.code, lead.sentence()}, Aliases: names(list), Sources: make([]Source, 0, len(list))}
	other := 0
	for _, v := range list {
		if v.state != lead.state {
			other++
		} else if v.state == Affected && v.fixed != "" && v.works() == lead.works() && (f.Fixed == "" || above(p.Scheme, v.fixed, f.Fixed)) {
			f.Fixed = v.fixed // what satisfies every source that names a fix
		}
		f.Sources = append(f.Sources, Source{Advisory: v.ID, Source: v.Source, Basis: v.Basis, Feed: v.Feed.Name,
			Snapshot: v.Feed.Snapshot, Raw: v.Raw, State: v.state, Reason: v.code, Fixed: v.fixed, Authority: v.authority})
	}
	if lead.state == Affected && lead.works() == 0 {
		f.Reason.Text += " No vendor or distribution says so, and nobody else's word makes work."
	}
	if other > 0 {
		f.Reason.Text += fmt.Sprintf(" The sources disagree: %d of %d say otherwise.", other, len(list))
	} else if f.Disputed() {
		f.Reason.Text += " The sources disagree about the fixed version."
	}
	return f
}

// names are those of all records without the deciding one's id, ascending.
func names(list []*verdict) []string {
	n := 0
	for _, v := range list {
		n += 1 + len(v.Aliases) + len(v.Upstream)
	}
	out := make([]string, 0, n)
	for _, v := range list {
		out = append(append(append(out, v.ID), v.Aliases...), v.Upstream...)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return slices.DeleteFunc(out, func(s string) bool { return s == list[0].ID })
}

// sentence is the reason for people.
func (v *verdict) sentence() string {
	what := "Source package " + v.id.source + " " + quoted(v.id.version)
	if scheme, _ := advisory.SchemeOf(v.ecosystem); scheme == version.RPM {
		what = "P" + strings.TrimPrefix(what, "Source p")
	}
	says := v.Source
	if v.Basis == advisory.BasisMention {
		says += " (a mention, which is not always a fix)"
	}
	switch v.code {
	case BelowFixed:
		return what + " is older than " + v.fixed + ", the fixed version by " + says + "."
	case NoAdvisory:
		return what + " is affected; " + says + " knows no fixed version and plans no security update for this alone" + v.reasons() + "."
	case Postponed:
		return what + " is affected; " + says + " knows no fixed version yet and has put it off to a later update" + v.reasons() + "."
	case WontFix:
		return what + " is affected and " + says + " will not fix it" + v.reasons() + "."
	case EndOfLife:
		return what + " is affected and has no support any more by " + says + v.reasons() + "."
	case Denied:
		return what + " is not affected by the word of " + says + "."
	case Stated:
		return what + " is affected, says " + says + "; people's word alone makes no work."
	case Undetermined:
		return what + " is named by " + says + ", which could not tell whether it is affected."
	case Investigated:
		return what + " is named by " + says + ", which is still finding out whether it is affected."
	case Unfixed:
		return what + " is affected and " + says + " knows no fixed version."
	case InRange, Listed:
		return what + " is among the affected versions by " + says + ", which knows no fixed version above it."
	case Fixed:
		return what + " is not older than " + v.fixed + ", the fixed version by " + says + "."
	case NotIntroduced:
		return what + " is older than the first affected version by " + says + "."
	case OutsideRanges:
		return what + " is outside the affected versions by " + says + "."
	case Withdrawn:
		return says + " has withdrawn this record."
	case NotSettled:
		return what + " is in state " + v.detail + ", so it is open which version's files are there."
	case NoRange:
		return what + " is named by " + says + ", but no version is."
	case ModuleUnknown:
		if v.detail != "" {
			return what + " comes from the module stream " + v.detail + " and is older than the fixed version by " + says + ", whose record is about a module and does not say which stream."
		}
		return what + " comes from a module of which the stream is not known here; " + says + " says that a stream of it is affected."
	case ReleaseUnnamed:
		return what + " is named by " + says + " for the distribution, but no release is."
	}
	return what + " cannot be compared: " + v.detail + "."
}

// reasons is the source's own reason, marked as its words.
func (v *verdict) reasons() string {
	if v.note == "" {
		return ""
	}
	return fmt.Sprintf(" (it says: %+q)", string(v.note))
}

func quoted(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

// nothing answers a query that no finding is about.
func nothing(inv inventory.Inventory, ix Index, q Query) Finding {
	f := Finding{Advisory: q.Advisory, Aliases: []string{}, Package: q.Package, State: Unknown, Sources: []Source{}}
	answer := func(s State, c Code, format string, args ...any) Finding {
		f.State, f.Reason = s, Reason{c, fmt.Sprintf(format, args...)}
		return f
	}
	sys, ok := ix.system(inv.OS)
	if !ok {
		return answer(Unknown, SystemUnknown, "Packages of the system %+q, release %+q, cannot be matched by this version.", inv.OS.ID, inv.OS.VersionID)
	}
	records := ix.named(q.Advisory)
	if q.Advisory != "" && len(records) == 0 {
		return answer(Unknown, NoSuchAdvisory, "No feed that was read has a record named %+q.", q.Advisory)
	}
	here := slices.IndexFunc(inv.Packages, func(p inventory.Package) bool { return p.Status.Present() && q.Package != "" && q.picksPackage(p) })
	switch {
	case here < 0 && len(inv.Partial) > 0:
		return answer(Unknown, InventoryGap, "Nothing that it names was seen here, but the inventory is incomplete: %s.", strings.TrimSuffix(inv.Partial[0].Why, "."))
	case here < 0 && (q.Package != "" || speakOf(records, sys)):
		return answer(NotAffected, NotInstalled, "No package that it names is installed here.")
	case !ix.speaksFor(sys): // a scoped feed's silence is no answer about a vulnerability
		return answer(Unknown, NotCovered, "No feed that was read speaks about all of %s.", sys.name)
	case ix.partial():
		return answer(Unknown, FeedPartial, "No record names it for %s, but a feed is empty or could not be read whole.", sys.name)
	}
	return answer(NotAffected, NotNamed, "No record that was read names it for %s.", sys.name)
}

// speakOf reports whether any of the records names the release.
func speakOf(records []*advisory.Advisory, s system) bool {
	return slices.ContainsFunc(records, func(a *advisory.Advisory) bool {
		return slices.ContainsFunc(a.Affected, func(f advisory.Affected) bool { return s.speaks(f.Ecosystem) })
	})
}
