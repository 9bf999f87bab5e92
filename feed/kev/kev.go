// Package kev reads CISA's catalogue of Known Exploited Vulnerabilities.
//
// The parties: CISA, which says that a vulnerability is exploited; the way
// between; and room priority, which asks whether a CVE is listed. The objects
// are the Catalogue, one reading of one file, and its Entries.
//
// The promise: an entry is taken whole or not at all, and what was not taken is
// a gap. A catalogue with a gap is partial, and to be absent from a partial
// catalogue is unknown, never "not listed". The catalogue's own count is held
// against what stands in it.
//
// The file is not signed: its digest says which bytes were read, not that they
// are true. Nothing here reads an entry's prose.
package kev

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/document"
)

// What snapshots from here are called.
const (
	Name = "cisa-kev"
	Kind = "kev"
)

// Limits. The catalogue of August 2026 has 1,662 entries in 1.7 MB.
const (
	MaxBytes   = 64 << 20
	MaxEntries = 20_000
	maxEntry   = 64 << 10
	maxText    = 4 << 10 // of a vendor's or product's name
)

// Entry is one vulnerability that CISA knows to be exploited.
type Entry struct {
	CVE        string     `json:"cve"`
	Added      string     `json:"added"`      // day, "2006-01-02"
	Due        string     `json:"due"`        // day; for CISA's own agencies, counted from Added
	Ransomware string     `json:"ransomware"` // "known", "unknown", or "" where the catalogue has no word on it (before October 2023)
	Vendor     canon.Note `json:"vendor"`
	Product    canon.Note `json:"product"`
}

// Catalogue is one reading. Its Snapshot's Newest is the release's time, and
// Count is the number of different entries.
type Catalogue struct {
	Snapshot advisory.Snapshot `json:"snapshot"`
	Version  string            `json:"version"` // "2026.08.07"; "" when not stated
	Entries  []Entry           `json:"entries"` // ascending by CVE
}

// Listing is the answer whether a CVE is in the catalogue.
type Listing string

// The closed set of answers.
const (
	Listed   Listing = "yes"
	Unlisted Listing = "no"
	Unknown  Listing = "unknown" // absent, and the catalogue is partial
)

// Lookup finds a CVE. The Entry is zero unless it is Listed.
func (c Catalogue) Lookup(cve string) (Entry, Listing) {
	i, ok := slices.BinarySearchFunc(c.Entries, cve, func(e Entry, cve string) int { return strings.Compare(e.CVE, cve) })
	switch {
	case ok:
		return c.Entries[i], Listed
	case len(c.Snapshot.Partial) > 0 || len(c.Entries) == 0:
		return Entry{}, Unknown
	}
	return Entry{}, Unlisted
}

// Options say how a catalogue is read.
type Options struct {
	Source string    // file or URL without credentials
	Now    time.Time // the time to write into the snapshot; required
}

// Read reads a catalogue, plain or gzip, as
// https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities_schema.json
// describes it. The Snapshot's Digest is the SHA-256 of the bytes as they came.
// The error is document.ErrUnusable: nothing in it is a catalogue.
func Read(in io.Reader, o Options) (Catalogue, error) {
	f, err := document.Open(in, MaxBytes)
	if err != nil {
		return Catalogue{}, err
	}
	r := &reading{dec: json.NewDecoder(f), count: -1, seen: map[string]int{}}
	err = r.catalogue()
	digest, rest := f.Close()
	if !r.found {
		return Catalogue{}, fmt.Errorf("%w: it is no KEV catalogue (%w, at byte %d)", document.ErrUnusable, cmp.Or(err, errNoList), r.dec.InputOffset())
	}
	if err = cmp.Or(err, rest); err != nil {
		r.gaps.Add("", "reading stopped at byte %d: %v", r.dec.InputOffset(), err)
	}
	r.judge()
	slices.SortFunc(r.entries, func(a, b Entry) int { return strings.Compare(a.CVE, b.CVE) })
	return Catalogue{Version: r.version, Entries: r.entries, Snapshot: advisory.Snapshot{
		Name: Name, Kind: Kind, Source: string(canon.NoteOf(o.Source)), Fetched: o.Now.Unix(), Digest: digest,
		Count: len(r.entries), Newest: r.released, Scope: []advisory.Subject{}, Partial: r.gaps.List(),
	}}, nil
}

var (
	errNoList = errors.New("there is no list of vulnerabilities")
	errShape  = errors.New("an object was expected")
	errTwice  = errors.New("a key stands twice")
)

// reading is one pass over a catalogue.
type reading struct {
	dec      *json.Decoder
	gaps     document.Gaps
	entries  []Entry
	seen     map[string]int // where a CVE stands in entries
	found    bool           // the list of vulnerabilities was met
	elements int            // of that list, good or bad
	count    int            // what the catalogue says; -1: nothing
	version  string
	released int64
}

// catalogue reads the top object and nothing after it.
func (r *reading) catalogue() error {
	if err := members(r.dec, r.member); err != nil {
		return err
	}
	if _, err := r.dec.Token(); err != io.EOF {
		return errors.New("something follows the end of the catalogue")
	}
	return nil
}

