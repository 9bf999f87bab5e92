package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// found is what a tool says is affected: "CVE package version", and whether the
// tool itself leaves it out of its answer.
type found map[string]bool

func (f found) add(id, name, version string, ignored bool) {
	f[strings.TrimPrefix(id, "DEBIAN-")+" "+name+" "+version] = ignored
}

func decode(raw []byte, v any) error {
	if len(raw) == 0 {
		return errors.New("it wrote nothing")
	}
	return json.Unmarshal(raw, v)
}

func readOurs(raw []byte) (found, error) {
	var doc struct {
		Findings []struct{ Advisory, Package, Version, State string }
	}
	out := found{}
	err := decode(raw, &doc)
	for _, f := range doc.Findings {
		if f.State == "affected" {
			out.add(f.Advisory, f.Package, f.Version, false)
		}
	}
	return out, err
}

func readOSV(raw []byte) (found, error) {
	var doc struct {
		Results []struct {
			Packages []struct {
				Package struct {
					Name    string
					Version string
					Binary  string `json:"os_package_name"`
				}
				Vulnerabilities []struct{ ID string }
			}
		}
	}
	out := found{}
	err := decode(raw, &doc)
	for _, r := range doc.Results {
		for _, p := range r.Packages {
			name := p.Package.Binary
			if name == "" {
				name = p.Package.Name
			}
			for _, v := range p.Vulnerabilities {
				out.add(v.ID, name, p.Package.Version, false)
			}
		}
	}
	return out, err
}

func readGrype(raw []byte) (found, error) {
	type hit struct {
		Vulnerability struct{ ID string }
		Artifact      struct{ Name, Version string }
	}
	var doc struct {
		Matches []hit
		Ignored []hit `json:"ignoredMatches"`
	}
	out := found{}
	err := decode(raw, &doc)
	for i, list := range [][]hit{doc.Matches, doc.Ignored} {
		for _, h := range list {
			out.add(h.Vulnerability.ID, h.Artifact.Name, h.Artifact.Version, i == 1)
		}
	}
	return out, err
}

// difference is what one tool finds and another does not, under one reason.
type difference struct {
	peer, reason string
	ours, theirs int    // found here and not there, there and not here
	example      string // the first
}

// compare explains each difference between us and a peer. Our own two ways must
// find the same.
func (w *world) compare(results []result) ([]difference, error) {
	by := map[string]result{}
	for _, r := range results {
		by[r.name] = r
	}
	ours := by[oursZip].found
	if !maps.Equal(ours, by[oursIdx].found) {
		return nil, errors.New("the index finds something else than the zip")
	}
	if len(ours) == 0 {
		return nil, errors.New("nothing was found, so nothing is compared")
	}
	var out []difference
	for _, peer := range []string{osv, grype} {
		r, ok := by[peer]
		if !ok {
			continue
		}
		sum := map[string]*difference{}
		note := func(key, reason string, here bool) {
			d := sum[reason]
			if d == nil {
				d = &difference{peer: peer, reason: reason, example: key}
				sum[reason] = d
			}
			if here {
				d.ours++
			} else {
				d.theirs++
			}
		}
		for _, key := range slices.Sorted(maps.Keys(ours)) {
			if ignored, there := r.found[key]; !there || ignored {
				note(key, w.reason(key, there, true), true)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(r.found)) {
			if _, here := ours[key]; !here {
				note(key, w.reason(key, true, false), false)
			}
		}
		for _, reason := range slices.Sorted(maps.Keys(sum)) {
			out = append(out, *sum[reason])
		}
	}
	return out, nil
}

// unexplained marks a difference that nobody has looked into.
const unexplained = "NOT EXPLAINED"

// reason says why a finding stands on one side only.
func (w *world) reason(key string, there, here bool) string {
	f := strings.Fields(key)
	source, version, _ := strings.Cut(w.sources[f[1]], " ")
	version = strings.Trim(version, "()")
	switch {
	case here && there:
		return "the peer finds it and leaves it out by a rule of its own (it ignores kernel headers that are indirectly matched)"
	case version != f[2]:
		return "the source package has another version than the binary one; we compare the source's, of which the record speaks, the peer the binary's"
	case source != f[1] && !here:
		return "the peer matches the binary package's own name, which is that of another source's record"
	}
	return unexplained
}

func (d difference) String() string {
	return fmt.Sprintf("%d only ours, %d only theirs: %s (first: %s)", d.ours, d.theirs, d.reason, d.example)
}
