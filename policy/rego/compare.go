package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
	"github.com/patchwrit/patchwrit/refusal"
)

// directions is in which direction a setting of the standard rules makes them
// stricter: a set by growing, a number by rising. That holds of the standard
// rules only (TestTighterSettingsAreNowhereMilder); other rules may use a name
// of this list for anything.
var directions = map[string]bool{"deferred_most": true, "needs_known": true, "tags_reviewed": true, "tags_windowed": true}

// text is what a bundle says, taken apart: constants of the package patchwrit,
// and everything else, each definition by its syntax tree.
type text struct {
	settings map[string]ast.Value
	rest     map[string]definition // by its key
	data     string                // canonical JSON, with whatever is no Rego
}

type definition struct{ name, shown string }

// textOf takes a bundle apart. Comments, order and layout are no part of it.
func textOf(b *bundle.Bundle) (text, error) {
	t := text{settings: map[string]ast.Value{}, rest: map[string]definition{}}
	constant := map[string]int{}
	for _, m := range b.Modules {
		for _, r := range m.Parsed.Rules {
			constant[m.Parsed.Package.Path.String()+"."+r.Head.Ref().String()]++
		}
	}
	for _, m := range b.Modules {
		imports, err := json.Marshal(m.Parsed.Imports)
		if err != nil {
			return t, err
		}
		pkg := m.Parsed.Package.Path.String()
		for _, r := range m.Parsed.Rules {
			name := r.Head.Ref().String()
			if v, ok := constantOf(r); ok && pkg == "data.patchwrit" && constant[pkg+"."+name] == 1 {
				t.settings[name] = v
				continue
			}
			tree, err := json.Marshal(r)
			if err != nil {
				return t, err
			}
			shown := r.String()
			t.rest[pkg+"\x00"+string(imports)+"\x00"+string(tree)] = definition{strings.TrimPrefix(pkg, "data.") + "." + name, shown[:min(len(shown), 200)]}
		}
	}
	raw, err := json.Marshal(map[string]any{"data": b.Data, "wasm": b.WasmModules, "plans": b.PlanModules})
	t.data = string(raw)
	return t, err
}

// constantOf is the value of a rule that says nothing but one.
func constantOf(r *ast.Rule) (ast.Value, bool) {
	if r.Default || r.Else != nil || len(r.Head.Args) > 0 || r.Head.Key != nil || r.Head.Value == nil || len(r.Body) != 1 || !r.Body[0].Equal(ast.NewExpr(ast.BooleanTerm(true))) {
		return nil, false
	}
	if _, err := ast.JSON(r.Head.Value.Value); err != nil { // no reference, call or comprehension
		return nil, false
	}
	return r.Head.Value.Value, true
}

// standardText is the standard rules of this program.
func standardText() (text, error) {
	b, err := unsigned(standard.Rules)
	if err != nil {
		return text{}, err
	}
	return textOf(&b)
}

// OpenUnverified compiles a bundle file without asking who signed it: for
// comparing and testing rules only, and for bundles that were verified before.
func OpenUnverified(ctx context.Context, file []byte) (*Engine, error) {
	b, err := readUnverified(file)
	if err != nil {
		return nil, err
	}
	e, err := compile(ctx, &b, canon.SumFile(file))
	if err != nil {
		return nil, err
	}
	e.file = file
	return e, nil
}

func readUnverified(file []byte) (bundle.Bundle, error) {
	if len(file) > MaxBundle {
		return bundle.Bundle{}, refusal.New(codeBundle, "%d bytes, limit %d", len(file), MaxBundle)
	}
	b, err := bundle.NewCustomReader(bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(file), "")).
		WithSkipBundleVerification(true).WithRegoVersion(ast.RegoV1).WithSizeLimitBytes(MaxBundle).Read()
	if err != nil {
		return b, refusal.New(codeBundle, "%v", err)
	}
	return b, nil
}

// Unsigned compiles the .rego files of rules as Sign would pack them. Its digest
// is empty: nothing pins it.
func Unsigned(ctx context.Context, rules fs.FS) (*Engine, error) {
	b, err := unsigned(rules)
	if err != nil {
		return nil, refusal.New(codeBundle, "%v", err)
	}
	return compile(ctx, &b, "")
}

// maxFindings is how many counterexamples are told: one for each kind of
// milder answer, and no more than a person reads.
const maxFindings = 12

// Compare says how now stands to old: what it says otherwise, and over which
// of the cases (policy.Corpus) its answers are milder. A finding is a proof of
// weakening. No finding is no proof of none: what is not the standard rules with
// tightened settings MayBeWeaker.
func Compare(ctx context.Context, old, now *Engine, cases []policy.Case) (policy.Comparison, error) {
	c := policy.Comparison{Old: old.digest, New: now.digest, Why: []string{}, Settings: []policy.Setting{}, Rules: []policy.RuleChange{}, Findings: []policy.Finding{}}
	std, err := standardText()
	if err != nil {
		return c, err
	}
	c.Settings, c.Rules = settingsOf(old.text, now.text), rulesOf(old.text, now.text)
	if len(c.Settings) > 0 || !sameRest(old.text, now.text) { // else they answer alike, whatever they are asked
		asking := comparing{&c, map[string]bool{}}
		if err := asking.ask(ctx, old, now, cases); err != nil {
			return c, err
		}
	}
	judge(&c, old.text, now.text, std)
	return c, nil
}

