package cve

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
)

// Limits of one record. The largest of the 5,391 in CISA's repository of January
// 2025 that are in our data has 184 KB, 3 containers, 5 metrics.
const (
	MaxRecord     = 8 << 20 // bytes
	maxContainers = 64
	maxMetrics    = 256 // of one container
	maxOptions    = 32
	maxWord       = 512
)

// Is reports whether a top-level member is one that only these records have.
func Is(key, _ string) bool {
	return key == "dataType" || key == "dataVersion" || key == "cveMetadata" || key == "containers"
}

// Malformed says why a record was not taken.
type Malformed struct {
	CVE    string // as far as it had been read
	Offset int    // byte of the record at which reading stopped
	Reason string // printable
}

// Error names the place and the reason.
func (m *Malformed) Error() string {
	return fmt.Sprintf("byte %d: %s; the record is left out, so the feed is partial", m.Offset, m.Reason)
}

// Parse reads one record of the CVE record format 5.x
// (https://github.com/CVEProject/cve-schema). Unknown keys are ignored; a known
// key with a value of another type, an SSVC point or value that SSVC 2.0.3 does
// not have, and anything beyond the limits, is a *Malformed.
func Parse(raw []byte) (Record, error) {
	if len(raw) > MaxRecord {
		return Record{}, &Malformed{Reason: fmt.Sprintf("%d bytes, the limit is %d", len(raw), MaxRecord)}
	}
	p := parser{Doc: strictjson.Of(raw), raw: raw}
	p.r = Record{Claims: []Claim{}, Scores: []Score{}, Raw: canon.SumFile(raw)}
	err := p.Whole(func() error { return p.Object(p.member) })
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		m := &Malformed{CVE: p.r.CVE, Offset: p.At(), Reason: string(canon.NoteOf(err.Error()))}
		if s := (*strictjson.Syntax)(nil); errors.As(err, &s) {
			m.Offset = int(s.Offset)
		}
		return Record{}, m
	}
	return p.r, nil
}

// parser is a record while it is read.
type parser struct {
	strictjson.Doc
	raw     []byte
	r       Record
	kind    string
	version string
	updated int64 // the newest container
}

func (p *parser) member(key string) (err error) {
	switch key {
	case "dataType":
		p.kind, err = p.Plain(maxWord)
	case "dataVersion":
		p.version, err = p.Plain(maxWord)
	case "cveMetadata":
		err = p.Object(p.metadata)
	case "containers":
		err = p.Object(func(key string) error {
			switch key {
			case "cna":
				return p.container(CNA)
			case "adp":
				return p.Array(maxContainers, func() error { return p.container(ADP) })
			}
			return p.Skip()
		})
	default:
		err = p.Skip()
	}
	return err
}

func (p *parser) metadata(key string) (err error) {
	switch r := &p.r; key {
	case "cveId":
		if r.CVE, err = p.Plain(maxWord); err == nil && !ID(r.CVE) {
			err, r.CVE = p.Fail("%+q is no CVE id", r.CVE), ""
		}
	case "state":
		r.Status, err = p.Plain(maxWord)
	case "datePublished":
		r.Published, err = Time(&p.Doc)
	case "dateUpdated":
		r.Modified, err = Time(&p.Doc)
	case "dateRejected":
		r.Withdrawn, err = Time(&p.Doc)
	default:
		err = p.Skip()
	}
	return err
}

// finish checks what belongs to the whole record, and puts its id everywhere.
func (p *parser) finish() error {
	r := &p.r
	switch {
	case p.kind != "CVE_RECORD":
		return p.Fail("the data type %+q is not CVE_RECORD", p.kind)
	case !strings.HasPrefix(p.version, "5."):
		return p.Fail("data version %+q; only 5.x is known", p.version)
	case r.CVE == "":
		return p.Fail("it has no cveId")
	case r.Status != "PUBLISHED" && r.Status != "REJECTED":
		return p.Fail("the state %+q is not known", r.Status)
	}
	if r.Modified = max(r.Modified, p.updated); r.Status == "REJECTED" {
		if r.Rejected = true; r.Withdrawn == 0 {
			r.Withdrawn = r.Modified
		}
	} else {
		r.Withdrawn = 0
	}
	for i := range r.Claims {
		if c := &r.Claims[i]; c.CVE != "" && c.CVE != r.CVE {
			return p.Fail("its SSVC points are those of %+q", c.CVE)
		}
		r.Claims[i].CVE = r.CVE
	}
	for i := range r.Scores {
		r.Scores[i].CVE = r.CVE
	}
	return nil
}

