// Package tracker reads the Debian security tracker's export: what Debian's
// security team says about each source package, vulnerability and release.
//
// The parties: the security team writes, its server publishes one JSON file of
// some tens of megabytes (security-tracker.debian.org/tracker/data/json), and
// room feed brings the bytes. The objects are nested: source package,
// vulnerability, release.
//
// The promise: each pair of package and vulnerability becomes one advisory with
// one part for each release, and what the team says about it stays apart:
// resolved in a version, open, no advisory of its own (no-dsa), postponed,
// ignored, end of life, not affected, undetermined. The file is read as a
// stream; a record that is broken is reported and left out.
//
// The export carries no date and no signature. Which version is in which suite
// ("repositories") is not kept: only what is installed counts. Minor issues
// ("unimportant") stay open here, with that urgency.
package tracker

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

// What advisories and snapshots from here are called.
const (
	Name   = "debian-tracker"
	Kind   = "debian security tracker"
	Source = "debian/tracker"
)

// Limits. The export of 2026 has some 4,000 packages, the kernel some 14,000
// vulnerabilities, a record below 6 KB.
const (
	maxPackages = 200_000
	maxBugs     = 200_000 // of one package
	maxRecord   = 1 << 20 // bytes of one vulnerability of one package
	maxReleases = 200
)

// Is reports whether a top-level member can only be the tracker's: a package
// whose first member is a vulnerability. value begins with the member's value.
func Is(_, value string) bool {
	first, ok := strings.CutPrefix(value, "{")
	first, quoted := strings.CutPrefix(strings.TrimLeft(first, " \t\r\n"), `"`)
	return ok && quoted && (strings.HasPrefix(first, "CVE-") || strings.HasPrefix(first, "TEMP-"))
}

