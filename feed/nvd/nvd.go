// Package nvd reads answers of NIST's National Vulnerability Database, API 2.0:
// pages of CVE records with the scores of NIST and of others.
//
// The parties: CNAs and CISA, whose scores and SSVC points NIST passes on; NIST,
// which may add its own; room feed, which brings the pages. The objects are the
// Page and the records in it, in the normal form of room feed/cve.
//
// The promise: each score and each point keeps its speaker; what NIST passes on
// says so ("via nvd"). A record that NIST has not looked at is unscored, which is
// a state of its own with NIST's word for it (Received, Awaiting Analysis,
// Undergoing Analysis, Deferred, Not Scheduled). A page is read as a stream; a
// broken record is reported and left out; a page holds itself against its own
// count.
//
// NVD has the least authority of all feeds: it makes no work, and a Rejected here
// calls nothing off. Which products are affected (CPE) is not read.
package nvd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
)

// What snapshots from here are called. Via is the mark of what NIST passes on.
const (
	Name = "nvd"
	Kind = "nvd api 2.0"
	Via  = "nvd"
	nist = "nvd@nist.gov"
)

// Limits. A page of the API has at most 2,000 records, a yearly file some 40,000;
// the record of CVE-2021-44228 has 149 KB.
const (
	MaxRecords = 1_000_000 // of one page
	maxHeader  = 64 << 10
	maxMetrics = 256 // of one kind
	maxWord    = 512
)

// Is reports whether a top-level member is one that only these pages have.
func Is(key, _ string) bool {
	return key == "resultsPerPage" || key == "startIndex" || key == "totalResults"
}

// Page is what a page says of itself. -1 where it says nothing.
type Page struct {
	Start   int   // of its first record among all
	Results int   // in this page
	Total   int   // in all pages of the answer
	Made    int64 // when the answer was made, Unix seconds; 0: not stated
	Met     int   // records that were met, good or broken
}

// Read reads one page. take gets each record, without its Feed; gap gets each
// record that could not be read with the reason, and "" for the page as a whole.
func Read(in io.Reader, take func(cve.Record), gap func(record, why string)) Page {
	p := &page{Stream: strictjson.NewStream(in), Page: Page{Start: -1, Results: -1, Total: -1}, take: take, gap: gap}
	err := p.Object(strictjson.MaxKeys, p.member)
	if err == nil {
		err = p.End()
	}
	switch {
	case err != nil:
		gap("", place(err, 0)+"; what follows is lost")
	case p.format != "NVD_CVE" || p.version != "2.0":
		gap("", fmt.Sprintf("format %+q, version %+q; only NVD_CVE 2.0 is known", p.format, p.version))
	case p.Results < 0 || p.Total < 0 || p.Start < 0:
		gap("", "the page does not say how many records there are, in it or in all")
	case p.Results != p.Met:
		gap("", fmt.Sprintf("the page says that it has %d records, %d were met", p.Results, p.Met))
	}
	return p.Page
}

func place(err error, start int64) string {
	if at := (*strictjson.Syntax)(nil); errors.As(err, &at) {
		return fmt.Sprintf("byte %d: %s", start+at.Offset, at.Reason)
	}
	return err.Error()
}

type page struct {
	*strictjson.Stream
	Page
	format, version string
	take            func(cve.Record)
	gap             func(record, why string)
}

func (p *page) member(key string) error {
	switch key {
	case "vulnerabilities":
		return p.Array(MaxRecords, p.record)
	case "startIndex":
		return p.value(func(d *strictjson.Doc) (err error) { p.Start, err = count(d); return err })
	case "resultsPerPage":
		return p.value(func(d *strictjson.Doc) (err error) { p.Results, err = count(d); return err })
	case "totalResults":
		return p.value(func(d *strictjson.Doc) (err error) { p.Total, err = count(d); return err })
	case "format":
		return p.value(func(d *strictjson.Doc) (err error) { p.format, err = d.Plain(maxWord); return err })
	case "version":
		return p.value(func(d *strictjson.Doc) (err error) { p.version, err = d.Plain(maxWord); return err })
	case "timestamp":
		return p.value(func(d *strictjson.Doc) (err error) { p.Made, err = cve.Time(d); return err })
	}
	return p.Skip(maxHeader)
}

// value reads one short value.
func (p *page) value(read func(d *strictjson.Doc) error) error {
	raw, err := p.Raw(maxHeader)
	if err != nil {
		return err
	}
	d := strictjson.Of(raw)
	return d.Whole(func() error { return read(&d) })
}

// count reads a number of records: digits alone.
func count(d *strictjson.Doc) (int, error) {
	n := 0
	for i := 0; ; i++ {
		c := d.Peek()
		if c < '0' || c > '9' {
			if i == 0 {
				return -1, d.Fail("a count was expected")
			}
			return n, nil
		}
		if i == 9 {
			return -1, d.Fail("a count of more than 9 digits")
		}
		if err := d.Word(string(c)); err != nil {
			return -1, err
		}
		n = n*10 + int(c-'0')
	}
}

