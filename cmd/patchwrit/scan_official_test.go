package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/patchwrit/patchwrit/internal/schematest"
)

// official reads a file of a module that go.mod names.
func official(t *testing.T, module, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(schematest.ModuleDir(t, module), name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// SARIF is valid by OASIS's schema, which go-sarif carries, and means what the
// standard says.
func TestSARIFIsValid(t *testing.T) {
	source := string(official(t, "github.com/owenrumney/go-sarif/v3", "pkg/report/v210/sarif/schema.go"))
	text := strings.Split(source, "`")
	if len(text) != 3 || !strings.Contains(text[1], "sarif/v2.1.0/errata01") {
		t.Fatalf("go-sarif holds its schema in another way: %d pieces", len(text))
	}
	s := schematest.Compile(t, []byte(text[1]))
	var sample []byte
	open, failed, notices := 0, 0, 0
	for name, args := range scanned(t) {
		r := call(t, append([]string{"scan", "-q", "-o", "sarif"}, args...)...)
		s.Accepts(t, name, []byte(r.out))
		doc, err := sarif.FromBytes([]byte(r.out))
		if err != nil || len(doc.Runs) != 1 {
			t.Fatalf("%s: %v", name, err)
		}
		run := doc.Runs[0]
		n := len(run.Invocations[0].ToolExecutionNotifications)
		if notices += n; *run.Invocations[0].ExecutionSuccessful != (r.code == exitOK || r.code == exitFindings && n == 0) && r.code != exitPartial {
			t.Errorf("%s: exit %d, successful %v", name, r.code, *run.Invocations[0].ExecutionSuccessful)
		}
		if r.code == exitPartial && *run.Invocations[0].ExecutionSuccessful && len(run.Results) == 0 {
			t.Errorf("%s: exit 6 reads as a clean success", name)
		}
		for _, x := range run.Results {
			if rule := run.Tool.Driver.Rules[x.RuleIndex]; *rule.ID != *x.RuleID {
				t.Errorf("%s: result of %s points to the rule %s", name, *x.RuleID, *rule.ID)
			}
			if x.Kind == "open" {
				open++
			} else if failed++; x.Kind != "fail" || x.Level != "error" {
				t.Errorf("%s: kind %s, level %s", name, x.Kind, x.Level)
			}
		}
		if name == "debian" {
			sample = []byte(r.out)
		}
	}
	if open == 0 || failed == 0 || notices == 0 {
		t.Errorf("too plain: %d open, %d failed, %d notices", open, failed, notices)
	}
	for path, value := range map[string]any{"version": "2.0.0", "runs.tool.driver.name": nil, "runs.results.kind": "maybe", "runs.results.level": "bad", "runs.news": 1, "runs.results.message": nil} {
		if s.Judge(t, schematest.Changed(t, sample, path, value)) == nil {
			t.Errorf("with %s = %v it passes", path, value)
		}
	}
}

// VEX is valid by the official CycloneDX 1.6 schema, and what it says is found
// again by CycloneDX's own library.
func TestVEXIsValid(t *testing.T) {
	const module, base = "github.com/CycloneDX/cyclonedx-go", "http://cyclonedx.org/schema/"
	s := schematest.Compile(t, official(t, module, "schema/bom-1.6.schema.json"), map[string][]byte{
		base + "spdx.schema.json": official(t, module, "schema/spdx.schema.json"), base + "jsf-0.82.schema.json": official(t, module, "schema/jsf-0.82.schemax.json")})
	states, unknown := map[cyclonedx.ImpactAnalysisState]int{}, 0
	var sample []byte
	for name, args := range scanned(t) {
		r := call(t, append([]string{"scan", "-q", "-o", "vex"}, args...)...)
		s.Accepts(t, name, []byte(r.out))
		var bom cyclonedx.BOM
		if err := json.Unmarshal([]byte(r.out), &bom); err != nil {
			t.Fatal(err)
		}
		refs := map[string]bool{}
		for _, c := range *bom.Components {
			refs[c.BOMRef] = true
		}
		for _, v := range *bom.Vulnerabilities {
			states[v.Analysis.State]++
			for _, a := range *v.Affects {
				if !refs[a.Ref] {
					t.Errorf("%s: %s affects %s, which is no component", name, v.ID, a.Ref)
				}
			}
		}
		unknown += len(*bom.Metadata.Properties)
		if r.code == exitPartial && len(*bom.Metadata.Properties)+len(*bom.Vulnerabilities) == 0 {
			t.Errorf("%s: exit 6 reads as clean", name)
		}
		if name == "debian" {
			sample = []byte(r.out)
		}
	}
	if states[cyclonedx.IASExploitable] == 0 || states[cyclonedx.IASInTriage] == 0 || unknown == 0 {
		t.Errorf("too plain: %v, %d properties", states, unknown)
	}
	for path, value := range map[string]any{"bomFormat": "other", "specVersion": nil, "vulnerabilities.analysis.state": "affected", "components.type": "package", "news": 1} {
		if s.Judge(t, schematest.Changed(t, sample, path, value)) == nil {
			t.Errorf("with %s = %v it passes", path, value)
		}
	}
}
