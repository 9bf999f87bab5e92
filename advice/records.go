package advice

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/version"
)

// Purl names a package of a release as claims do: a purl without version, with
// the release in its qualifiers (ECMA-427; a package of a source is arch=source
// where it is Debian's kind). False where Patchwrit cannot order its versions.
func Purl(ecosystem, name, module string) (purl string, order version.Scheme, ok bool) {
	order, ok = advisory.SchemeOf(ecosystem)
	if !ok {
		return "", "", false
	}
	base, _, _ := strings.Cut(ecosystem, ":")
	space := map[string]string{"Rocky Linux": "rocky", "Red Hat": "redhat"}[base]
	if space == "" {
		space = escaped(strings.ToLower(strings.ReplaceAll(base, " ", "-")))
	}
	distro := escaped(strings.ToLower(strings.NewReplacer(":", "-", " ", "_").Replace(ecosystem)))
	purl = "pkg:" + string(order) + "/" + space + "/" + escaped(name) + "?"
	if order == version.Deb {
		purl += "arch=source&"
	}
	purl += "distro=" + distro
	if module != "" {
		purl += "&module=" + escaped(module)
	}
	return purl, order, true
}

// escaped percent-encodes what a part of a purl cannot hold as it is.
func escaped(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-_~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// record adds what an advisory says about the plan's packages. Of its text only
// the summary is taken, later and as untrusted.
func (d *Dossier) record(a advisory.Advisory, subjects map[string]bool) {
	abouts := []string{a.ID}
	if cve := a.CVE(); cve != "" && cve != a.ID {
		abouts = append(abouts, cve)
	}
	if a.Withdrawn != 0 || !token(a.ID) || !token(a.Source) {
		return
	}
	strongest := a.Over("")
	for _, f := range a.Affected {
		if at := a.Over(f.Ecosystem); subjects[f.Package] && at.Rank() > strongest.Rank() {
			strongest = at
		}
	}
	by := map[advisory.Authority][]Fact{}
	for _, cve := range CVEs([]advisory.Advisory{a}) {
		by[strongest] = append(by[strongest], Fact{Kind: CVEExists, About: cve, Source: a.Source, Value: "yes"})
	}
	for _, about := range abouts {
		for _, s := range a.Severities {
			by[strongest] = append(by[strongest], Fact{Kind: Severity, About: about, Source: s.Source, Version: s.Type, Value: s.Score})
		}
		for _, f := range a.Affected {
			if subjects[f.Package] {
				at := a.Over(f.Ecosystem)
				by[at] = append(by[at], affected(a.Source, about, f)...)
			}
		}
	}
	// A distribution's word about another's packages is worth less: a piece for each.
	for _, at := range advisory.Authorities {
		d.add(Evidence{Channel: channelOf(at), Source: a.Source, Record: a.ID, Authority: at, AsOf: a.Feed.Fetched, Digest: a.Raw, Facts: unique(by[at])})
	}
}

func channelOf(a advisory.Authority) Channel {
	switch a {
	case advisory.Vendor:
		return Vendor
	case advisory.CNA:
		return CNARecord
	case advisory.NVD:
		return NVD
	}
	return Tracker
}

// affected gives the facts about one package of one release.
func affected(source, about string, f advisory.Affected) []Fact {
	purl, order, ok := Purl(f.Ecosystem, f.Package, f.Module)
	if !ok || f.Module != "" && !token(f.Module) || !release(f.Ecosystem) {
		return nil
	}
	fact := func(k Kind, at, value string) Fact {
		return Fact{Kind: k, About: about, Package: purl, Source: source, Scheme: order, Version: at, Value: value}
	}
	out := []Fact{}
	for _, s := range f.Severities {
		out = append(out, Fact{Kind: Severity, About: about, Package: purl, Source: s.Source, Version: s.Type, Value: s.Score})
	}
	switch f.Status {
	case advisory.NotAffected:
		return append(out, fact(PackageAffected, "", "no"))
	case advisory.UnderInvestigation, advisory.Undetermined:
		return append(out, fact(PackageAffected, "", "unknown"))
	}
	for _, r := range f.Ranges {
		if !readable(order, r) { // what cannot be compared is no fact, and the rest no reason to say no
			out = append(out, fact(PackageAffected, "", "unknown"))
			continue
		}
		value := ">=" + r.Introduced
		switch {
		case r.Fixed != "":
			value += " <" + r.Fixed
			out = append(out, fact(FixedVersion, "", r.Fixed))
		case r.LastAffected != "":
			value += " <=" + r.LastAffected
		}
		out = append(out, fact(AffectedRange, "", value))
	}
	for _, v := range f.Versions {
		if version.Valid(order, v) != nil {
			continue
		}
		out = append(out, fact(PackageAffected, v, "yes"))
	}
	return out
}

// readable reports whether all bounds of a range are versions.
func readable(s version.Scheme, r advisory.Range) bool {
	for _, v := range []string{r.Introduced, r.Fixed, r.LastAffected} {
		if v != "" && v != advisory.Beginning && version.Valid(s, v) != nil {
			return false
		}
	}
	return r.Introduced != ""
}

// maxToken is the most bytes of a field of a fact that a source wrote.
const maxToken = 768

// token reports whether a source's word is one word of printable ASCII: what has
// spaces is prose, and prose is no fact.
func token(s string) bool {
	return len(s) <= maxToken && s != "" && strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) < 0
}

