// Package secdb reads the security databases of Alpine and of the distributions
// that follow its format: which version of each package fixes what.
//
// The parties: package maintainers write "secfixes" into build recipes, the
// distribution publishes them as one JSON file for each release and repository
// (secdb.alpinelinux.org/v3.22/main.json), room feed brings the bytes.
//
// The promise: each pair of package and vulnerability becomes one advisory. The
// version "0" means that no version of the package was ever affected. Where
// several versions are said to fix the same, every one of them must be reached.
// Of a string with several names each CVE counts. A package that is broken is
// reported and left out.
//
// The database names only what is fixed: it never tells what is still open, so
// its silence about a vulnerability is no answer. It carries no date and no
// signature, and speaks of source packages ("origin" in apk's own database).
package secdb

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

// What advisories and snapshots from here are called.
const (
	Name = "alpine-secdb"
	Kind = "alpine secdb"
)

// Limits. The largest file of 2026 has some 5,000 packages, one of them some
// 300 versions.
const (
	maxPackages = 200_000
	maxPackage  = 4 << 20 // bytes
	maxVersions = 10_000  // of one package
	maxIDs      = 10_000  // of one version
	maxHeader   = 64 << 10
)

// Is reports whether a top-level member is one that only these files have.
func Is(key, _ string) bool {
	return key == "apkurl" || key == "reponame" || key == "distroversion" || key == "urlprefix" || key == "packages"
}

// database is one file while it is read.
type database struct {
	*strictjson.Stream
	version, repo, prefix string
	found                 []found
	gap                   func(record, why string)
}

// found is one package.
type found struct {
	pkg   string
	raw   canon.Digest
	fixes map[string][]string // by vulnerability: the versions that fix it
	names map[string][]string // by vulnerability: names beside it
}

// Read reads one file. take gets each advisory, without its Feed; gap gets each
// package that could not be read with the reason, and "" when the rest of the
// file is lost.
func Read(in io.Reader, take func(advisory.Advisory), gap func(record, why string)) {
	d := &database{Stream: strictjson.NewStream(in), gap: gap}
	err := d.Object(strictjson.MaxKeys, d.member)
	if err == nil {
		err = d.End()
	}
	if err != nil {
		gap("", place(err, 0)+"; what follows is lost")
	}
	ecosystem, ok := d.ecosystem()
	if !ok {
		gap("", fmt.Sprintf("it does not say of which release it is (distroversion %+q, reponame %+q, urlprefix %+q)", d.version, d.repo, d.prefix))
		return
	}
	for _, f := range d.found {
		for _, id := range slices.Sorted(maps.Keys(f.fixes)) {
			take(f.advisory(id, ecosystem, d.repo))
		}
	}
}

func place(err error, start int64) string {
	if at := (*strictjson.Syntax)(nil); errors.As(err, &at) {
		return fmt.Sprintf("byte %d: %s", start+at.Offset, at.Reason)
	}
	return err.Error()
}

func (d *database) member(key string) error {
	switch key {
	case "distroversion":
		return d.text(&d.version)
	case "reponame":
		return d.text(&d.repo)
	case "urlprefix":
		return d.text(&d.prefix)
	case "packages":
		return d.Array(maxPackages, d.pkg)
	}
	return d.Skip(maxHeader)
}

func (d *database) text(to *string) error {
	raw, err := d.Raw(maxHeader)
	if err != nil {
		return err
	}
	doc := strictjson.Of(raw)
	return doc.Whole(func() (err error) { *to, err = doc.Plain(advisory.MaxWord / 4); return err })
}

// ecosystem is the release's name as OSV spells it. Wolfi and Chainguard have
// no releases.
func (d *database) ecosystem() (string, bool) {
	switch {
	case d.repo == "":
		return "", false
	case d.version != "":
		return "Alpine:" + d.version, true
	case d.prefix == "https://packages.wolfi.dev":
		return "Wolfi", true
	case d.prefix == "https://packages.cgr.dev":
		return "Chainguard", true
	}
	return "", false
}

