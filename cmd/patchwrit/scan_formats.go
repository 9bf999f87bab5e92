package main

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/inventory/sbom"
	"github.com/patchwrit/patchwrit/match"
)

// SARIF 2.1.0 (OASIS), as far as a scan has something to say.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
	}
	// sarifInvocation says whether the scan was whole (§3.20.14): one with gaps
	// was not, and each gap is a notification (§3.20.21).
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Kind         string            `json:"kind"`  // §3.27.9: fail, open (not decided)
		Level        string            `json:"level"` // §3.27.10: error; none for what is open
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]string `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Logical []sarifLogical `json:"logicalLocations"`
	}
	sarifLogical struct {
		Name string `json:"name"`
		Full string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

// sarif writes the findings as SARIF. What is unknown or investigated is open:
// no result of it says that a system is clean.
func (r scanReport) sarif(w io.Writer) error {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "patchwrit", Version: version, Rules: []sarifRule{}}}, Results: []sarifResult{},
		Invocations: []sarifInvocation{{Successful: len(r.Gaps) == 0, Notifications: []sarifNotification{}}}}
	for _, g := range r.Gaps {
		run.Invocations[0].Notifications = append(run.Invocations[0].Notifications, sarifNotification{"error", sarifText{g.Text}})
	}
	if r.Bill != nil {
		for _, text := range r.Bill.closed() {
			run.Invocations[0].Notifications = append(run.Invocations[0].Notifications, sarifNotification{"note", sarifText{"Left out: " + text + "."}})
		}
	}
	at := map[string]int{}
	for _, f := range r.Findings {
		if _, ok := at[f.Advisory]; !ok {
			at[f.Advisory] = len(run.Tool.Driver.Rules)
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{f.Advisory, sarifText{"Vulnerability " + f.Advisory}})
		}
	}
	log := sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}
	return streamed(w, false, log, "results", 3, func(yield func(sarifResult) bool) {
		for _, f := range r.Findings {
			if !yield(r.sarifResult(f, at[f.Advisory])) {
				return
			}
		}
	})
}

// sarifResult is a finding, whose rule stands at a place.
func (r scanReport) sarifResult(f scanFinding, rule int) sarifResult {
	kind, level := "fail", "error"
	if f.State != match.Affected {
		kind, level = "open", "none"
	}
	out := sarifResult{RuleID: f.Advisory, RuleIndex: rule, Kind: kind, Level: level, Message: sarifText{f.Reason.Text},
		Locations:    []sarifLocation{{[]sarifLogical{{f.Package, r.purl(f.Finding), "package"}}}},
		Fingerprints: map[string]string{"patchwrit/v1": f.Advisory + " " + f.Package + ":" + f.Arch},
		Properties:   map[string]string{"state": string(f.State), "reason": string(f.Reason.Code), "installed": f.Version, "fixed": f.Fixed}}
	if f.Runs != "" {
		out.Properties["runs"] = f.Runs
	}
	return out
}

// CycloneDX 1.6 (ECMA-424), a VEX document.
type (
	cdxBOM struct {
		Format          string             `json:"bomFormat"`
		Spec            string             `json:"specVersion"`
		Version         int                `json:"version"`
		Metadata        cdxMetadata        `json:"metadata"`
		Components      []cdxComponent     `json:"components"`
		Vulnerabilities []cdxVulnerability `json:"vulnerabilities"`
	}
	cdxMetadata struct {
		Tools      cdxTools      `json:"tools"`
		Properties []cdxProperty `json:"properties"`
	}
	cdxTools struct {
		Components []cdxComponent `json:"components"`
	}
	cdxComponent struct {
		Type    string `json:"type"`
		Ref     string `json:"bom-ref,omitempty"`
		Name    string `json:"name"`
		Version string `json:"version"`
		PURL    string `json:"purl,omitempty"`
	}
	cdxProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	cdxVulnerability struct {
		ID         string         `json:"id"`
		References []cdxReference `json:"references"`
		Analysis   cdxAnalysis    `json:"analysis"`
		Affects    []cdxAffects   `json:"affects"`
	}
	cdxReference struct {
		ID     string    `json:"id"`
		Source cdxSource `json:"source"`
	}
	cdxSource struct {
		Name string `json:"name"`
	}
	cdxAnalysis struct {
		State    string   `json:"state"`
		Response []string `json:"response,omitempty"`
		Detail   string   `json:"detail"`
	}
	cdxAffects struct {
		Ref string `json:"ref"`
	}
)

// vex writes the findings as a CycloneDX VEX. Affected is "exploitable": that
// is the format's only word for a vulnerability that is there, and nobody here
// has tried to exploit it. All that is not decided is "in_triage". What could not
// be asked stands in the properties of the document.
func (r scanReport) vex(w io.Writer) error {
	b := cdxBOM{Format: "CycloneDX", Spec: "1.6", Version: 1, Components: []cdxComponent{}, Vulnerabilities: []cdxVulnerability{}}
	b.Metadata = cdxMetadata{cdxTools{[]cdxComponent{{Type: "application", Name: "patchwrit", Version: version}}}, []cdxProperty{}}
	for _, g := range r.Gaps {
		b.Metadata.Properties = append(b.Metadata.Properties, cdxProperty{"patchwrit:unknown:" + string(g.Code), g.Text})
	}
	if r.Bill != nil {
		for _, l := range r.Bill.Left {
			if !l.Open {
				b.Metadata.Properties = append(b.Metadata.Properties, cdxProperty{"patchwrit:left-out:" + string(l.Why), l.Sentence()})
			}
		}
	}
	known := map[string]bool{}
	for _, f := range r.Findings {
		ref := r.purl(f.Finding)
		if !known[ref] {
			known[ref] = true
			b.Components = append(b.Components, cdxComponent{Type: "library", Ref: ref, Name: f.Package, Version: f.Version, PURL: ref})
		}
	}
	return streamed(w, false, b, "vulnerabilities", 1, func(yield func(cdxVulnerability) bool) {
		for _, f := range r.Findings {
			if !yield(r.vulnerability(f)) {
				return
			}
		}
	})
}

// vulnerability is a finding.
func (r scanReport) vulnerability(f scanFinding) cdxVulnerability {
	v := cdxVulnerability{ID: f.Advisory, References: []cdxReference{}, Analysis: cdxAnalysis{State: "in_triage", Detail: f.Reason.Text}, Affects: []cdxAffects{{r.purl(f.Finding)}}}
	for _, alias := range f.Aliases {
		v.References = append(v.References, cdxReference{alias, cdxSource{"alias"}})
	}
	if f.State == match.Affected {
		v.Analysis.State = "exploitable"
		switch {
		case f.Fixed != "":
			v.Analysis.Response = []string{"update"}
		case f.Reason.Code == match.WontFix || f.Reason.Code == match.EndOfLife:
			v.Analysis.Response = []string{"will_not_fix"}
		}
	}
	return v
}

// purlTypes are the package URL types of systems by os-release's ID.
var purlTypes = map[string]string{"debian": "deb", "ubuntu": "deb", "alpine": "apk", "almalinux": "rpm", "rocky": "rpm", "rhel": "rpm"}

// purl names what a finding is about; rpm's epoch is a qualifier there. A library
// is named as its bill does. A package of an unknown system is generic.
func (r scanReport) purl(f match.Finding) string {
	if p, ok := r.purls[[2]string{f.Package, f.Version}]; ok && f.Arch == "" {
		return p
	}
	kind, ok := purlTypes[r.OS.ID]
	if !ok {
		return sbom.Purl{Type: "generic", Name: f.Package, Version: f.Version}.String()
	}
	p := sbom.Purl{Type: kind, Namespace: r.OS.ID, Name: f.Package, Version: f.Version,
		Qualifier: map[string]string{"distro": r.OS.ID + "-" + cmp.Or(r.OS.VersionID, "unknown"), "arch": f.Arch}}
	if epoch, rest, has := strings.Cut(f.Version, ":"); has && kind == "rpm" {
		p.Version, p.Qualifier["epoch"] = rest, epoch
	}
	if p.Namespace == "rhel" {
		p.Namespace = "redhat" // as Red Hat's own purls have it
	}
	return p.String()
}

// formats are what a scan can be written in.
var formats = []string{"table", "json", "sarif", "vex"}

// special writes the formats of other tools; false for any other.
func (r scanReport) special(w io.Writer, format string) (bool, error) {
	switch {
	case !slices.Contains(formats[2:], format):
		return false, nil
	case format == "sarif":
		return true, r.sarif(w)
	}
	return true, r.vex(w)
}