// members reads an object; member consumes the value of each key.
func members(dec *json.Decoder, member func(key string) error) error {
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return errShape
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok || seen[key] {
			return fmt.Errorf("%w: %+.40q", errTwice, key)
		}
		seen[key] = true
		if err := member(key); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

func (r *reading) member(key string) error {
	var raw json.RawMessage
	if key == "vulnerabilities" {
		r.found = true
		return r.list()
	}
	if err := r.dec.Decode(&raw); err != nil {
		return err
	}
	switch key {
	case "count":
		if err := json.Unmarshal(raw, &r.count); err != nil || r.count < 0 {
			r.count = -1
		}
	case "catalogVersion":
		var v string
		if json.Unmarshal(raw, &v) == nil && len(v) <= 64 {
			r.version = string(canon.NoteOf(v))
		}
	case "dateReleased":
		var v string
		if json.Unmarshal(raw, &v) == nil {
			if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
				r.released = at.Unix()
			}
		}
	}
	return nil
}

// list reads the vulnerabilities one by one.
func (r *reading) list() error {
	if t, err := r.dec.Token(); err != nil {
		return err
	} else if t != json.Delim('[') {
		return errors.New("the vulnerabilities are no list")
	}
	for r.dec.More() {
		if r.elements++; r.elements > MaxEntries {
			return fmt.Errorf("more than %d entries", MaxEntries)
		}
		at := r.dec.InputOffset()
		var raw json.RawMessage
		if err := r.dec.Decode(&raw); err != nil {
			return err
		}
		e, err := parse(raw)
		if err != nil {
			r.gaps.Add(e.CVE, "entry %d, after byte %d, was skipped: %v", r.elements, at, err)
			continue
		}
		r.take(e)
	}
	_, err := r.dec.Token()
	return err
}

// take keeps an entry. The same entry again counts once; where two entries with
// one id differ, the one that is due earlier stays.
func (r *reading) take(e Entry) {
	i, again := r.seen[e.CVE]
	if !again {
		r.seen[e.CVE] = len(r.entries)
		r.entries = append(r.entries, e)
		return
	}
	if r.entries[i] == e {
		return
	}
	r.gaps.Add(e.CVE, "two different entries have this id; the one that is due earlier counts")
	if e.Due < r.entries[i].Due {
		r.entries[i] = e
	}
}

// judge holds what the catalogue says of itself against what was read.
func (r *reading) judge() {
	switch {
	case r.count < 0:
		r.gaps.Add("", "the catalogue does not say how many entries it has")
	case r.count != r.elements:
		r.gaps.Add("", "the catalogue says that it has %d entries, %d were met", r.count, r.elements)
	}
	if r.elements == 0 {
		r.gaps.Add("", "the catalogue is empty")
	}
	if r.version == "" {
		r.gaps.Add("", "the catalogue does not say its version")
	}
	if r.released == 0 {
		r.gaps.Add("", "the catalogue does not say when it was released, so its age is unknown")
	}
}

var cveID = regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,19}$`) // as CISA's schema has it

// parse reads one entry. With an error the Entry holds its CVE if that was readable.
func parse(raw json.RawMessage) (Entry, error) {
	if len(raw) > maxEntry {
		return Entry{}, fmt.Errorf("it has %d bytes, the limit is %d", len(raw), maxEntry)
	}
	var e Entry
	var vendor, product, ransomware string
	met := map[string]bool{}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	err := members(dec, func(key string) error {
		into, ok := map[string]*string{"cveID": &e.CVE, "dateAdded": &e.Added, "dueDate": &e.Due, "vendorProject": &vendor,
			"product": &product, "knownRansomwareCampaignUse": &ransomware}[key]
		if !ok {
			var skip json.RawMessage
			return dec.Decode(&skip)
		}
		met[key] = true
		var text *string
		if err := dec.Decode(&text); err != nil || text == nil {
			return fmt.Errorf("%s is no string", key)
		}
		*into = *text
		return nil
	})
	if !cveID.MatchString(e.CVE) {
		e.CVE = ""
		return e, cmp.Or(err, errors.New("its cveID is no CVE id"))
	}
	if err != nil {
		return e, err
	}
	for _, key := range []string{"vendorProject", "product"} {
		if !met[key] {
			return e, fmt.Errorf("%s is missing", key)
		}
	}
	if len(vendor) > maxText || len(product) > maxText {
		return e, fmt.Errorf("a name of more than %d bytes", maxText)
	}
	if !day(e.Added) || !day(e.Due) {
		return e, errors.New("dateAdded or dueDate is no day like 2026-08-07")
	}
	e.Vendor, e.Product = canon.NoteOf(vendor), canon.NoteOf(product)
	switch ransomware {
	case "Known", "Unknown", "":
		e.Ransomware = strings.ToLower(ransomware)
	default:
		return e, errors.New("knownRansomwareCampaignUse is neither Known nor Unknown")
	}
	return e, nil
}

func day(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}
