package advisory

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

// Limits of one OSV record. The largest values seen in complete feeds: 200 KB
// a record, 516 affected packages, 140 names, 12 events in a range; records of
// the kernel carry some thousand versions.
const (
	MaxRecord     = 8 << 20 // bytes
	maxAffected   = 20_000
	maxRanges     = 1_000 // of one package
	maxEvents     = 10_000
	maxVersions   = 100_000 // of one package
	maxNames      = 5_000   // aliases, upstream or related
	maxSeverities = 64
	MaxWord       = 512     // bytes of an id, a version, a package name
	MaxText       = 1 << 20 // bytes of a summary
	maxSummary    = 500     // characters of a summary that are kept
)

// Malformed says why a record was not taken.
type Malformed struct {
	ID     string // as far as it had been read, printable
	Offset int    // byte of the record at which reading stopped
	Reason string // printable
}

// Error names the record, the place and the reason.
func (m *Malformed) Error() string {
	id := m.ID
	if id == "" {
		id = "without id"
	}
	return fmt.Sprintf("record %s, byte %d: %s; the record is left out, so the feed is partial", id, m.Offset, m.Reason)
}

// ParseOSV reads one record of the OSV schema 1.x. Unknown keys are ignored;
// a known key with a value of another type, or anything beyond the limits, is
// a *Malformed and the record is not taken. from goes into the result as it is.
func ParseOSV(raw []byte, from Feed) (Advisory, error) {
	var r OSV
	a, err := r.View(raw, from)
	if err != nil {
		return Advisory{}, err
	}
	return r.Keep(a), nil
}

// OSV reads records one after the other, and keeps for all what they share: the
// room in which a record is read, and one copy of each word. The zero value is
// ready.
type OSV struct {
	p     osv
	words words
}

// View is ParseOSV, with a result that is good until the next call: it costs
// little to look at many records and keep few. All of it is checked.
func (o *OSV) View(raw []byte, from Feed) (Advisory, error) {
	if len(raw) > MaxRecord {
		return Advisory{}, &Malformed{Reason: fmt.Sprintf("%d bytes, the limit is %d", len(raw), MaxRecord)}
	}
	p := &o.p
	p.Doc = strictjson.PartsOf(string(raw))
	p.a = Advisory{Basis: BasisRecord, Raw: canon.SumFile(raw), Feed: from, Affected: p.parts[:0], Severities: []Severity{}}
	p.stretches, p.listed, p.marks, p.named = p.stretches[:0], p.listed[:0], p.marks[:0], p.named[:0]
	err := p.Whole(func() error { return p.Object(p.member) })
	p.parts = p.a.Affected
	if err == nil && p.a.ID == "" {
		err = p.Fail("it has no id")
	}
	if err != nil {
		m := &Malformed{ID: strings.Clone(p.a.ID), Offset: p.At(), Reason: err.Error()}
		if s := (*strictjson.Syntax)(nil); errors.As(err, &s) {
			m.Offset = int(s.Offset)
		}
		return Advisory{}, m
	}
	p.finish()
	return p.a, nil
}

// Keep gives what View gave memory of its own. Its Affected may have been cut.
func (o *OSV) Keep(a Advisory) Advisory {
	if o.words == nil {
		o.words = words{}
	}
	w := o.words
	a.ID, a.Source = strings.Clone(a.ID), w.one(a.Source)
	a.Aliases, a.Upstream, a.Related = w.clones(a.Aliases), w.clones(a.Upstream), w.clones(a.Related)
	a.Summary = canon.Note(strings.Clone(string(a.Summary)))
	a.Severities = w.severities(a.Severities)
	parts := a.Affected
	a.Affected = make([]Affected, 0, len(parts))
	for _, f := range parts {
		f.Ecosystem, f.Package = w.one(f.Ecosystem), w.one(f.Package)
		f.Module, f.Word, f.Note = w.one(f.Module), w.one(f.Word), canon.Note(w.one(string(f.Note)))
		f.Versions, f.Severities = w.all(f.Versions), w.severities(f.Severities)
		f.Ranges = append([]Range{}, f.Ranges...)
		for i := range f.Ranges {
			r := &f.Ranges[i]
			r.Type, r.Introduced, r.Fixed, r.LastAffected = w.one(r.Type), w.one(r.Introduced), w.one(r.Fixed), w.one(r.LastAffected)
		}
		a.Affected = append(a.Affected, f)
	}
	return a
}

// words keeps one copy of each word that stands in many records.
type words map[string]string

const maxWords = 1 << 16

func (w words) one(s string) string {
	if old, ok := w[s]; ok || s == "" {
		return old
	}
	s = strings.Clone(s)
	if len(w) < maxWords {
		w[s] = s
	}
	return s
}

