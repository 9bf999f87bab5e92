package feed

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/document"
	"github.com/patchwrit/patchwrit/feed/nvd"
)

// facts is what a reading of facts about vulnerabilities collects.
type facts struct {
	wanted func(cve string) bool
	kind   string
	name   string
	list   []cve.Record
	at     map[string]int // where a CVE stands in list
	met    int            // records and files that were met, wanted or not
	total  int            // what NVD's pages say there is in all; -1: nothing
	newest int64
}

// Facts reads facts about vulnerabilities as such: CVE records in JSON 5, one a
// file, as CVEProject/cvelistV5 and cisagov/vulnrichment have them, or pages of
// NVD's API 2.0, plain or gzip. source is as for Read. Of the ids only those for
// which wanted is true are kept, and a file that is named after another id is not
// opened; wanted nil keeps all. Of two records with one id the newer counts.
//
// The snapshot's Newest is the latest time in any record that was read, or the
// date of a file that was passed over. The error is ErrUnusable or the context's.
func Facts(ctx context.Context, source string, o Options, wanted func(cve string) bool) (cve.Book, error) {
	r := &reading{limits: o.Limits.withDefaults(), now: o.Now.Unix()}
	r.facts = &facts{wanted: wanted, at: map[string]int{}, total: -1}
	r.left = r.limits.Unpacked
	r.snap = advisory.Snapshot{Source: printable(source), Fetched: o.Now.Unix(), Scope: []advisory.Subject{}, Partial: []advisory.Gap{}}
	if err := r.read(ctx, source, o); err != nil {
		return cve.Book{}, err
	}
	f := r.facts
	if f.met == 0 && len(r.snap.Partial) == 0 {
		r.gap("", "there is no record in it; it is read for CVE records (CVE-….json) and for pages of NVD's API")
	}
	if f.kind == nvd.Kind && f.total > f.met {
		r.gap("", "NVD says that there are %d records in all, %d were met: a page is missing", f.total, f.met)
	}
	if r.snap.Name = o.Name; r.snap.Name == "" {
		r.snap.Name = f.name
	}
	if r.snap.Name == "" {
		r.snap.Name = cve.Name
	}
	r.snap.Kind, r.snap.Count, r.snap.Newest = f.kind, len(f.list), f.newest
	slices.SortFunc(f.list, func(a, b cve.Record) int { return strings.Compare(a.CVE, b.CVE) })
	for i := range f.list {
		f.list[i].Feed = r.snap.Origin()
	}
	return cve.Book{Snapshot: r.snap, Records: f.list}, nil
}

// notRecords are files beside the records of cvelistV5 and of its mirrors.
var notRecords = []string{"delta.json", "deltaLog.json", "recent_activities.json"}

func (f *facts) wants(name string) bool {
	name = strings.TrimSuffix(name, ".gz")
	return strings.HasSuffix(name, ".json") && !slices.Contains(notRecords, path.Base(name))
}

func (f *facts) passed(name string, date func() int64) bool {
	id := idOf(name)
	if f.wanted == nil || id == "" || f.wanted(id) {
		return false
	}
	f.met++
	f.newest = max(f.newest, date())
	return true
}

// idOf gives the CVE that a file is named after, or "".
func idOf(name string) string {
	id := strings.TrimSuffix(path.Base(strings.TrimSuffix(name, ".gz")), ".json")
	if !cve.ID(id) {
		return ""
	}
	return id
}

// factsIn reads one file, of either format.
func (r *reading) factsIn(ctx context.Context, name string, in io.Reader) {
	r.files++
	packed := &bounded{contextReader{ctx, in}, r.left}
	plain, err := document.Open(packed, r.left)
	if err != nil {
		r.gap(name, "%v", err)
		r.left = packed.left
		return
	}
	counted := &bounded{plain, r.left}
	head := bufio.NewReaderSize(counted, sniffed)
	format, kind := cve.Name, cve.Kind
	if isNVD(head) {
		format, kind = nvd.Name, nvd.Kind
	}
	f := r.facts
	switch {
	case f.kind == "":
		f.name, f.kind = format, kind
	case f.kind != kind:
		r.gap(name, "it is %s in a feed that began as %s; give each format as a feed of its own", kind, f.kind)
		return
	}
	if kind == nvd.Kind {
		r.page(name, head)
	} else {
		r.record(name, head)
	}
	r.left = counted.left
}

// isNVD reports whether a file begins as a page of NVD's API.
func isNVD(in *bufio.Reader) bool {
	head, _ := in.Peek(sniffed)
	for key, value := range members(head) {
		if nvd.Is(key, value) {
			return true
		}
		if cve.Is(key, value) {
			return false
		}
	}
	return false
}

// record reads a file that is one CVE record.
func (r *reading) record(name string, in io.Reader) {
	r.facts.met++
	raw, err := io.ReadAll(io.LimitReader(in, cve.MaxRecord+1))
	if err != nil {
		r.gap(name, "it cannot be unpacked: %v", err)
		return
	}
	c, err := cve.Parse(raw)
	if err != nil {
		r.gap(cmp.Or(idOf(name), name), "%s: %v", name, err)
		return
	}
	if id := idOf(name); id != "" && id != c.CVE {
		r.gap(name, "it holds the record of %s and is left out", c.CVE)
		return
	}
	r.keep(name, c)
}

// page reads a page of NVD's API.
func (r *reading) page(name string, in io.Reader) {
	p := nvd.Read(in, func(c cve.Record) { r.keep(name, c) }, func(record, why string) {
		if record == "" {
			record = name
		}
		r.gap(record, "%s", why)
	})
	f := r.facts
	f.met, f.total, f.newest = f.met+p.Met, max(f.total, p.Total), max(f.newest, p.Made)
}

// keep takes a record that is asked for.
func (r *reading) keep(name string, c cve.Record) {
	f := r.facts
	if f.newest = max(f.newest, c.Modified); f.wanted != nil && !f.wanted(c.CVE) {
		return
	}
	i, again := f.at[c.CVE]
	switch {
	case again && f.list[i].Raw == c.Raw:
	case again && f.list[i].Modified == c.Modified:
		r.gap(c.CVE, "two different records with this id and one time; which of them holds is open, and neither is taken")
		f.list[i] = cve.Record{CVE: c.CVE, Status: f.list[i].Status, Modified: c.Modified, Claims: []cve.Claim{}, Scores: []cve.Score{}, Raw: canon.SumFile(nil)}
	case again:
		if c.Modified > f.list[i].Modified {
			f.list[i] = c
		}
	case len(f.list) >= r.limits.Records:
		r.gap(name, "%s: more than %d records", c.CVE, r.limits.Records)
	default:
		f.at[c.CVE] = len(f.list)
		f.list = append(f.list, c)
	}
}
