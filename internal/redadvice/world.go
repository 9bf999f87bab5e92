package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/debian"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/inventory/sbom"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/version"
)

const now = int64(advicetest.Now)

// field is one place where somebody's text comes in, and the channel of a corpus
// that such texts belong to.
type field struct{ name, channel string }

// prose is the one field whose text is sent.
const prose = "osv.summary"

// fields are all places of the world where free text can stand.
var fields = []field{
	{prose, "advisory"}, {"osv.details", "advisory"}, {"osv.database_specific", "advisory"}, {"osv.credits", "advisory"}, {"osv.severity", "advisory"}, {"osv.severity_type", "advisory"},
	{"cve.title", "advisory"}, {"cve.description", "advisory"}, {"cve.short_name", "advisory"}, {"kev.name", "advisory"}, {"kev.description", "advisory"},
	{"deb.changelog", "release_notes"}, {"deb.news", "release_notes"},
	{"deb.description", "package_description"}, {"deb.maintainer", "package_description"}, {"dpkg.description", "package_description"}, {"dpkg.maintainer", "package_description"},
	{"deb.postinst", "maintainer_script"}, {"deb.prerm", "maintainer_script"},
	{"plan.note", "ticket"}, {"plan.held", "log_line"}, {"host.os_release", "hostname"}, {"host.domain", "hostname"}, {"host.label", "cmdb"},
	{"sbom.component", "sbom"}, {"sbom.description", "sbom"},
}

// unsent reports whether the request does not depend on a field at all. The others
// have a text that is sent, or what facts are made of.
func (f field) unsent() bool {
	switch f.name {
	case prose, "osv.severity", "osv.severity_type", "cve.short_name", "deb.changelog":
		return false
	}
	return f.name != "deb.maintainer" && !strings.HasPrefix(f.name, "deb.p") // another maintainer, or script, raises the class, which is sent
}

// clean is what stands in a field of the clean twin.
func clean(field string) string {
	switch field {
	case "cve.short_name":
		return "example"
	case "osv.severity":
		return advicetest.ADPVector
	case "osv.severity_type":
		return "CVSS_V3"
	}
	return "Nothing to see here"
}

// world makes real decisions of texts, by the rooms that make them in the
// product: parsers of records, packages, status files and bills; matching;
// deadlines; plans; the standard rules.
type world struct {
	engine *rego.Engine
	rules  priority.Rules
	old    map[string]artefact.Contents
	new    map[string]artefact.Contents
	sums   map[string]canon.Digest
	root   trust.Root
}

// decided is all that a text could have changed.
type decided struct {
	findings  []string                  // what is affected, ascending
	changes   []string                  // what each host would do, ascending
	verdict   policy.Verdict            // under a grant
	asked     policy.Verdict            // without one: people are asked
	deadlines map[string]priority.Class // by CVE
	dossier   advice.Dossier
	request   []byte
	masked    string // of the twin: its request without digests
	bare      string // the same, without untrusted texts
	expires   int64
	due       int64
}