func (w words) all(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = w.one(s)
	}
	return out
}

// clones is all for names, which stand in one record each.
func (w words) clones(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.Clone(s)
	}
	return out
}

func (w words) severities(list []Severity) []Severity {
	out := make([]Severity, len(list))
	for i, s := range list {
		out[i] = Severity{Source: w.one(s.Source), Type: w.one(s.Type), Score: w.one(s.Score)}
	}
	return out
}

// osv is a record while it is read. Its strings are parts of the text, its
// slices parts of the ones below, which the next record takes over. Who appends
// to one of them later does so into memory of its own.
type osv struct {
	strictjson.Doc
	a Advisory

	parts     []Affected
	stretches []Range
	listed    []string // versions
	marks     []Severity
	named     []string // aliases, upstream, related
	ranges    []events // of one part
	events    []event  // of one part's ranges
	source    string   // of the record before
}

func (p *osv) member(key string) (err error) {
	switch a := &p.a; key {
	case "id":
		a.ID, err = p.plain()
	case "schema_version":
		var v string
		if v, err = p.plain(); err == nil && !strings.HasPrefix(v, "1.") {
			err = p.Fail("schema version %s; only 1.x is known", v)
		}
	case "published":
		a.Published, err = p.time()
	case "modified":
		a.Modified, err = p.time()
	case "withdrawn":
		a.Withdrawn, err = p.time()
	case "aliases":
		a.Aliases, err = p.names()
	case "upstream":
		a.Upstream, err = p.names()
	case "related":
		a.Related, err = p.names()
	case "summary":
		a.Summary, err = p.summary()
	case "severity":
		a.Severities, err = p.severities()
	case "affected":
		err = p.Array(maxAffected, p.affected)
	default:
		err = p.Skip()
	}
	return err
}

// finish puts what belongs to the whole record into its parts.
func (p *osv) finish() {
	prefix, _, _ := strings.Cut(p.a.ID, "-")
	if p.source == "" || p.source[len("osv/"):] != prefix {
		p.source = "osv/" + prefix
	}
	p.a.Source = p.source
	if c := CVEOf(p.a.ID); c != "" && c != p.a.ID && !slices.Contains(p.a.Aliases, c) {
		p.a.Upstream = append(p.a.Upstream, c) // Ubuntu's records said so by their id alone until 2025
	}
	for _, list := range []*[]string{&p.a.Aliases, &p.a.Upstream, &p.a.Related} {
		slices.Sort(*list)
		if *list = slices.Compact(*list); *list == nil {
			*list = []string{}
		}
	}
	sign := func(s []Severity) {
		for i := range s {
			s[i].Source = p.a.Source
		}
	}
	sign(p.a.Severities)
	for i := range p.a.Affected {
		f := &p.a.Affected[i]
		if sign(f.Severities); f.Ecosystem == "PyPI" {
			f.Package = PyPIName(f.Package)
		}
	}
	p.streams()
}

// PyPIName is the name under which PyPI's records are looked up (PEP 503): lower
// case, each run of "-", "_" and "." one dash. The OSV schema wants it so, and
// GitHub's records write names as they are spelled on pypi.org.
func PyPIName(name string) string {
	var b strings.Builder
	dash := false
	for _, c := range strings.ToLower(name) {
		run := c == '-' || c == '_' || c == '.'
		if !run {
			b.WriteRune(c)
		} else if !dash {
			b.WriteByte('-')
		}
		dash = run
	}
	return b.String()
}

// isStream tells a stream in the title of an erratum: "Important: nodejs:18
// security update", "virt:rhel and virt-devel:rhel bug fix update".
func isStream(word string) bool {
	module, stream, ok := strings.Cut(word, ":")
	return ok && moduleName(module) && moduleName(stream) && letter(module[0]) && alnum(stream[len(stream)-1])
}

