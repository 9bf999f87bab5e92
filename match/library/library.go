// Package library says which advisories concern libraries of language
// ecosystems that a bill of materials names.
//
// The parties: room inventory/sbom tells what is there, feeds in OSV's form what
// is known; people read the findings. The object is match.Finding, with the
// reason match.FoundNotFixable: Patchwrit changes packages of a distribution, and
// who built the artefact must update these.
//
// The promise: ranges are evaluated as OSV's schema says, in the ecosystem's own
// order: semantic versions for Go, npm and crates.io, PEP 440 for PyPI. A version
// that cannot be read, and an ecosystem that no feed speaks about, is unknown.
//
// Capitals in a Go module's path are not compared: a purl may have lost them. Of
// npm they are: where the bill has two spellings, what is said of the second one is
// unknown.
//
// It joins no records: a Go record and its GitHub twin are two findings. It does
// not look whether the vulnerable code is called.
package library

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/inventory/sbom"
	"github.com/patchwrit/patchwrit/match"
)

// Find returns what is not NotAffected, what could not be asked first, then
// ascending by library and advisory.
func Find(libs []sbom.Library, ix match.Index) []match.Finding {
	out := []match.Finding{}
	missing, first := map[string]int{}, []string{}
	for _, l := range libs {
		if !ix.Whole(l.Ecosystem) {
			if missing[l.Ecosystem]++; missing[l.Ecosystem] == 1 {
				first = append(first, l.Ecosystem)
			}
		}
	}
	for _, e := range first {
		out = append(out, match.Finding{Aliases: []string{}, State: match.Unknown, Sources: []match.Source{}, Reason: match.Reason{
			Code: match.NotCovered, Text: fmt.Sprintf("No feed speaks about %s, of which %d libraries are named.", e, missing[e])}})
	}
	return append(out, answers(libs, ix, match.Query{}, false, match.NewBudget())...)
}

// names are those under which records are looked up, the bill's own first.
// crates.io takes no two names that differ in "-" and "_" alone, and tools write
// either; Go's stand in lower case too (match.Folded).
func names(l sbom.Library) []string {
	out := []string{l.Name}
	switch l.Ecosystem {
	case "crates.io":
		out = append(out, strings.ReplaceAll(l.Name, "_", "-"), strings.ReplaceAll(l.Name, "-", "_"))
		slices.Sort(out)
	case "Go":
		out = append(out, strings.ToLower(l.Name))
	case "npm":
		if l.Other != "" {
			out = append(out, l.Other)
		}
	}
	return slices.Compact(out)
}

// picks reports whether q asks about a library, by any of its names.
func picks(q match.Query, l sbom.Library) bool {
	switch l.Ecosystem {
	case "PyPI":
		return q.Package == "" || advisory.PyPIName(q.Package) == l.Name
	case "Go":
		return q.Package == "" || strings.EqualFold(q.Package, l.Name)
	}
	return q.Package == "" || slices.Contains(names(l), q.Package)
}

// Explain returns every answer that q picks, the negative ones too.
func Explain(libs []sbom.Library, ix match.Index, q match.Query) []match.Finding {
	return answers(libs, ix, q, true, match.NewBudget())
}

func answers(libs []sbom.Library, ix match.Index, q match.Query, negative bool, most match.Budget) []match.Finding {
	out := []match.Finding{}
	known := spellings{}
	for _, l := range libs {
		if !picks(q, l) {
			continue
		}
		start := len(out)
		for _, name := range names(l) {
			for a, parts := range ix.Of(advisory.Subject{Ecosystem: l.Ecosystem, Package: name}) {
				if !most.Weigh() {
					return []match.Finding{match.Exceeded("libraries")}
				}
				if (q.Advisory == "" || slices.Contains(a.Names(), q.Advisory)) && !(name == l.Other && judged(out[start:], a)) {
					out = append(out, judgeAs(name, l, a, parts))
				}
			}
		}
		if l.Ecosystem == "Go" {
			out = known.joined(out, start, l.Name, ix)
		}
		if !negative {
			kept := slices.DeleteFunc(out[start:], func(f match.Finding) bool { return f.State == match.NotAffected })
			out = out[:start+len(kept)]
		}
		if most.Findings -= len(out) - start; most.Spent() {
			return []match.Finding{match.Exceeded("libraries")}
		}
		slices.SortStableFunc(out[start:], func(a, b match.Finding) int { return strings.Compare(a.Advisory, b.Advisory) })
	}
	return out
}