// Read reads the export. take gets each advisory, without its Feed; gap gets
// each record that could not be read with the reason, and "" when the rest of
// the file is lost.
func Read(in io.Reader, take func(advisory.Advisory), gap func(record, why string)) {
	s := strictjson.NewStream(in)
	w := words{}
	err := s.Object(maxPackages, func(pkg string) error {
		return s.Object(maxBugs, func(bug string) error {
			id := pkg + "/" + bug
			s.Peek()
			start := s.At()
			raw, err := s.Raw(maxRecord)
			if errors.Is(err, strictjson.ErrTooLong) {
				gap(id, fmt.Sprintf("it has more than %d bytes", maxRecord))
				return nil
			}
			if err != nil {
				return err
			}
			a, err := parse(pkg, bug, raw, w)
			if err != nil {
				gap(id, place(err, start))
				return nil
			}
			take(a)
			return nil
		})
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		gap("", place(err, 0)+"; what follows is lost")
	}
}

// place is an error with the byte of the file.
func place(err error, start int64) string {
	if at := (*strictjson.Syntax)(nil); errors.As(err, &at) {
		return fmt.Sprintf("byte %d: %s", start+at.Offset, at.Reason)
	}
	return err.Error()
}

// record is one vulnerability of one package while it is read.
type record struct {
	strictjson.Doc
	a     advisory.Advisory
	pkg   string
	words words
}

// words keeps one copy of each word that stands in most records.
type words map[string]string

const maxWords = 4096

func (w words) one(s string) string {
	if old, ok := w[s]; ok {
		return old
	}
	if len(w) < maxWords {
		w[s] = s
	}
	return s
}

func parse(pkg, bug string, raw []byte, w words) (advisory.Advisory, error) {
	r := record{Doc: strictjson.Of(raw), pkg: pkg, words: w}
	for _, name := range []string{pkg, bug} {
		if len(name) > advisory.MaxWord/4 || !strictjson.Printable(name) {
			return advisory.Advisory{}, r.Fail("a name that is empty, long or has characters outside printable ASCII")
		}
	}
	r.a = advisory.Advisory{ID: Name + "/" + pkg + "/" + bug, Aliases: []string{bug}, Upstream: []string{}, Related: []string{},
		Source: Source, Basis: advisory.BasisRecord, Affected: []advisory.Affected{}, Severities: []advisory.Severity{},
		Raw: canon.SumFile(raw)}
	err := r.Whole(func() error {
		return r.Object(func(key string) error {
			switch key {
			case "description":
				text, err := r.Str(advisory.MaxText)
				r.a.Summary = advisory.SummaryOf(text)
				return err
			case "releases":
				return r.Members(maxReleases, r.release)
			}
			return r.Skip()
		})
	})
	if err != nil {
		return advisory.Advisory{}, err
	}
	r.a.Affected = append(make([]advisory.Affected, 0, len(r.a.Affected)), r.a.Affected...) // without what append kept in reserve
	return r.a, nil
}

// said is what the tracker says about one release.
type said struct {
	status, fixed, urgency string
	nodsa                  *string // why there is no advisory; nil when there is or may be one
	reason                 string  // "ignored", "postponed" or ""
}

func (r *record) release(codename string) error {
	if !strictjson.Printable(codename) || len(codename) > 64 {
		return r.Fail("the release %+q is no codename", codename)
	}
	var x said
	err := r.Object(func(key string) (err error) {
		switch key {
		case "status":
			x.status, err = r.Plain(advisory.MaxWord)
		case "fixed_version":
			x.fixed, err = r.Plain(advisory.MaxWord)
		case "urgency":
			x.urgency, err = r.Plain(advisory.MaxWord)
		case "nodsa":
			var text string
			text, err = r.Str(advisory.MaxText)
			x.nodsa = &text
		case "nodsa_reason":
			x.reason, err = r.Str(advisory.MaxWord)
		default:
			err = r.Skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	x.fixed = r.words.one(x.fixed)
	f := advisory.Affected{Ecosystem: r.words.one(Ecosystem(codename)), Package: r.pkg, Ranges: []advisory.Range{}, Versions: []string{}, Severities: []advisory.Severity{}}
	if why := x.judge(&f); why != "" {
		return r.Fail("release %s: %s", codename, why)
	}
	f.Word, f.Note = r.words.one(f.Word), canon.Note(r.words.one(string(f.Note)))
	r.a.Affected = append(r.a.Affected, f)
	return nil
}

// judge puts what is said into the normal form. The version "0" as fixed means
// that no version of this release was ever affected.
func (x said) judge(f *advisory.Affected) (why string) {
	if x.urgency != "" && x.urgency != "not yet assigned" && x.urgency != "end-of-life" {
		f.Severities = append(f.Severities, advisory.Severity{Source: Source, Type: "urgency", Score: x.urgency})
	}
	if x.nodsa != nil {
		f.Note = advisory.SummaryOf(*x.nodsa)
	}
	all := advisory.Range{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: x.fixed}
	readable := x.fixed == "" || x.fixed == "0" || version.Valid(version.Deb, x.fixed) == nil
	switch {
	case !readable:
		return fmt.Sprintf("%+q is no version", x.fixed)
	case x.status != "resolved" && x.status != "open" && x.status != "undetermined":
		return fmt.Sprintf("the status %+q is not known", x.status)
	case x.status == "undetermined":
		f.Status, f.Word = advisory.Undetermined, x.status
	case x.status == "resolved" && x.fixed == "0":
		f.Status, f.Word = advisory.NotAffected, "fixed_version 0"
	case x.status == "resolved" && x.fixed == "":
		f.Status, f.Word = advisory.Undetermined, "resolved without a version"
	case x.status == "open" && x.fixed == "0":
		f.Status, f.Word = advisory.Undetermined, "open and never affected"
	case x.status == "resolved":
		f.Ranges = append(f.Ranges, all)
	default:
		f.Ranges = append(f.Ranges, all)
		if f.Status, f.Word = x.intent(); f.Status == advisory.Unfixed && x.fixed != "" {
			f.Status = "" // open in a suite, and fixed in another of the same release
		}
	}
	return ""
}

// intent is what the team means to do about an open issue.
func (x said) intent() (advisory.Status, string) {
	switch {
	case x.urgency == "end-of-life":
		return advisory.EndOfLife, x.urgency
	case x.reason == "ignored":
		return advisory.WontFix, x.reason
	case x.reason == "postponed":
		return advisory.Postponed, x.reason
	case x.nodsa != nil:
		return advisory.NoAdvisory, "no-dsa"
	}
	return advisory.Unfixed, x.status
}

// numbers are Debian's releases by codename (www.debian.org/releases).
var numbers = map[string]string{
	"sarge": "3.1", "etch": "4", "lenny": "5", "squeeze": "6", "wheezy": "7", "jessie": "8", "stretch": "9",
	"buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "duke": "15",
}

// Ecosystem is a release's name in advisories: "Debian:12" for bookworm. A
// codename without a number here keeps its name, and is then no host's.
func Ecosystem(codename string) string {
	if n, ok := numbers[codename]; ok {
		codename = n
	}
	return "Debian:" + codename
}