// release reports whether an ecosystem names a release by words of its kind:
// SUSE's have spaces.
func release(ecosystem string) bool {
	base, rest, _ := strings.Cut(ecosystem, ":")
	return len(rest) <= 64 && (rest == "" || token(rest) || strings.Contains(strings.ToLower(base), "suse"))
}

var (
	// Who speaks: a short name, an id or an address, as the CVE program and NVD have
	// them, or a feed's.
	speaker = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_./:+-]{0,31}|[0-9a-f-]{36}|[A-Za-z0-9._+-]{1,40}@[A-Za-z0-9.-]{1,40})$`)
	// A score, a vector of CVSS (each metric's value is a few capitals, or one of CVSS
	// 4.0's four words), or a word of those that rate: Debian's urgencies ("low**"),
	// Ubuntu's priorities, Red Hat's impacts, CVSS's ratings. Any other word is a
	// stranger's, and would stand before a model as a distribution's.
	graded = regexp.MustCompile(`^([0-9]{1,2}\.[0-9]|(CVSS:[0-9]\.[0-9]/)?` + measured + `(/` + measured + `)*|(?i:none|negligible|unimportant|untriaged|minor|low|medium|moderate|important|major|high|critical|end-of-life)\*{0,2})$`)
	// By what it is rated: OSV's types, and what our parsers call a tracker's word.
	scale = regexp.MustCompile(`^(CVSS_V[234]|Ubuntu|urgency|impact)$`)
)

const measured = `[A-Z][A-Za-z]{0,2}:([A-Z]{1,3}|Clear|Green|Amber|Red)`

// plain reports whether no field of a fact is prose.
func plain(f Fact) bool {
	value := f.Value
	if f.Kind == AffectedRange { // bounds that were read as versions
		value = strings.Replace(value, " ", "", 1)
	}
	for _, s := range []string{f.About, f.Package, f.Version} {
		if s != "" && !token(s) {
			return false
		}
	}
	return token(value) && (f.Source == "" || speaker.MatchString(f.Source)) && (f.Kind != Severity || graded.MatchString(value) && scale.MatchString(f.Version))
}

// lists adds KEV and EPSS, each one piece for all CVEs of the dossier.
func (d *Dossier) lists(m Material, cves []string) {
	if m.KEV != nil {
		e := Evidence{Channel: KEV, Source: "cisa/kev", Record: m.KEV.Version, Authority: advisory.KEVADP, AsOf: m.KEV.AsOf, Digest: m.KEV.Digest}
		for _, cve := range cves {
			if listed, ok := m.KEV.Listed[cve]; ok {
				e.Facts = append(e.Facts, Fact{Kind: KEVMember, About: cve, Source: e.Source, Value: map[bool]string{true: "yes", false: "no"}[listed]})
			}
		}
		d.add(e)
	}
	if m.EPSS != nil {
		e := Evidence{Channel: EPSS, Source: "first/epss", Record: m.EPSS.Day, Authority: advisory.KEVADP, AsOf: m.EPSS.AsOf, Digest: m.EPSS.Digest}
		for _, cve := range cves {
			if share, ok := m.EPSS.Share[cve]; ok {
				e.Facts = append(e.Facts, Fact{Kind: EPSSScore, About: cve, Source: e.Source, Value: share})
			}
		}
		d.add(e)
	}
}

// spoken adds a CVE record: its scores, and its decision points as a piece of
// their own.
func (d *Dossier) spoken(s Spoken) {
	e := Evidence{Channel: CNARecord, Source: "cve", Record: s.CVE, Authority: advisory.CNA, AsOf: s.AsOf, Digest: s.Digest}
	if s.NVD {
		e.Channel, e.Source, e.Authority = NVD, "nvd", advisory.NVD
	}
	points := e
	points.Channel, points.Authority = SSVC, advisory.KEVADP
	exists := "yes"
	if s.Rejected {
		exists = "rejected"
	}
	e.Facts = []Fact{{Kind: CVEExists, About: s.CVE, Source: e.Source, Value: exists}}
	for _, x := range s.Scores {
		metric := "CVSS_V" + x.Version[:min(len(x.Version), 1)]
		if x.Vector != "" {
			e.Facts = append(e.Facts, Fact{Kind: Severity, About: s.CVE, Source: x.Source, Version: metric, Value: x.Vector})
		}
		e.Facts = append(e.Facts, Fact{Kind: Severity, About: s.CVE, Source: x.Source, Version: metric, Value: fmt.Sprintf("%d.%d", x.Tenths/10, x.Tenths%10)})
	}
	e.Facts = unique(e.Facts)
	d.add(e)
	for _, p := range s.Points {
		points.Facts = append(points.Facts, Fact{Kind: Exploitation, About: s.CVE, Source: p.Source, Value: strings.ReplaceAll(p.Name, " ", "_") + "=" + p.Value})
	}
	points.Facts = unique(points.Facts)
	d.add(points)
}

// unique drops what stands twice, and keeps the order.
func unique(facts []Fact) []Fact {
	seen, out := map[Fact]bool{}, []Fact{}
	for _, f := range facts {
		if !seen[f] {
			seen[f], out = true, append(out, f)
		}
	}
	return slices.Clip(out)
}