// container reads what one speaker says, and signs it.
func (p *parser) container(role Role) error {
	claims, scores := len(p.r.Claims), len(p.r.Scores)
	var org, short string
	var at int64
	err := p.Object(func(key string) error {
		switch key {
		case "providerMetadata":
			return p.Object(func(key string) (err error) {
				switch key {
				case "orgId":
					org, err = p.Plain(maxWord)
				case "shortName":
					short, err = p.Str(maxWord)
				case "dateUpdated":
					at, err = Time(&p.Doc)
				default:
					err = p.Skip()
				}
				return err
			})
		case "metrics":
			return p.Array(maxMetrics, func() error { return p.Object(p.metric) })
		}
		return p.Skip()
	})
	if err != nil {
		return err
	}
	if org == "" && len(p.r.Claims)+len(p.r.Scores) > claims+scores {
		return p.Fail("a container with metrics and without the id of who speaks")
	}
	source := SourceOf(org, string(canon.NoteOf(short)))
	for i := claims; i < len(p.r.Claims); i++ {
		c := &p.r.Claims[i]
		if c.Source, c.Role = source, role; c.At == 0 {
			c.At = at
		}
	}
	for i := scores; i < len(p.r.Scores); i++ {
		s := &p.r.Scores[i]
		s.Source, s.Role, s.At = source, role, at
	}
	p.updated = max(p.updated, at)
	return nil
}

// metric reads a member of one element of "metrics".
func (p *parser) metric(key string) error {
	switch key {
	case "cvssV2_0", "cvssV3_0", "cvssV3_1", "cvssV4_0":
		s, err := CVSS(&p.Doc, p.raw)
		p.r.Scores = append(p.r.Scores, s)
		return err
	case "other":
		return p.other()
	}
	return p.Skip()
}

// other reads a metric of another kind; "type" may stand after "content".
func (p *parser) other() error {
	start, kind := p.Doc, ""
	err := p.Object(func(key string) (err error) {
		if key == "type" {
			kind, err = p.Plain(maxWord)
			return err
		}
		return p.Skip()
	})
	if err != nil || !strings.EqualFold(kind, "ssvc") {
		return err
	}
	p.Doc = start
	return p.Object(func(key string) error {
		if key != "content" {
			return p.Skip()
		}
		claims, err := SSVC(&p.Doc)
		p.r.Claims = append(p.r.Claims, claims...)
		return err
	})
}

// SSVC reads a set of points as CISA writes it: options, each an object with one
// point and its value, and a timestamp. The claims have no speaker yet.
func SSVC(d *strictjson.Doc) ([]Claim, error) {
	out, of, at := []Claim{}, "", int64(0)
	err := d.Object(func(key string) (err error) {
		switch key {
		case "id":
			of, err = d.Plain(maxWord)
		case "timestamp":
			at, err = Time(d)
		case "options":
			err = d.Array(maxOptions, func() error {
				return d.Object(func(key string) error {
					word, err := d.Plain(maxWord)
					if err != nil {
						return err
					}
					point, value, ok := Value(key, word)
					if !ok {
						return d.Fail("SSVC's %+q with the value %+q is not known", key, word)
					}
					out = append(out, Claim{Point: point, Value: value})
					return nil
				})
			})
		default:
			err = d.Skip()
		}
		return err
	})
	if err == nil && len(out) == 0 {
		err = d.Fail("SSVC without options")
	}
	for i := range out {
		out[i].CVE, out[i].At = of, at
	}
	return out, err
}

// prefixes of the vectors by version; CVSS 2.0 has none.
var prefixes = map[string]string{"2.0": "", "3.0": "CVSS:3.0/", "3.1": "CVSS:3.1/", "4.0": "CVSS:4.0/"}

// CVSS reads a CVSS object of https://www.first.org/cvss/data-representations,
// of any version. raw is the text that d reads. The score has no speaker yet.
func CVSS(d *strictjson.Doc, raw []byte) (Score, error) {
	s := Score{Tenths: -1}
	err := d.Object(func(key string) (err error) {
		switch key {
		case "version":
			s.Version, err = d.Plain(maxWord)
		case "vectorString":
			s.Vector, err = d.Plain(maxWord)
		case "baseScore":
			s.Tenths, err = tenths(d, raw)
		default:
			err = d.Skip()
		}
		return err
	})
	if err != nil {
		return s, err
	}
	prefix, known := prefixes[s.Version]
	switch {
	case !known:
		return s, d.Fail("CVSS version %+q is not known", s.Version)
	case s.Vector == "" || !strings.HasPrefix(s.Vector, prefix):
		return s, d.Fail("%+q is no vector of CVSS %s", s.Vector, s.Version)
	case s.Tenths < 0:
		return s, d.Fail("a CVSS object without a base score")
	}
	return s, nil
}

// tenths reads a number from 0 to 10 with at most one decimal.
func tenths(d *strictjson.Doc, raw []byte) (int, error) {
	d.Peek()
	start := d.At()
	if err := d.Skip(); err != nil {
		return -1, err
	}
	text := string(raw[start:d.At()])
	x, err := strconv.ParseFloat(text, 64)
	n := math.Round(x * 10)
	if err != nil || !(x >= 0 && x <= 10) || math.Abs(x*10-n) > 1e-6 {
		return -1, d.Fail("the base score %+.40q is no number from 0.0 to 10.0", text)
	}
	return int(n), nil
}

// Time reads a time of the CVE record format into Unix seconds: RFC 3339, where
// the zone may be missing and then is UTC.
func Time(d *strictjson.Doc) (int64, error) {
	s, err := d.Plain(maxWord)
	if err != nil {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05", s)
	}
	if err != nil || t.Unix() <= 0 {
		return 0, d.Fail("%+q is no time after 1970", s)
	}
	return t.Unix(), nil
}