// pkg reads one element of "packages".
func (d *database) pkg() error {
	d.Peek()
	start := d.At()
	raw, err := d.Raw(maxPackage)
	if errors.Is(err, strictjson.ErrTooLong) {
		d.gap(fmt.Sprintf("the package at byte %d", start), fmt.Sprintf("it has more than %d bytes", maxPackage))
		return nil
	}
	if err != nil {
		return err
	}
	p := &reading{Doc: strictjson.Of(raw), found: found{raw: canon.SumFile(raw), fixes: map[string][]string{}, names: map[string][]string{}}}
	err = p.Whole(func() error {
		return p.Object(func(key string) error {
			if key == "pkg" {
				return p.Object(p.member)
			}
			return p.Skip()
		})
	})
	if err == nil && p.pkg == "" {
		err = p.Fail("a package without a name")
	}
	if err != nil {
		record := p.pkg
		if record == "" {
			record = fmt.Sprintf("the package at byte %d", start)
		}
		d.gap(record, place(err, start))
		return nil
	}
	d.found = append(d.found, p.found)
	return nil
}

// reading is one package while it is read.
type reading struct {
	strictjson.Doc
	found
}

func (p *reading) member(key string) (err error) {
	switch key {
	case "name":
		p.pkg, err = p.Plain(advisory.MaxWord / 4)
	case "secfixes":
		if p.Peek() == '[' { // an empty list, where no map was written
			return p.Array(0, p.Skip)
		}
		err = p.Members(maxVersions, p.version)
	default:
		err = p.Skip()
	}
	return err
}

func (p *reading) version(fixed string) error {
	if fixed != "0" && version.Valid(version.APK, fixed) != nil {
		return p.Fail("%+q is no version", fixed)
	}
	return p.Array(maxIDs, func() error {
		text, err := p.Str(advisory.MaxWord)
		if err != nil {
			return err
		}
		ids, others := names(text)
		if len(ids) == 0 {
			return p.Fail("version %s: %+q names no vulnerability", fixed, text)
		}
		for _, id := range ids {
			if !slices.Contains(p.fixes[id], fixed) {
				p.fixes[id] = append(p.fixes[id], fixed)
			}
			p.names[id] = append(p.names[id], others...)
		}
		return nil
	})
}

// names splits a string into the vulnerabilities it names, which are its CVEs
// or else its first name, and the others: "CVE-2017-10920 XSA-224". Those are
// only related, since XSA-224 is three CVEs' in Alpine's own files. Words that
// are no names are remarks: "CVE-2017-2616 (+ regression fix)".
func names(text string) (ids, others []string) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == ';' || r == '\t' }) {
		word = strings.Replace(strings.Trim(word, "()"), "CVE_", "CVE-", 1)
		switch {
		case strings.HasPrefix(word, "CVE-") && isName(word):
			ids = append(ids, word)
		case isName(word):
			others = append(others, word)
		}
	}
	if len(ids) == 0 && len(others) > 0 {
		ids, others = others[:1], others[1:]
	}
	return ids, others
}

// isName reports whether a word looks like "CVE-2017-2616", "XSA-231",
// "GHSA-33c5-9fx5-fvjm": capitals, a hyphen, and more of letters, digits, hyphens.
func isName(word string) bool {
	head, tail, ok := strings.Cut(word, "-")
	if !ok || head == "" || tail == "" || len(word) > 64 {
		return false
	}
	for _, c := range head {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	for _, c := range tail {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

// advisory is what the database says about one vulnerability of one package.
func (f found) advisory(id, ecosystem, repo string) advisory.Advisory {
	related := append([]string{}, slices.Compact(slices.Sorted(slices.Values(f.names[id])))...)
	base, release, _ := strings.Cut(ecosystem, ":")
	part := advisory.Affected{Ecosystem: ecosystem, Package: f.pkg, Ranges: []advisory.Range{}, Versions: []string{}, Severities: []advisory.Severity{}}
	for _, v := range f.fixes[id] {
		if v != "0" {
			part.Ranges = append(part.Ranges, advisory.Range{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: v})
		}
	}
	if len(part.Ranges) == 0 {
		part.Status, part.Word = advisory.NotAffected, "secfixes 0"
	}
	return advisory.Advisory{ID: strings.Join([]string{strings.ToLower(base) + "-secdb", release, repo, f.pkg, id}, "/"),
		Aliases: []string{id}, Upstream: []string{}, Related: related, Source: strings.ToLower(base) + "/secdb", Basis: advisory.BasisRecord,
		Affected: []advisory.Affected{part}, Severities: []advisory.Severity{}, Raw: f.raw}
}
