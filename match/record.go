package match

import (
	"slices"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
)

// Seen is one version of a source package, as a host has it.
type Seen struct {
	Version string
	Module  string // as inventory.Package has it; without a stream it comes from a module of which that is not known
	Settled bool   // it is certain that this version's files are there
	Unnamed bool   // the record speaks of the distribution and of no release
}

// Verdict is what one record says about one version of package s, where s is
// spelled as in the record. It is the judgement that Find joins into findings.
// NotNamed means that the record does not name s, or is silent about the
// version.
func Verdict(a *advisory.Advisory, s advisory.Subject, seen Seen) (State, Code) {
	r := record{Advisory: a}
	for i := range a.Affected {
		if f := &a.Affected[i]; f.Ecosystem == s.Ecosystem && f.Package == s.Package {
			r.parts = append(r.parts, f)
		}
	}
	scheme, _ := advisory.SchemeOf(s.Ecosystem)
	p := inventory.Package{Version: seen.Version, Scheme: scheme, Module: seen.Module, Status: inventory.Status{Want: "install", Flag: "ok", State: inventory.HalfInstalled}}
	if seen.Settled {
		p.Status.State = inventory.Installed
	}
	v, speaks := r.about(p, identity{s.Package, seen.Version}, seen.Unnamed)
	if !speaks {
		return NotAffected, NotNamed
	}
	return v.state, v.code
}

// Plain reports whether what a record says about a package is its ranges and
// listed versions alone: a version that is in none of them is not affected, and
// one that is in any of them is, whatever module stream it comes from.
func Plain(a *advisory.Advisory, parts []*advisory.Affected) bool {
	return a.Basis != advisory.BasisStatement && !Modular(parts) &&
		!slices.ContainsFunc(parts, func(f *advisory.Affected) bool { return f.Status != "" && len(f.Ranges) == 0 })
}

// Name is a source package and its version, as records speak of them.
type Name struct{ Source, Version string }

// Names gives every name under which records may speak of an installed
// package: its source, and for Debian's signed kernels the source that was
// signed.
func Names(p inventory.Package) []Name {
	var out []Name
	for _, id := range identities(p) {
		out = append(out, Name{id.source, id.version})
	}
	return out
}