func newWorld() (*world, error) {
	w := &world{old: map[string]artefact.Contents{}, new: map[string]artefact.Contents{}, sums: map[string]canon.Digest{}}
	var err error
	if w.engine, err = rego.Unsigned(context.Background(), standard.Rules); err != nil {
		return nil, err
	}
	if w.rules, err = priority.Standard(); err != nil {
		return nil, err
	}
	house, err := trusttest.New(nil, trusttest.Options{})
	if err != nil {
		return nil, err
	}
	w.root = house.Root
	for _, name := range packages {
		c, _, err := opened(name, "1.0-1", clean)
		if err != nil {
			return nil, err
		}
		w.old[name] = c
		if w.new[name], w.sums[name], err = opened(name, "1.1-1", clean); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// packages of the world; greet needs libgreet.
var packages = []string{"greet", "libgreet"}

func line(s string) string { return strings.Join(strings.Fields(s), " ") }

// folded is a text of many lines as a Debian control file or changelog has it: each
// further line is indented, and an empty one is a full stop (Debian Policy 5.6.13).
func folded(s, indent string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if lines[i] = line(l); lines[i] == "" {
			lines[i] = "."
		}
	}
	return strings.Join(lines, "\n"+indent)
}

// opened builds a real .deb and opens it as the control plane does.
func opened(name, v string, say func(field string) string) (artefact.Contents, canon.Digest, error) {
	comment := func(field string) string {
		return "#!/bin/sh\n# " + strings.ReplaceAll(say(field), "\n", "\n# ") + "\nset -e\nexit 0\n"
	}
	p := debworld.Package{Name: name, Version: v, Source: "greet", Description: folded(say("deb.description"), " "), Maintainer: line(say("deb.maintainer")) + " <a@example.invalid>", Compression: debworld.Gzip,
		Files:     map[string]debworld.File{"/usr/share/doc/" + name + "/NEWS.Debian": {Content: say("deb.news")}, "/usr/share/" + name + "/text": {Content: v}},
		Scripts:   map[string]string{"postinst": comment("deb.postinst"), "prerm": comment("deb.prerm")},
		Changelog: []debworld.Change{{Version: v, Lines: []string{folded(say("deb.changelog"), "    "), "Fixes CVE-2026-0001."}, At: time.Unix(now-86400, 0)}}}
	if name == "greet" {
		p.Depends = "libgreet (>= " + v + ")"
	}
	raw, err := p.Build()
	if err != nil {
		return artefact.Contents{}, "", err
	}
	c, err := artefact.Open(bytes.NewReader(raw), int64(len(raw)))
	return c, canon.SumFile(raw), err
}

func asJSON(s string) string {
	raw, _ := json.Marshal(strings.ToValidUTF8(s, "?"))
	return string(raw)
}

// decide makes the decisions of a world that has a text in one field; "" for the
// clean twin.
func (w *world) decide(at, text string) (out decided, err error) {
	say := func(field string) string {
		if field == at {
			return text
		}
		return clean(field)
	}
	inv, err := inventoryOf(say)
	if err != nil {
		return out, err
	}
	sets, listed, spoken, err := records(say)
	if err != nil {
		return out, err
	}
	found := match.Find(inv, match.NewIndex(sets...))
	bill, err := sbom.Parse([]byte(fmt.Sprintf(`{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"library","name":"greet","version":"1.0-1","purl":"pkg:deb/debian/greet@1.0-1?arch=amd64&distro=debian-12&upstream=greet"},{"type":"file","name":%s,"description":%s}]}`,
		asJSON(say("sbom.component")), asJSON(say("sbom.description")))))
	if err != nil {
		return out, err
	}
	for _, f := range slices.Concat(found, match.Find(bill.Inventory, match.NewIndex(sets...))) {
		out.findings = append(out.findings, fmt.Sprint(f.Advisory, " ", f.Package, " ", f.State, " ", f.Fixed))
	}
	out.deadlines = w.deadlines(found, listed, spoken)
	file, err := w.plan(say, strings.HasPrefix(at, "deb."), found)
	if err != nil {
		return out, err
	}
	return out, w.rule(&out, say, file, advice.Material{Plan: file, Sets: sets,
		KEV:   &advice.Catalogue{Version: listed.Version, AsOf: listed.Snapshot.Newest, Digest: listed.Snapshot.Digest, Listed: map[string]bool{"CVE-2026-0001": true, "CVE-2026-0002": false}},
		Spoke: []advice.Spoken{spokenOf(spoken)}})
}

func inventoryOf(say func(string) string) (inventory.Inventory, error) {
	status := ""
	for _, name := range packages {
		status += "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nSource: greet\nVersion: 1.0-1\nMaintainer: " + line(say("dpkg.maintainer")) + "\nDescription: " + folded(say("dpkg.description"), " ") + "\n\n"
	}
	return inventory.Read(fstest.MapFS{"var/lib/dpkg/status": {Data: []byte(status)}, "var/lib/dpkg/arch": {Data: []byte("amd64\n")},
		"etc/os-release": {Data: []byte("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME='" + strings.ReplaceAll(line(say("host.os_release")), "'", "") + "'\n")}})
}

// records reads what feeds say: an advisory of each kind, KEV, a CVE record, and
// a package's changelog.
func records(say func(string) string) (sets []advisory.Set, k kev.Catalogue, c cve.Record, err error) {
	set := advisory.Set{Snapshot: advisory.Snapshot{Name: "osv", Kind: "osv", Fetched: now - 600, Newest: now - 3600, Digest: canon.SumFile(nil), Partial: []advisory.Gap{},
		Scope: []advisory.Subject{{Ecosystem: "Debian:12", Package: "greet"}}}}
	for n, id := range []string{"DEBIAN-CVE-2026-0001", "DEBIAN-CVE-2026-0002"} {
		raw := fmt.Sprintf(`{"schema_version":"1.6.0","id":%q,"modified":"2026-08-06T00:00:00Z","published":"2026-08-06T00:00:00Z","upstream":["CVE-2026-000%d"],"summary":%s,"details":%s,"severity":[{"type":%s,"score":%s}],`+
			`"credits":[{"name":%s}],"database_specific":{"note":%s},"affected":[{"package":{"ecosystem":"Debian:12","name":"greet"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.1-1"}]}]}]}`,
			id, n+1, asJSON(say("osv.summary")), asJSON(say("osv.details")), asJSON(say("osv.severity_type")), asJSON(say("osv.severity")), asJSON(say("osv.credits")), asJSON(say("osv.database_specific")))
		a, err := advisory.ParseOSV([]byte(raw), advisory.Feed{Name: "osv", Kind: "osv", Fetched: now - 600})
		if err != nil {
			return nil, k, c, err
		}
		set.Advisories = append(set.Advisories, a)
	}
	sets = append(sets, set)
	entries, _ := debian.ParseChangelog([]byte("greet (1.1-1) bookworm-security; urgency=high\n\n  * " + folded(say("deb.changelog"), "    ") + "\n  * Fixes CVE-2026-0001.\n\n -- A <a@example.invalid>  Thu, 06 Aug 2026 00:00:00 +0000\n"))
	log := advisory.Set{Snapshot: advisory.Snapshot{Name: debian.Name, Kind: debian.Kind, Fetched: now - 600, Newest: now - 3600, Digest: canon.SumFile(nil), Partial: []advisory.Gap{}, Scope: []advisory.Subject{{Ecosystem: "Debian:12", Package: "greet"}}}}
	log.Advisories = debian.Advisories(entries, "greet", debian.Branch{Ecosystem: "Debian:12", Codename: "bookworm"}, canon.SumFile(nil), log.Snapshot.Origin())
	sets = append(sets, log)
	k, err = kev.Read(strings.NewReader(fmt.Sprintf(`{"title":"t","catalogVersion":"2026.08.06","dateReleased":"2026-08-06T00:00:00Z","count":1,"vulnerabilities":[{"cveID":"CVE-2026-0001","vendorProject":"Example","product":"Greet","vulnerabilityName":%s,`+
		`"dateAdded":"2026-08-01","shortDescription":%s,"requiredAction":"a","dueDate":"2026-08-22","cwes":["CWE-1"]}]}`, asJSON(say("kev.name")), asJSON(say("kev.description")))), kev.Options{Source: "kev.json", Now: time.Unix(now, 0)})
	if err != nil {
		return nil, k, c, err
	}
	c, err = cve.Parse([]byte(fmt.Sprintf(`{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":"CVE-2026-0001","state":"PUBLISHED","dateUpdated":"2026-08-06T00:00:00Z","datePublished":"2026-08-06T00:00:00Z"},"containers":{"cna":{"title":%s,"descriptions":[{"lang":"en","value":%s}],`+
		`"providerMetadata":{"orgId":"8254265b-2729-46b6-b9e3-3dfca2d5bfca","shortName":%s,"dateUpdated":"2026-08-06T00:00:00Z"},"metrics":[{"cvssV3_1":{"version":"3.1","baseScore":9.8,"vectorString":%q}},`+
		`{"other":{"type":"ssvc","content":{"id":"CVE-2026-0001","role":"CISA Coordinator","options":[{"Exploitation":"active"},{"Automatable":"yes"},{"Technical Impact":"total"}],"version":"2.0.3","timestamp":"2026-08-06T00:00:00Z"}}}]}}}`,
		asJSON(say("cve.title")), asJSON(say("cve.description")), asJSON(say("cve.short_name")), advicetest.CNAVector)))
	return sets, k, c, err
}

// deadlines decides each CVE that was found.
func (w *world) deadlines(found []match.Finding, k kev.Catalogue, c cve.Record) map[string]priority.Class {
	ssvc := map[string]priority.Answer{"yes": priority.Yes, "total": priority.Yes, "no": priority.No, "partial": priority.No}
	out := map[string]priority.Class{}
	for _, f := range found {
		for _, name := range f.CVEs() {
			x, listing := cve.Settle(name, cve.Book{Records: []cve.Record{c}}), priority.No
			if _, l := k.Lookup(name); l == kev.Listed {
				listing = priority.Yes
			}
			d := w.rules.Decide(priority.Facts{KEV: listing, Automatable: ssvc[x.Automatable.Value], Total: ssvc[x.Impact.Value], Exploited: priority.Exploitation(x.Exploitation.Value)})
			if was, ok := out[name]; !ok || d.Class.Rank > was.Rank {
				out[name] = d.Class
			}
		}
	}
	return out
}

var hosts = []trust.HostID{trust.HostID(strings.Repeat("a", 64)), trust.HostID(strings.Repeat("b", 64))}

// plan makes the plan that answers what was found; its packages are built anew
// where a text stands in them.
func (w *world) plan(say func(string) string, inPackage bool, found []match.Finding) (proposal.File, error) {
	r := proposal.Request{Nonce: strings.Repeat("0a", 32), Author: "p-00000001", Created: now - 3600, Expires: now + 6*86400, Note: say("plan.note"), Waves: []plan.Wave{{NotBefore: now - 3600, Good: 1}}}
	one := proposal.HostRequest{Inventory: canon.SumFile(nil), Findings: found, Held: []proposal.Held{{Package: "world", Why: canon.NoteOf(say("plan.held"))}}}
	for _, name := range packages {
		if !slices.ContainsFunc(found, func(f match.Finding) bool { return f.Package == name && f.State == match.Affected }) {
			continue
		}
		c, digest := w.new[name], w.sums[name]
		if inPackage {
			var err error
			if c, digest, err = opened(name, "1.1-1", say); err != nil {
				return proposal.File{}, err
			}
		}
		was := w.old[name]
		diff := artefact.Compare(&was, c)
		class, reasons := artefact.Class(diff, c, change.List{})
		forth := change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: name, Arch: "amd64", From: "1.0-1", To: "1.1-1", Artefact: digest, Size: 2, Origin: "debian-security", Class: class}
		back := forth
		back.Op, back.From, back.To, back.Artefact, back.Class = change.Downgrade, "1.1-1", "1.0-1", canon.SumFile([]byte(name)), change.Critical
		chain := func(c change.Change) provenance.Chain {
			k := provenance.Entry{}.Chain()
			k.Origin, k.Artefact, k.Size, k.Signers = c.Origin, c.Artefact, c.Size, []string{"AB"}
			return k
		}
		r.Facts = append(r.Facts, proposal.Fact{Package: name, Arch: "amd64", From: "1.0-1", To: "1.1-1", Source: "greet", SourceVersion: "1.1-1", Class: class, Reasons: reasons, Diff: diff,
			Breaks: []artefact.Break{}, Chain: chain(forth), Back: chain(back)})
		one.Changes, one.Back = append(one.Changes, forth), append(one.Back, back)
	}
	for _, id := range hosts {
		h := one
		h.ID = id
		r.Hosts = append(r.Hosts, h)
	}
	h, branches, d, err := proposal.New(r)
	return proposal.NewFile(h, branches, d), err
}

