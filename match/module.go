package match

import (
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

// Modules of the RHEL family: packages of one name come in streams ("nodejs:18",
// "nodejs:20"), each with versions of its own. A host has one stream of a module
// at a time, and rpm keeps its name beside the package (tag MODULARITYLABEL).

// applies is whether a statement is about an installed package, as far as
// modules go.
type applies int

const (
	no     applies = iota // it is about another stream, or only one of the two is of a module
	yes                   // about this one
	unsure                // the stream of one of the two is not known
)

// ModuleStream is the stream that an installed package comes from: "nodejs:18";
// "" where it is of no module or its stream is not known, and modular tells which.
func ModuleStream(p inventory.Package) (stream string, modular bool) {
	if p.Scheme != version.RPM {
		return "", false
	}
	name, rest, ok := strings.Cut(p.Module, ":")
	if stream, _, _ = strings.Cut(rest, ":"); ok && name != "" && stream != "" {
		return name + ":" + stream, true
	}
	return "", p.Module != "" || advisory.ModuleBuild(p.Version)
}

// Modular reports whether some of what a record says about one package of one
// release depends on the stream that the package comes from.
func Modular(parts []*advisory.Affected) bool {
	return slices.ContainsFunc(parts, func(f *advisory.Affected) bool {
		scheme, _ := advisory.SchemeOf(f.Ecosystem)
		return scheme == version.RPM && (f.Module != "" || builds(f) == yes)
	})
}

// builds tells from its fixed versions whether a statement is about builds of a
// module; unsure where it names no fixed version, or both kinds.
func builds(f *advisory.Affected) applies {
	modular, plain := false, false
	for _, r := range f.Ranges {
		if r.Fixed != "" {
			modular = modular || advisory.ModuleBuild(r.Fixed)
			plain = plain || !advisory.ModuleBuild(r.Fixed)
		}
	}
	switch {
	case modular && !plain:
		return yes
	case plain && !modular:
		return no
	}
	return unsure
}

// about says whether a statement of a record is about p.
func about(f *advisory.Affected, p inventory.Package) applies {
	if scheme, _ := advisory.SchemeOf(f.Ecosystem); scheme != version.RPM {
		return yes
	}
	stream, modular := ModuleStream(p)
	switch {
	case f.Module != "" && stream != "":
		if f.Module == stream {
			return yes
		}
		return no
	case f.Module != "" && modular:
		return unsure
	case f.Module != "":
		return no
	}
	of := builds(f)
	if strings.HasPrefix(f.Ecosystem, "Red Hat:") && of == unsure {
		of = no // Red Hat's own documents name the stream wherever there is one
	}
	switch {
	case of == unsure, of == no && !modular:
		return yes
	case of == yes && modular:
		return unsure // which stream it means is not said
	}
	return no
}

// divide sorts a record's parts by whether they are about p.
func divide(parts []*advisory.Affected, p inventory.Package) (sure, open []*advisory.Affected) {
	all := true
	for _, f := range parts {
		all = all && about(f, p) == yes
	}
	if all { // nearly always
		return parts, nil
	}
	for _, f := range parts {
		switch about(f, p) {
		case yes:
			sure = append(sure, f)
		case unsure:
			open = append(open, f)
		}
	}
	return sure, open
}