// moduleName reports whether s has only characters of names and streams of
// modules, and any.
func moduleName(s string) bool {
	for i := range len(s) {
		if !alnum(s[i]) && !strings.ContainsRune("_+.-", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func alnum(c byte) bool  { return letter(c) || '0' <= c && c <= '9' }

// maxStreams bounds the streams of one title; two are in use.
const maxStreams = 8

// streams notes which module stream a record speaks of. OSV has no field for it,
// and errata of the RHEL family name it in their title alone. It only narrows: a
// statement about builds of a module counts for the streams that the title names,
// once for each; where it names none, or more than titles do, the stream stays
// unknown.
func (p *osv) streams() {
	var list []string
	for _, w := range strings.Fields(p.a.Summary.Text()) {
		if isStream(w) && !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	if len(list) == 0 || len(list) > maxStreams || !slices.ContainsFunc(p.a.Affected, ofModule) {
		return
	}
	out := make([]Affected, 0, len(p.a.Affected)*len(list))
	for _, f := range p.a.Affected {
		if !ofModule(f) {
			out = append(out, f)
			continue
		}
		for _, f.Module = range list {
			out = append(out, f)
		}
	}
	p.a.Affected = out
}

// ofModule reports whether an rpm's fixed versions are builds for a module.
func ofModule(f Affected) bool {
	scheme, _ := SchemeOf(f.Ecosystem)
	return scheme == version.RPM && slices.ContainsFunc(f.Ranges, func(r Range) bool { return ModuleBuild(r.Fixed) })
}

// plain reads an id, a version, a name or a word.
func (p *osv) plain() (string, error) { return p.Plain(MaxWord) }

func (p *osv) time() (int64, error) { return p.Time(MaxWord) }

func (p *osv) names() ([]string, error) {
	from := len(p.named)
	err := p.Array(maxNames, func() error {
		s, err := p.plain()
		p.named = append(p.named, s)
		return err
	})
	return slices.Clip(p.named[from:]), err
}

func (p *osv) summary() (canon.Note, error) {
	s, err := p.Str(MaxText)
	if err != nil {
		return "", err
	}
	return SummaryOf(s), nil
}

// SummaryOf keeps a text's first line, for people.
func SummaryOf(text string) canon.Note {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if r := []rune(text); len(r) > maxSummary {
		text = string(r[:maxSummary]) + "…"
	}
	return canon.NoteOf(text)
}

func (p *osv) severities() ([]Severity, error) {
	from := len(p.marks)
	err := p.Array(maxSeverities, func() error {
		var s Severity
		err := p.Object(func(key string) (err error) {
			switch key {
			case "type":
				s.Type, err = p.plain()
			case "score":
				s.Score, err = p.plain()
			default:
				err = p.Skip()
			}
			return err
		})
		if err == nil && (s.Type == "" || s.Score == "") {
			err = p.Fail("a severity without type or score")
		}
		p.marks = append(p.marks, s)
		return err
	})
	return slices.Clip(slices.Compact(p.marks[from:])), err
}

// affected reads one element of "affected". One without package speaks about
// source code only and is not kept.
func (p *osv) affected() error {
	p.a.Affected = append(p.a.Affected, Affected{Ranges: []Range{}, Versions: []string{}, Severities: []Severity{}})
	f := &p.a.Affected[len(p.a.Affected)-1]
	p.ranges, p.events = p.ranges[:0], p.events[:0]
	err := p.Object(func(key string) (err error) {
		switch key {
		case "package":
			err = p.pkg(f)
		case "ranges":
			err = p.readRanges()
		case "versions":
			f.Versions, err = p.versions()
		case "severity":
			var own []Severity
			own, err = p.severities()
			f.Severities = append(f.Severities, own...)
		case "ecosystem_specific":
			err = p.specific(f)
		default:
			err = p.Skip()
		}
		return err
	})
	if err != nil || f.Package == "" {
		p.a.Affected = p.a.Affected[:len(p.a.Affected)-1]
		return err
	}
	from := len(p.stretches)
	for _, e := range p.ranges {
		var why string
		if p.stretches, why = e.ranges(f.Ecosystem, p.stretches); why != "" {
			return p.Fail("package %+q: %s", f.Package, why)
		}
	}
	f.Ranges = slices.Clip(p.stretches[from:])
	f.pro()
	return nil
}

func (p *osv) pkg(f *Affected) error {
	err := p.Object(func(key string) (err error) {
		switch key {
		case "ecosystem":
			f.Ecosystem, err = p.plain()
		case "name":
			f.Package, err = p.plain()
		default:
			err = p.Skip()
		}
		return err
	})
	if err == nil && (f.Ecosystem == "" || f.Package == "") {
		err = p.Fail("a package without ecosystem or name")
	}
	return err
}

func (p *osv) versions() ([]string, error) {
	from := len(p.listed)
	err := p.Array(maxVersions, func() error {
		s, err := p.plain()
		p.listed = append(p.listed, s)
		return err
	})
	return slices.Clip(p.listed[from:]), err
}

// specific reads what is wanted of "ecosystem_specific": the urgency that the
// Debian security tracker gives ("not yet assigned" is none), the priority that
// Ubuntu gave there until 2025, and where Ubuntu's fix is to be had.
func (p *osv) specific(f *Affected) error {
	if p.Peek() != '{' {
		return p.Skip()
	}
	return p.Object(func(key string) (err error) {
		kind := ""
		switch key {
		case "urgency":
			kind = "urgency"
		case "ubuntu_priority":
			kind = "Ubuntu"
		case "availability":
		default:
			return p.Skip()
		}
		if p.Peek() != '"' {
			return p.Skip()
		}
		if kind == "" {
			f.Note, err = p.summary()
			return err
		}
		word, err := p.plain()
		if word != "not yet assigned" {
			f.Severities = append(f.Severities, Severity{Type: kind, Score: word})
		}
		return err
	})
}

// pro puts what Ubuntu says of a release's extended support under the release
// itself. Ubuntu names each package of a release once: in its own name or, where
// the next fix needs a subscription, as "Ubuntu:Pro:22.04:LTS". A host of the
// release has the package either way, so silence about the release would be a
// false "clean". Other streams ("Ubuntu:Pro:FIPS:…") keep their names.
func (f *Affected) pro() {
	release, ok := strings.CutPrefix(f.Ecosystem, "Ubuntu:Pro:")
	month := strings.TrimSuffix(release, ":LTS") // 22.04
	if !ok || len(month) != 5 || month[2] != '.' || !allDigits(month[:2]) || !allDigits(month[3:]) {
		return
	}
	if f.Ecosystem = "Ubuntu:" + release; f.Note == "" {
		f.Note = "with Ubuntu Pro"
	}
}

// events is one element of "ranges" as the record has it.
type events struct {
	kind string
	list []event
}

type event struct {
	what    string // "introduced", "fixed", "last_affected"
	version string
}

// readRanges reads the ranges of one part into p.ranges.
func (p *osv) readRanges() error {
	return p.Array(maxRanges, func() error {
		var e events
		from := len(p.events)
		err := p.Object(func(key string) (err error) {
			switch key {
			case "type":
				e.kind, err = p.plain()
			case "events":
				err = p.Array(maxEvents, p.event)
			default:
				err = p.Skip()
			}
			return err
		})
		if err == nil && e.kind != "ECOSYSTEM" && e.kind != "SEMVER" && e.kind != "GIT" {
			err = p.Fail("the range type %+q is not known", e.kind)
		}
		e.list = slices.Clip(p.events[from:])
		p.ranges = append(p.ranges, e)
		return err
	})
}

// event reads one event. "limit" only narrows searches in source code and is
// not kept.
func (p *osv) event() error {
	n := 0
	err := p.Object(func(key string) error {
		switch key {
		case "introduced", "fixed", "last_affected", "limit":
			v, err := p.plain()
			if n++; key != "limit" {
				p.events = append(p.events, event{key, v})
			}
			return err
		}
		return p.Skip()
	})
	if err == nil && n != 1 {
		err = p.Fail("an event must be one of introduced, fixed, last_affected, limit")
	}
	return err
}

// ranges appends events to out as stretches, by OSV's own evaluation: events in the
// order of versions switch "affected" on and off. Where the order is not known
// here the record's own order is taken. Ranges of commits give none.
func (e events) ranges(ecosystem string, out []Range) ([]Range, string) {
	if e.kind == "GIT" {
		return out, ""
	}
	if !slices.ContainsFunc(e.list, func(v event) bool { return v.what == "introduced" }) {
		return out, "a range without an introduced event"
	}
	scheme, known := SchemeOf(ecosystem)
	simple := len(e.list) == 1 || len(e.list) == 2 && e.list[0].what == "introduced" && e.list[1].what != "introduced"
	list := e.list
	if known && !(simple && e.list[0] == event{"introduced", Beginning}) { // which stands before all
		sorted, why := sortEvents(scheme, e.list)
		if why == "" {
			list = sorted
		} else if !simple {
			return out, why // a single stretch stays: match will say that it cannot be judged
		}
	}
	from := ""
	for _, v := range list {
		switch {
		case v.what == "introduced" && from == "":
			from = v.version
		case v.what == "fixed" && from != "":
			out, from = append(out, Range{Type: e.kind, Introduced: from, Fixed: v.version}), ""
		case v.what == "last_affected" && from != "":
			out, from = append(out, Range{Type: e.kind, Introduced: from, LastAffected: v.version}), ""
		}
	}
	if from != "" {
		out = append(out, Range{Type: e.kind, Introduced: from})
	}
	return out, ""
}

// sortEvents orders events by version; of two at one version the record's own
// order stays.
func sortEvents(s version.Scheme, list []event) (sorted []event, why string) {
	sorted = slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b event) int {
		first := func(e event) bool { return e.what == "introduced" && e.version == Beginning }
		switch {
		case first(a) && first(b):
			return 0
		case first(a):
			return -1
		case first(b):
			return 1
		}
		c, err := version.Compare(s, a.version, b.version)
		if err != nil {
			why = fmt.Sprintf("several events and no order: %+q", err.Error())
		}
		return c
	})
	return sorted, why
}