// spellings are how records spell Go modules, by the bill's name and the record;
// "" where they do as the bill. A bill may have one module in many versions.
type spellings map[[3]string]string

// joined joins the answers from start on that one record gave under both
// spellings of a Go module: any that is affected counts, then any that is unknown.
// Where the record has other capitals than the bill, the reason says so.
func (known spellings) joined(out []match.Finding, start int, name string, ix match.Index) []match.Finding {
	rank := map[match.State]int{match.Affected: 2, match.Unknown: 1}
	list := out[start:]
	out = out[:start]
	at := map[[4]string]int{}
	for _, f := range list {
		by := f.Sources[0]
		key := [4]string{by.Advisory, by.Feed, string(by.Snapshot), string(by.Raw)}
		i, met := at[key]
		switch {
		case !met:
			at[key] = len(out)
			out = append(out, f)
		case rank[f.State] > rank[out[i].State]:
			out[i] = f
		}
	}
	for i := start; i < len(out); i++ {
		f := &out[i]
		key := [3]string{name, f.Advisory, string(f.Sources[0].Raw)}
		other, met := known[key]
		if !met {
			other = otherwise(ix, f.Sources[0], name)
			known[key] = other
		}
		if other != "" {
			f.Reason.Text += fmt.Sprintf(" The record spells the module %+q; capitals are not compared, because a purl may have lost them.", other)
		}
	}
	return out
}

// otherwise is how a record spells a Go module; "" where it has the bill's own
// spelling among others.
func otherwise(ix match.Index, by match.Source, name string) (other string) {
	for _, a := range ix.Lookup(by.Advisory) {
		if a.ID != by.Advisory || a.Raw != by.Raw {
			continue
		}
		for _, f := range a.Affected {
			switch {
			case f.Ecosystem == "Go" && f.Package == name:
				return ""
			case f.Ecosystem == "Go" && other == "" && strings.EqualFold(f.Package, name):
				other = f.Package
			}
		}
	}
	return other
}

// Nothing says why Explain has no answer. gaps are those of the bill.
func Nothing(libs []sbom.Library, gaps []inventory.Gap, ix match.Index, q match.Query) match.Finding {
	f := match.Finding{Advisory: q.Advisory, Aliases: []string{}, Package: q.Package, State: match.Unknown, Sources: []match.Source{}}
	answer := func(s match.State, c match.Code, format string, args ...any) match.Finding {
		f.State, f.Reason = s, match.Reason{Code: c, Text: fmt.Sprintf(format, args...)}
		return f
	}
	if q.Advisory != "" && len(ix.Lookup(q.Advisory)) == 0 {
		return answer(match.Unknown, match.NoSuchAdvisory, "No feed that was read has a record named %+q.", q.Advisory)
	}
	here := slices.IndexFunc(libs, func(l sbom.Library) bool { return q.Package != "" && picks(q, l) })
	switch {
	case here < 0 && len(gaps) > 0:
		return answer(match.Unknown, match.InventoryGap, "Nothing that it names is in the bill, but that is incomplete: %s.", strings.TrimSuffix(gaps[0].Why, "."))
	case here < 0:
		return answer(match.NotAffected, match.NotInstalled, "No library that it names is in the bill.")
	case !ix.Whole(libs[here].Ecosystem):
		return answer(match.Unknown, match.NotCovered, "No feed that was read speaks about all of %s.", libs[here].Ecosystem)
	case slices.ContainsFunc(ix.Snapshots(), func(s advisory.Snapshot) bool { return s.Count == 0 || len(s.Partial) > 0 }):
		return answer(match.Unknown, match.FeedPartial, "No record names it for %s, but a feed is empty or could not be read whole.", libs[here].Ecosystem)
	}
	return answer(match.NotAffected, match.NotNamed, "No record that was read names it for %s.", libs[here].Ecosystem)
}

// judged reports whether a record has answered, by the first spelling.
func judged(list []match.Finding, a *advisory.Advisory) bool {
	return slices.ContainsFunc(list, func(f match.Finding) bool {
		by := f.Sources[0]
		return by.Advisory == a.ID && by.Raw == a.Raw && by.Feed == a.Feed.Name && by.Snapshot == a.Feed.Snapshot
	})
}

