// Package openvex reads OpenVEX 0.2 documents: what people of the house say
// themselves about a vulnerability in a package they run.
//
// The parties: an author who writes statements (by hand or with vexctl), room
// feed which brings the bytes, room match which hears them beside what vendors
// say. The objects are the document and its statements: not_affected with a
// justification, affected, fixed, under_investigation.
//
// The promise: each statement becomes one advisory that names its author, rests
// on a statement (advisory.BasisStatement), and ends. OpenVEX has no end of its
// own, so a statement may carry "expires" (RFC 3339; other tools ignore it), at
// most MaxLife after its time; without it, it ends DefaultLife after its time.
//
// A product is a purl with a release: pkg:deb/debian/NAME@VERSION?distro=debian-12,
// NAME being the source package; without VERSION it speaks of every version.
// Subcomponents narrow a product in ways that packages do not know: a statement
// with any is reported and left out. Signatures are not verified here, so the
// author is whoever could write the file.
package openvex

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

// What snapshots from here are called.
const (
	Name = "openvex"
	Kind = "openvex"
)

// Lives of a statement, in seconds after its time.
const (
	DefaultLife = 90 * 24 * 3600
	MaxLife     = 366 * 24 * 3600
)

// Limits.
const (
	maxDocument   = 16 << 20 // bytes
	maxStatements = 100_000
	maxProducts   = 10_000 // of one statement
	maxAliases    = 100
	maxPurl       = 4 << 10
	maxAhead      = 24 * 3600 // seconds that a statement may be dated beyond now
)

// Is reports whether a top-level member is one that only OpenVEX has.
func Is(key, value string) bool {
	return key == "@context" && strings.HasPrefix(value, `"https://openvex.dev/ns`) || key == "statements"
}

// Read reads one document. now is Unix seconds. take gets each statement's
// advisory, without its Feed, with Expires even when that is past; gap gets
// each statement that could not be read, and "" for the document.
func Read(in io.Reader, now int64, take func(advisory.Advisory), gap func(record, why string)) {
	raw, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("it has more than %d bytes", maxDocument)
	}
	d := &document{Doc: strictjson.Of(raw)}
	if err == nil {
		err = d.Whole(func() error { return d.Object(d.member) })
	}
	if err == nil {
		err = d.head()
	}
	if err != nil {
		why := err.Error()
		if at := (*strictjson.Syntax)(nil); errors.As(err, &at) {
			why = fmt.Sprintf("byte %d: %s", at.Offset, at.Reason)
		}
		gap("", why)
		return
	}
	for i, s := range d.statements {
		id := fmt.Sprintf("openvex/%s/%d", d.id, i)
		a, err := d.advisory(s, now)
		if err != nil {
			gap(id, err.Error())
			continue
		}
		a.ID, a.Raw = id, canon.SumFile(raw)
		take(a)
	}
}

// document is a document while it is read.
type document struct {
	strictjson.Doc
	context, id, author string
	time                int64
	statements          []statement
}

type statement struct {
	name, status, justification, note string
	aliases, products                 []string
	time, expires                     int64
	narrowed                          bool // a product has subcomponents
}

func (d *document) member(key string) (err error) {
	switch key {
	case "@context":
		d.context, err = d.Plain(advisory.MaxWord)
	case "@id":
		d.id, err = d.Plain(advisory.MaxWord / 2)
	case "author":
		d.author, err = d.Str(advisory.MaxWord / 4)
	case "timestamp", "last_updated":
		err = d.latest(&d.time)
	case "statements":
		err = d.Array(maxStatements, d.statement)
	default:
		err = d.Skip()
	}
	return err
}

// latest keeps the later of several times.
func (d *document) latest(to *int64) error {
	t, err := d.Time(advisory.MaxWord)
	*to = max(*to, t)
	return err
}

func (d *document) head() error {
	switch {
	case !strings.HasPrefix(d.context, "https://openvex.dev/ns/v0.2."):
		return fmt.Errorf("the context %+q is not OpenVEX 0.2", d.context)
	case d.id == "" || strings.TrimSpace(d.author) == "":
		return errors.New("it has no @id or no author, and nobody's word is no word")
	}
	return nil
}

func (d *document) statement() error {
	var s statement
	err := d.Object(func(key string) (err error) {
		switch key {
		case "vulnerability":
			err = d.Object(func(key string) (err error) {
				switch key {
				case "name":
					s.name, err = d.Plain(advisory.MaxWord / 4)
				case "aliases":
					err = d.Array(maxAliases, func() error {
						n, err := d.Plain(advisory.MaxWord / 4)
						s.aliases = append(s.aliases, n)
						return err
					})
				default:
					err = d.Skip()
				}
				return err
			})
		case "timestamp", "last_updated":
			err = d.latest(&s.time)
		case "expires":
			s.expires, err = d.Time(advisory.MaxWord)
		case "status":
			s.status, err = d.Plain(advisory.MaxWord)
		case "justification":
			s.justification, err = d.Plain(advisory.MaxWord)
		case "impact_statement", "action_statement":
			s.note, err = d.Str(advisory.MaxText)
		case "products":
			err = d.Array(maxProducts, func() error { return d.product(&s) })
		default:
			err = d.Skip()
		}
		return err
	})
	d.statements = append(d.statements, s)
	return err
}

