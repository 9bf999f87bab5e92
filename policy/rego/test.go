package rego

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/patchwrit/patchwrit/refusal"
)

// Tests is what a run of test_ rules found. Its JSON is stable.
type Tests struct {
	Passed   int          `json:"passed"`
	Failed   int          `json:"failed"`
	Skipped  int          `json:"skipped"`
	Covered  int          `json:"covered_lines"` // of the rules, tests left out
	Open     int          `json:"not_covered_lines"`
	Percent  int          `json:"coverage"` // whole percent, rounded down
	Tests    []TestResult `json:"tests"`    // by package and name
	Uncovers []string     `json:"not_covered"`
}

// TestResult is one test_ rule.
type TestResult struct {
	Name string `json:"name"` // package.rule
	File string `json:"file"`
	Line int    `json:"line"`
	Is   string `json:"is"` // passed, failed, skipped, error
	Why  string `json:"why"`
}

// Test runs the test_ rules of the .rego files in rules as `opa test` does:
// todo_test_ rules are skipped. Rules and tests get the built-ins that a signed
// bundle gets. The error says why nothing could be run.
func Test(ctx context.Context, rules fs.FS) (Tests, error) {
	modules, err := modulesOf(rules)
	if err != nil {
		return Tests{}, refusal.New(codeRules, "%v", err)
	}
	return test(ctx, modules, map[string]any{})
}

// TestBundle runs the tests in tests (its *_test.rego files; no other file counts)
// against the rules and data of a bundle file, whoever signed it.
func TestBundle(ctx context.Context, file []byte, tests fs.FS) (Tests, error) {
	b, err := readUnverified(file)
	if err != nil {
		return Tests{}, err
	}
	found, err := modulesOf(tests)
	if err != nil {
		return Tests{}, refusal.New(codeRules, "%v", err)
	}
	modules := map[string]*ast.Module{}
	for path, m := range found {
		if strings.HasSuffix(path, "_test.rego") {
			modules[path] = m
		}
	}
	for _, m := range b.Modules {
		modules["bundle:"+m.Path] = m.Parsed
	}
	return test(ctx, modules, b.Data)
}

// test runs the test_ rules of modules.
func test(ctx context.Context, modules map[string]*ast.Module, data map[string]any) (Tests, error) {
	files, named := []bundle.ModuleFile{}, map[string]*ast.Module{}
	for path, m := range modules {
		files, named[path] = append(files, bundle.ModuleFile{Path: path, Parsed: m}), m
	}
	slices.SortFunc(files, func(a, b bundle.ModuleFile) int { return strings.Compare(a.Path, b.Path) })
	if err := onlyAllowed(files); err != nil {
		return Tests{}, err
	}
	c := Capabilities()
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if b.Name == "internal.test_case" {
			c.Builtins = append(c.Builtins, b) // OPA's tester itself asks for it
		}
	}
	compiler, traced := ast.NewCompiler().WithCapabilities(c).WithSchemas(inputSchema()), cover.New()
	results, err := tester.NewRunner().SetCompiler(compiler).SetModules(named).SetStore(inmem.NewFromObject(data)).SetDefaultRegoVersion(ast.RegoV1).
		SetTimeout(Timeout).RaiseBuiltinErrors(true).SetCoverageQueryTracer(traced).RunTests(ctx, nil)
	if err != nil {
		return Tests{}, refusal.New(codeRules, "%v", err)
	}
	out := Tests{Tests: []TestResult{}, Uncovers: []string{}}
	for r := range results {
		out.add(r)
	}
	slices.SortFunc(out.Tests, func(a, b TestResult) int { return strings.Compare(a.Name, b.Name) })
	out.cover(traced.Report(named))
	return out, nil
}

func (t *Tests) add(r *tester.Result) {
	one := TestResult{Name: strings.TrimPrefix(r.Package, "data.") + "." + r.Name, File: r.Location.File, Line: r.Location.Row, Is: "passed"}
	switch {
	case r.Skip:
		one.Is = "skipped"
		t.Skipped++
	case r.Error != nil:
		one.Is, one.Why = "error", r.Error.Error()
		t.Failed++
	case r.Fail:
		one.Is, one.Why = "failed", "the rule is not true"
		t.Failed++
	default:
		t.Passed++
	}
	t.Tests = append(t.Tests, one)
}

// cover counts the lines of rules; those of tests say nothing.
func (t *Tests) cover(r cover.Report) {
	for path, f := range r.Files {
		if strings.HasSuffix(path, "_test.rego") {
			continue
		}
		t.Covered += f.CoveredLines
		t.Open += f.NotCoveredLines
		for _, x := range f.NotCovered {
			t.Uncovers = append(t.Uncovers, fmt.Sprintf("%s:%d", path, x.Start.Row))
		}
	}
	slices.Sort(t.Uncovers)
	if n := t.Covered + t.Open; n > 0 {
		t.Percent = 100 * t.Covered / n
	}
}

func modulesOf(rules fs.FS) (map[string]*ast.Module, error) {
	out := map[string]*ast.Module{}
	err := fs.WalkDir(rules, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".rego") {
			return err
		}
		raw, err := fs.ReadFile(rules, path)
		if err != nil {
			return err
		}
		out[path], err = ast.ParseModuleWithOpts(path, string(raw), ast.ParserOptions{RegoVersion: ast.RegoV1})
		return err
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("there is no .rego file")
	}
	return out, err
}
