package main

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// records is how many are made: as many as Debian's zip had when this was
// written, of about the same size.
const records = 46_000

// host writes a root with this machine's dpkg status. Packages whose
// installation was interrupted are written as installed, since the peers
// disagree on them for a reason that is not speed.
func (w *world) host() error {
	raw, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		return fmt.Errorf("a Debian machine is needed: %w", err)
	}
	w.sources = map[string]string{}
	var out strings.Builder
	for stanza := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
		name, source, status := field(stanza, "Package"), field(stanza, "Source"), field(stanza, "Status")
		if strings.HasSuffix(status, "config-files") {
			continue
		}
		if source == "" {
			source = name + " (" + field(stanza, "Version") + ")"
		} else if !strings.Contains(source, " ") {
			source += " (" + field(stanza, "Version") + ")"
		}
		w.sources[name] = source
		w.packages++
		out.WriteString(strings.Replace(stanza, "Status: "+status, "Status: install ok installed", 1) + "\n\n")
	}
	for name, content := range map[string]string{
		"var/lib/dpkg/status": out.String(),
		"var/lib/dpkg/arch":   "amd64\n",
		"etc/os-release":      "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
	} {
		path := filepath.Join(w.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// field is a one-line field of a stanza, or "".
func field(stanza, name string) string {
	for l := range strings.Lines(stanza) {
		if v, ok := strings.CutPrefix(l, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

type (
	event  map[string]string
	ranges struct {
		Type   string  `json:"type"`
		Events []event `json:"events"`
	}
	affected struct {
		Package  map[string]string `json:"package"`
		Ranges   []ranges          `json:"ranges"`
		Versions []string          `json:"versions"`
		Specific map[string]string `json:"ecosystem_specific"`
	}
	record struct {
		Schema     string              `json:"schema_version"`
		ID         string              `json:"id"`
		Published  string              `json:"published"`
		Modified   string              `json:"modified"`
		Upstream   []string            `json:"upstream"`
		Details    string              `json:"details"`
		References []map[string]string `json:"references"`
		Affected   []affected          `json:"affected"`
	}
)

// maker makes records from the installed sources and as many others.
type maker struct {
	*rand.Rand
	names    []string
	versions map[string]string // of installed sources
}

// records writes the zip that every tool reads, or that its data is made from.
func (w *world) records() error {
	m := maker{rand.New(rand.NewPCG(12, 4)), nil, map[string]string{}}
	for _, s := range w.sources {
		name, version, _ := strings.Cut(s, " ")
		m.versions[name] = strings.Trim(version, "()")
	}
	m.names = slices.Sorted(maps.Keys(m.versions))
	if err := os.MkdirAll(filepath.Dir(w.zip), 0o755); err != nil {
		return err
	}
	f, err := os.Create(w.zip)
	if err != nil {
		return err
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for i := range records {
		r := m.record(i)
		w.made, w.rows = w.made+1, w.rows+len(r.Affected)
		raw, err := json.Marshal(r)
		if err != nil {
			return err
		}
		out, err := z.Create(r.ID + ".json")
		if err != nil {
			return err
		}
		if _, err := out.Write(raw); err != nil {
			return err
		}
	}
	return z.Close()
}

var releases = []string{"11", "12", "13", "14"}

// record draws one: one in six speaks of an installed source, about a third of
// these of one that is affected here.
func (m maker) record(i int) record {
	cve := fmt.Sprintf("CVE-%d-%d", 2005+i%22, 1000+i)
	r := record{Schema: "1.7.3", ID: "DEBIAN-" + cve, Published: "2024-01-01T00:00:00Z", Modified: "2026-11-20T00:00:00Z", Upstream: []string{cve}, Details: m.text(),
		References: []map[string]string{{"type": "ADVISORY", "url": "https://security-tracker.debian.org/tracker/" + cve}}}
	name, here := fmt.Sprintf("other-source-%d", m.IntN(4000)), "1.0-1"
	if m.IntN(6) == 0 {
		name = m.names[m.IntN(len(m.names))]
		here = m.versions[name]
	}
	for _, release := range releases {
		if m.IntN(20) == 0 {
			continue
		}
		events := []event{{"introduced": "0"}}
		switch n := m.IntN(100); {
		case n < 15: // no fixed version
		case n < 35:
			events = append(events, event{"fixed": here + "+deb" + release + "u9"})
		case n < 40:
			events = append(events, event{"fixed": here})
		default:
			events = append(events, event{"fixed": "0." + fmt.Sprint(1+m.IntN(90)) + "-1"})
		}
		a := affected{Package: map[string]string{"ecosystem": "Debian:" + release, "name": name, "purl": "pkg:deb/debian/" + name + "?arch=source"},
			Ranges: []ranges{{"ECOSYSTEM", events}}, Specific: map[string]string{"urgency": "not yet assigned"}, Versions: []string{}}
		for v := range m.IntN(24) {
			a.Versions = append(a.Versions, fmt.Sprintf("0.0.%d~old%s-1", v, release))
		}
		r.Affected = append(r.Affected, a)
	}
	return r
}

const words = "buffer overflow in the parser allows remote attackers to cause a denial of service or possibly execute arbitrary code via crafted input that is not checked before use when a long header field is read from the network and copied "

func (m maker) text() string {
	f := strings.Fields(words)
	var b strings.Builder
	for range 60 + m.IntN(120) {
		b.WriteString(f[m.IntN(len(f))] + " ")
	}
	return b.String()
}