// product reads a product's purl: its @id, or better the identifier.
func (d *document) product(s *statement) error {
	id, purl := "", ""
	err := d.Object(func(key string) (err error) {
		switch key {
		case "@id":
			id, err = d.Plain(maxPurl)
		case "identifiers":
			err = d.Object(func(key string) (err error) {
				if key != "purl" {
					return d.Skip()
				}
				purl, err = d.Plain(maxPurl)
				return err
			})
		case "subcomponents":
			s.narrowed, err = true, d.Skip()
		default:
			err = d.Skip()
		}
		return err
	})
	if purl == "" {
		purl = id
	}
	s.products = append(s.products, purl)
	return err
}

// justifications are OpenVEX's own (specification 0.2, "Status Justifications").
var justifications = []string{"component_not_present", "vulnerable_code_not_present", "vulnerable_code_not_in_execute_path",
	"vulnerable_code_cannot_be_controlled_by_adversary", "inline_mitigations_already_exist"}

func (d *document) advisory(s statement, now int64) (advisory.Advisory, error) {
	at := s.time
	if at == 0 {
		at = d.time
	}
	a := advisory.Advisory{Aliases: []string{}, Upstream: []string{}, Related: []string{}, Source: "openvex/" + string(canon.NoteOf(d.author)),
		Basis: advisory.BasisStatement, Published: at, Modified: at, Expires: s.expires, Summary: advisory.SummaryOf(s.note),
		Affected: []advisory.Affected{}, Severities: []advisory.Severity{}}
	if a.Expires == 0 {
		a.Expires = at + DefaultLife
	}
	switch {
	case s.name == "":
		return a, errors.New("it names no vulnerability")
	case len(s.products) == 0:
		return a, errors.New("it names no product")
	case s.narrowed:
		return a, errors.New("it speaks of subcomponents, which a package does not have; name the package as the product")
	case at == 0 || at > now+maxAhead:
		return a, errors.New("it has no time, or one in the future, so its end is not known")
	case a.Expires > at+MaxLife || a.Expires < at:
		return a, fmt.Errorf("it expires before it was made, or more than %d days later", MaxLife/(24*3600))
	case s.status == "not_affected" && !slices.Contains(justifications, s.justification):
		return a, fmt.Errorf("not_affected needs a justification of OpenVEX's; %+q is none", s.justification)
	}
	a.Aliases = slices.Compact(slices.Sorted(slices.Values(append([]string{s.name}, s.aliases...))))
	for _, purl := range s.products {
		f, err := part(s, purl)
		if err != nil {
			return a, err
		}
		f.Note = a.Summary
		a.Affected = append(a.Affected, f)
	}
	return a, nil
}

// part is what a statement says about one product.
func part(s statement, purl string) (f advisory.Affected, err error) {
	f = advisory.Affected{Ranges: []advisory.Range{}, Versions: []string{}, Severities: []advisory.Severity{}, Word: s.status}
	var ver string
	if f.Ecosystem, f.Package, ver, err = subject(purl); err != nil {
		return f, err
	}
	if ver != "" {
		f.Versions = append(f.Versions, ver)
	}
	switch s.status {
	case "not_affected":
		f.Status, f.Word = advisory.NotAffected, s.justification
	case "under_investigation":
		f.Status = advisory.UnderInvestigation
	case "affected":
		if ver == "" {
			f.Ranges = append(f.Ranges, advisory.Range{Type: "ECOSYSTEM", Introduced: advisory.Beginning})
		}
	case "fixed":
		if f.Status = advisory.NotAffected; ver == "" {
			return f, fmt.Errorf("%+q is fixed, but in which version is not said", purl)
		}
	default:
		return f, fmt.Errorf("the status %+q is not known", s.status)
	}
	return f, nil
}

// subject reads a purl of a Debian or Ubuntu package.
func subject(purl string) (ecosystem, name, ver string, err error) {
	path, query, _ := strings.Cut(purl, "?")
	path, ver, _ = strings.Cut(path, "@")
	system, name, ok := strings.Cut(strings.TrimPrefix(path, "pkg:deb/"), "/")
	q, err := url.ParseQuery(query)
	if err == nil {
		name, err = url.PathUnescape(name)
	}
	if err == nil {
		ver, err = url.PathUnescape(ver)
	}
	release, named := strings.CutPrefix(q.Get("distro"), system+"-")
	switch {
	case err != nil || !ok || !strings.HasPrefix(path, "pkg:deb/") || system != "debian" && system != "ubuntu":
		return "", "", "", fmt.Errorf("%+q is no purl of a Debian or Ubuntu package (pkg:deb/debian/NAME@VERSION?distro=debian-12)", purl)
	case !named || !strictjson.Printable(release) || !strictjson.Printable(name) || len(name)+len(release) > advisory.MaxWord/2:
		return "", "", "", fmt.Errorf("%+q does not say of which release it is, with a number (distro=%s-…)", purl, system)
	case ver != "" && (len(ver) > advisory.MaxWord || version.Valid(version.Deb, ver) != nil):
		return "", "", "", fmt.Errorf("the version of %+q cannot be read", purl)
	case system == "debian":
		return "Debian:" + release, name, ver, nil
	}
	year, month, _ := strings.Cut(release, ".")
	if month == "04" && year != "" && (year[len(year)-1]-'0')%2 == 0 {
		release += ":LTS"
	}
	return "Ubuntu:" + release, name, ver, nil
}