// judgeAs answers one record that names a library so: by the bill's other spelling
// it may be about another package.
func judgeAs(name string, l sbom.Library, a *advisory.Advisory, parts []*advisory.Affected) match.Finding {
	f := judge(l, a, parts)
	if name != l.Other || f.State == match.NotAffected {
		return f
	}
	f.State, f.Fixed, f.Source = match.Unknown, "", name
	f.Reason = match.Reason{Code: match.CapitalsUnknown, Text: fmt.Sprintf("The bill spells this library %+q and %+q, and npm tells capitals apart; %s names the second.", l.Name, name, a.Source)}
	f.Sources[0].State, f.Sources[0].Reason, f.Sources[0].Fixed = f.State, f.Reason.Code, ""
	return f
}

// judge answers one record on one library.
func judge(l sbom.Library, a *advisory.Advisory, parts []*advisory.Affected) match.Finding {
	f := match.Finding{Advisory: a.ID, Aliases: []string{}, Package: l.Name, Source: l.Name, Version: l.Version, SourceVersion: l.Version}
	for _, n := range append(slices.Clone(a.Aliases), a.Upstream...) {
		if n != a.ID && !slices.Contains(f.Aliases, n) {
			f.Aliases = append(f.Aliases, n)
		}
	}
	slices.Sort(f.Aliases)
	what := fmt.Sprintf("The %s library %s %+q", l.Ecosystem, l.Name, l.Version)
	hit, fixed, err := inside(l, parts)
	answer := func(s match.State, c match.Code, format string, args ...any) {
		f.State, f.Reason = s, match.Reason{Code: c, Text: what + fmt.Sprintf(format, args...)}
	}
	source := match.Code("")
	switch {
	case a.Withdrawn > 0:
		answer(match.NotAffected, match.Withdrawn, ": %s has withdrawn this record.", a.Source)
	case hit && fixed != "":
		f.Fixed, source = fixed, match.BelowFixed
		answer(match.Affected, match.FoundNotFixable, " is older than %s, the fixed version by %s. Found, not fixable here: whoever built it must update it.", fixed, a.Source)
	case hit:
		source = match.Unfixed
		answer(match.Affected, match.FoundNotFixable, " is affected and %s knows no fixed version above it. Found, not fixable here.", a.Source)
	case err != nil:
		answer(match.Unknown, match.VersionUnreadable, " cannot be compared with the record of %s: %+q.", a.Source, err.Error())
	case !slices.ContainsFunc(parts, func(p *advisory.Affected) bool { return len(p.Ranges)+len(p.Versions) > 0 }):
		answer(match.Unknown, match.NoRange, " is named by %s, but no version is.", a.Source)
	default:
		answer(match.NotAffected, match.OutsideRanges, " is outside the affected versions by %s.", a.Source)
	}
	if source == "" {
		source = f.Reason.Code
	}
	f.Sources = []match.Source{{Advisory: a.ID, Source: a.Source, Basis: a.Basis, Feed: a.Feed.Name, Snapshot: a.Feed.Snapshot,
		Raw: a.Raw, State: f.State, Reason: source, Fixed: f.Fixed}}
	return f
}

// inside evaluates the parts: whether the version is affected, and the lowest
// fixed version above it. The error counts only where there is no hit.
func inside(l sbom.Library, parts []*advisory.Affected) (hit bool, fixed string, err error) {
	_, err = Compare(l.Ecosystem, l.Version, l.Version)
	for _, p := range parts {
		hit = hit || slices.Contains(p.Versions, l.Version)
		for _, r := range p.Ranges {
			in, why := contains(l.Ecosystem, r, l.Version)
			if why != nil {
				err = why
			}
			if hit = hit || in; r.Fixed == "" {
				continue
			}
			if c, why := Compare(l.Ecosystem, r.Fixed, l.Version); why == nil && c > 0 {
				if d, why := Compare(l.Ecosystem, r.Fixed, fixed); fixed == "" || why == nil && d < 0 {
					fixed = r.Fixed
				}
			}
		}
	}
	if !hit {
		fixed = ""
	}
	return hit, fixed, err
}

func contains(ecosystem string, r advisory.Range, v string) (bool, error) {
	if r.Introduced != advisory.Beginning {
		if c, err := Compare(ecosystem, v, r.Introduced); err != nil || c < 0 {
			return false, err
		}
	}
	if r.Fixed != "" {
		c, err := Compare(ecosystem, v, r.Fixed)
		return err == nil && c < 0, err
	}
	if r.LastAffected != "" {
		c, err := Compare(ecosystem, v, r.LastAffected)
		return err == nil && c <= 0, err
	}
	return true, nil
}