// judge gives the standing.
func judge(c *policy.Comparison, old, now, std text) {
	ours := sameRest(now, std) && sameRest(old, std)
	loosened := false
	for _, s := range c.Settings {
		loosened = loosened || s.Is == "weaker"
	}
	why := func(format string, args ...any) { c.Why = append(c.Why, fmt.Sprintf(format, args...)) }
	if c.Weaker > 0 {
		why("%d of %d inputs get a milder answer", c.Weaker, c.Asked)
	}
	if ours && loosened {
		why("a setting of the standard rules is loosened")
	}
	switch {
	case len(c.Why) > 0:
		c.Is = policy.Weaker
	case len(c.Settings) == 0 && sameRest(old, now):
		c.Is = policy.Same
	case ours && !slices.ContainsFunc(c.Settings, func(s policy.Setting) bool { return s.Is != "stricter" }):
		c.Is = policy.Stricter
		why("known settings of the standard rules are tightened, and nothing else")
	default:
		c.Is = policy.MayBeWeaker
		if len(c.Rules) > 0 {
			why("%d definitions of rules went or came; no list of inputs can show that they are nowhere milder", len(c.Rules))
		}
		if old.data != now.data {
			why("the bundle's data differ")
		}
		if len(c.Rules) == 0 && len(c.Settings) > 0 {
			why("settings differ whose effect is not known here: the rules are not this program's standard rules, or the setting is none of theirs")
		}
	}
}

func sameRest(a, b text) bool {
	return a.data == b.data && maps.Equal(a.rest, b.rest)
}

func settingsOf(old, now text) []policy.Setting {
	out := []policy.Setting{}
	names := maps.Clone(old.settings)
	maps.Copy(names, now.settings)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := old.settings[name], now.settings[name]
		if a != nil && b != nil && a.Compare(b) == 0 {
			continue
		}
		out = append(out, policy.Setting{Name: name, Old: shown(a), New: shown(b), Is: moved(name, a, b)})
	}
	return out
}

func shown(v ast.Value) string {
	if v == nil {
		return ""
	}
	return v.String()
}

// moved is the direction in which a known setting went.
func moved(name string, a, b ast.Value) string {
	if !directions[name] {
		return "unknown"
	}
	up, down := false, false
	switch a := a.(type) {
	case ast.Set:
		b, ok := b.(ast.Set)
		if !ok {
			return "unknown"
		}
		up, down = b.Diff(a).Len() > 0, a.Diff(b).Len() > 0
	case ast.Number:
		b, ok := b.(ast.Number)
		if !ok {
			return "unknown"
		}
		up, down = b.Compare(a) > 0, b.Compare(a) < 0
	}
	switch {
	case down: // also when something came beside it
		return "weaker"
	case up:
		return "stricter"
	}
	return "unknown"
}

func rulesOf(old, now text) []policy.RuleChange {
	out := []policy.RuleChange{}
	add := func(from, without text, is string) {
		for key, d := range from.rest {
			if _, both := without.rest[key]; !both {
				out = append(out, policy.RuleChange{Rule: d.name, Is: is, Text: d.shown})
			}
		}
	}
	add(old, now, "gone")
	add(now, old, "new")
	slices.SortFunc(out, func(a, b policy.RuleChange) int {
		return strings.Compare(a.Rule+"\x00"+a.Is+a.Text, b.Rule+"\x00"+b.Is+b.Text)
	})
	return out
}

// comparing is a comparison in the making.
type comparing struct {
	*policy.Comparison
	kinds map[string]bool
}

// ask has both bundles answer every case once.
func (c comparing) ask(ctx context.Context, old, now *Engine, cases []policy.Case) error {
	seen := map[canon.Digest]bool{}
	for _, one := range cases {
		raw := one.Input.Bytes()
		d := policy.InputDigest(raw)
		if seen[d] {
			continue
		}
		seen[d] = true
		said, err := old.bound(ctx, one.Input, raw)
		if err != nil {
			return err
		}
		says, err := now.bound(ctx, one.Input, raw)
		if err != nil {
			return err
		}
		c.Asked++
		milder := says.WeakerThan(said)
		switch {
		case len(milder) > 0:
			c.Weaker++
			c.found(one, said, says, milder)
		case len(said.WeakerThan(says)) > 0:
			c.Stricter++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// found keeps the first counterexample of each kind.
func (c comparing) found(one policy.Case, said, says policy.Verdict, milder []string) {
	f := policy.Finding{Case: one.Name, Said: said.Ruling(), Says: says.Ruling(), In: milder, Gone: said.Spoke(says), Input: one.Input}
	kind := string(said.Outcome+" "+says.Outcome) + " " + strings.Join(f.Gone, " ")
	if c.kinds[kind] || len(c.Findings) >= maxFindings {
		return
	}
	c.kinds[kind] = true
	c.Findings = append(c.Findings, f)
}