// rule lets the standard rules judge the plan, and builds what an adviser is sent.
func (w *world) rule(out *decided, say func(string) string, file proposal.File, m advice.Material) (err error) {
	root := w.root
	root.Hosts = nil
	for _, field := range []string{"host.domain", "host.label"} {
		if text := say(field); text != clean(field) && !strictjson.Printable(line(text)) {
			return fmt.Errorf("the trust root takes no such text")
		}
	}
	for _, id := range hosts {
		root.Hosts = append(root.Hosts, trust.Host{ID: id, Domain: line(say("host.domain")), Labels: []trust.Label{{Key: "autonomy", Value: "L4"}, {Key: "exposure", Value: "internal"}, {Key: "note", Value: line(say("host.label"))}}})
	}
	for _, b := range file.Branches {
		for _, c := range b.Changes {
			out.changes = append(out.changes, fmt.Sprint(b.Host, " ", c.Op, " ", c.Key(), " ", c.From, " ", c.To))
		}
	}
	facts := policy.Facts{Hosts: []policy.HostFacts{}, Artefacts: []policy.ArtefactFacts{}}
	strict := priority.Class{}
	for _, c := range out.deadlines {
		if c.Rank > strict.Rank {
			strict = c
		}
	}
	out.due, out.expires = now+int64(max(strict.Days, 1))*86400, file.Header.Expires
	for _, id := range hosts {
		facts.Hosts = append(facts.Hosts, policy.HostFacts{ID: id, Due: out.due, Data: []string{}, Windows: []policy.Span{}})
	}
	if out.verdict, err = w.engine.Verdict(context.Background(), policy.NewInput(root, file.Header, file.Branches, file.Dossier, facts, canon.SumFile([]byte("a grant")), now)); err != nil {
		return err
	}
	if out.asked, err = w.engine.Verdict(context.Background(), policy.NewInput(root, file.Header, file.Branches, file.Dossier, facts, "", now)); err != nil {
		return err
	}
	slices.Sort(out.findings)
	if out.dossier, err = advice.Build(m); err == nil {
		out.request = advice.Request(out.dossier)
	}
	return err
}

var digest = regexp.MustCompile(`[0-9a-f]{64}|"[0-9a-f]{12}"`)

// masked is a request without digests: of two worlds that differ in a text that is
// not sent it is the same.
func masked(request []byte) string {
	return digest.ReplaceAllString(string(request), "#")
}

// milder reports whether a permits what b does not.
func milder(a, b policy.Verdict) bool {
	return cmp.Or(cmp.Compare(a.Outcome.Rank(), b.Outcome.Rank()), cmp.Compare(a.Class.Rank(), b.Class.Rank())) < 0 || len(a.WeakerThan(b)) > 0
}