// record reads one element of "vulnerabilities".
func (p *page) record() error {
	p.Peek()
	start := p.At()
	p.Met++
	raw, err := p.Raw(cve.MaxRecord)
	if errors.Is(err, strictjson.ErrTooLong) {
		p.gap("", fmt.Sprintf("record %d, at byte %d, has more than %d bytes", p.Met, start, cve.MaxRecord))
		return nil
	}
	if err != nil {
		return err
	}
	r, err := parse(raw)
	if err != nil {
		p.gap(r.CVE, fmt.Sprintf("record %d was skipped: %s", p.Met, place(err, start)))
		return nil
	}
	p.take(r)
	return nil
}

type parser struct {
	strictjson.Doc
	raw    []byte
	r      cve.Record
	writer string // sourceIdentifier: the CNA
}

// parse reads one record. With an error the Record holds its CVE as far as it
// was read.
func parse(raw []byte) (cve.Record, error) {
	p := parser{Doc: strictjson.Of(raw), raw: raw}
	p.r = cve.Record{Claims: []cve.Claim{}, Scores: []cve.Score{}, Raw: canon.SumFile(raw)}
	err := p.Whole(func() error {
		return p.Object(func(key string) error {
			if key == "cve" {
				return p.Object(p.member)
			}
			return p.Skip()
		})
	})
	if err == nil {
		err = p.finish()
	}
	return p.r, err
}

func (p *parser) member(key string) (err error) {
	switch r := &p.r; key {
	case "id":
		if r.CVE, err = p.Plain(maxWord); err == nil && !cve.ID(r.CVE) {
			err, r.CVE = p.Fail("%+q is no CVE id", r.CVE), ""
		}
	case "sourceIdentifier":
		p.writer, err = p.Plain(maxWord)
	case "vulnStatus":
		r.Status, err = p.Plain(maxWord)
	case "published":
		r.Published, err = cve.Time(&p.Doc)
	case "lastModified":
		r.Modified, err = cve.Time(&p.Doc)
	case "metrics":
		err = p.Object(p.metrics)
	default:
		err = p.Skip()
	}
	return err
}

func (p *parser) metrics(key string) error {
	switch {
	case strings.HasPrefix(key, "cvssMetricV"):
		return p.Array(maxMetrics, p.score)
	case strings.HasPrefix(key, "ssvcV"):
		return p.Array(maxMetrics, p.points)
	}
	return p.Skip()
}

// score reads one CVSS score. Its "type", Primary or Secondary, only says whose
// NIST shows first, and is not kept.
func (p *parser) score() error {
	var s cve.Score
	source := ""
	err := p.Object(func(key string) (err error) {
		switch key {
		case "source":
			source, err = p.Plain(maxWord)
		case "cvssData":
			s, err = cve.CVSS(&p.Doc, p.raw)
		default:
			err = p.Skip()
		}
		return err
	})
	if err == nil && (source == "" || s.Version == "") {
		err = p.Fail("a score without source or cvssData")
	}
	s.Source = source
	p.r.Scores = append(p.r.Scores, s)
	return err
}

func (p *parser) points() error {
	var claims []cve.Claim
	source := ""
	err := p.Object(func(key string) (err error) {
		switch key {
		case "source":
			source, err = p.Plain(maxWord)
		case "ssvcData":
			claims, err = cve.SSVC(&p.Doc)
		default:
			err = p.Skip()
		}
		return err
	})
	if err == nil && (source == "" || len(claims) == 0) {
		err = p.Fail("SSVC points without source or ssvcData")
	}
	for _, c := range claims {
		c.Source = source
		p.r.Claims = append(p.r.Claims, c)
	}
	return err
}

// finish checks the whole record and signs what is in it. When NIST took a score
// over is not stated: it is no later than the record's last change.
func (p *parser) finish() error {
	r := &p.r
	switch {
	case r.CVE == "":
		return p.Fail("it has no id")
	case r.Status == "":
		return p.Fail("it has no vulnStatus")
	}
	if r.Rejected = strings.EqualFold(r.Status, "Rejected"); r.Rejected {
		r.Withdrawn = r.Modified
	}
	for i := range r.Claims {
		c := &r.Claims[i]
		if c.CVE != "" && c.CVE != r.CVE {
			return p.Fail("its SSVC points are those of %+q", c.CVE)
		}
		c.CVE, c.Role, c.Via = r.CVE, p.role(c.Source), Via
		c.Source = cve.SourceOf(c.Source, "")
	}
	for i := range r.Scores {
		s := &r.Scores[i]
		s.CVE, s.At, s.Role, s.Via = r.CVE, r.Modified, p.role(s.Source), Via
		s.Source = cve.SourceOf(s.Source, "")
	}
	return nil
}

// role is what a speaker is to the record.
func (p *parser) role(source string) cve.Role {
	switch source {
	case nist:
		return cve.NVD
	case p.writer:
		return cve.CNA
	}
	return cve.ADP
}
