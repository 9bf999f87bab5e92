package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"

	"github.com/patchwrit/patchwrit/policy/rego"
)

// rules is a room of Rego: its rules, and the test_ rules that judge them. All
// of it runs in this process.
type rules struct {
	sources map[string][]byte
	tests   []string // queries, the one that noticed most first
	noticed map[string]int
}

// errStillborn says that a mutant does not compile: no bundle could hold it.
var errStillborn = errors.New("it does not compile")

// testRules takes each rule, condition, comparison and constant of a room of Rego
// out or changes it, one at a time, and runs the room's own test_ rules and
// nothing else: who copies the rules copies these tests with them.
func testRules(ctx context.Context, r room) ([]result, error) {
	all, err := readRules(os.DirFS(r.path))
	if err != nil {
		return nil, err
	}
	return all.judge(ctx, r.path)
}

// judge runs the tests for each mutant, after they were green without any. Its
// files are named below at.
func (all *rules) judge(ctx context.Context, at string) ([]result, error) {
	if name, err := all.red(ctx, nil); err != nil || name != "" {
		return nil, fmt.Errorf("with every rule in place %s is red (%v)", name, err)
	}
	results := []result{}
	for _, m := range all.mutants() {
		one := m
		one.file = path.Join(at, m.file)
		name, err := all.red(ctx, &m)
		if errors.Is(err, errStillborn) {
			continue
		}
		if err != nil {
			return nil, err
		}
		results = append(results, result{m: one, killed: name != "", met: -1})
	}
	if len(results) == 0 {
		return nil, errors.New("no condition found: is the room still there?")
	}
	return results, nil
}

// readRules reads the .rego files at the top of dir.
func readRules(dir fs.FS) (*rules, error) {
	names, err := fs.Glob(dir, "*.rego")
	if err != nil {
		return nil, err
	}
	all := &rules{sources: map[string][]byte{}, noticed: map[string]int{}}
	for _, name := range names {
		src, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		all.sources[name] = src
		m, err := parseRego(name, src)
		if err != nil {
			return nil, err
		}
		for _, r := range m.Rules {
			if test := r.Head.Name.String(); strings.HasSuffix(name, "_test.rego") && strings.HasPrefix(test, "test_") {
				all.tests = append(all.tests, m.Package.Path.String()+"."+test)
			}
		}
	}
	if slices.Sort(all.tests); len(all.tests) == 0 {
		return nil, errors.New("no test_ rule found")
	}
	return all, nil
}

func parseRego(name string, src []byte) (*ast.Module, error) {
	return ast.ParseModuleWithOpts(name, string(src), ast.ParserOptions{RegoVersion: ast.RegoV1})
}

// red names the first test that does not pass with m applied ("": all pass).
func (all *rules) red(ctx context.Context, m *mutant) (string, error) {
	modules := map[string]*ast.Module{}
	for name, src := range all.sources {
		if m != nil && m.file == name {
			src = slices.Concat(src[:m.start], []byte(m.with), src[m.end:])
		}
		parsed, err := parseRego(name, src)
		if err != nil {
			return "", fmt.Errorf("%w: %v", errStillborn, err)
		}
		modules[name] = parsed
	}
	compiler := ast.NewCompiler().WithCapabilities(rego.Capabilities())
	if compiler.Compile(modules); compiler.Failed() {
		return "", fmt.Errorf("%w: %v", errStillborn, compiler.Errors)
	}
	for _, test := range all.tests {
		limited, stop := context.WithTimeout(ctx, rego.Timeout)
		said, err := oparego.New(oparego.Query(test), oparego.Compiler(compiler), oparego.StrictBuiltinErrors(true)).Eval(limited)
		stop()
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil || len(said) != 1 || said[0].Expressions[0].Value != true {
			all.noticed[test]++
			slices.SortStableFunc(all.tests, func(a, b string) int { return all.noticed[b] - all.noticed[a] })
			return test, nil
		}
	}
	return "", nil
}

// mutants lists what can be changed, file by file, in the order of the text.
func (all *rules) mutants() []mutant {
	out := []mutant{}
	for name, src := range all.sources {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		m, err := parseRego(name, src)
		if err != nil {
			panic(err) // readRules has parsed it
		}
		for _, r := range m.Rules {
			c := changer{file: name, src: src, rule: labelOf(r)}
			c.whole(r)
			c.visit(r)
			out = append(out, c.out...)
		}
	}
	slices.SortFunc(out, func(a, b mutant) int {
		return strings.Compare(a.file+fmt.Sprintf("%08d%08d", a.start, a.end)+a.with, b.file+fmt.Sprintf("%08d%08d", b.start, b.end)+b.with)
	})
	seen := map[string]int{}
	for i, m := range out { // an excuse is for one of them
		if seen[m.name()]++; seen[m.name()] > 1 {
			out[i].cond += fmt.Sprintf(" (%d)", seen[m.name()])
		}
	}
	return out
}

// labelOf names a rule; of a partial set of reasons, by the reason's rule too.
func labelOf(r *ast.Rule) string {
	label := r.Head.Ref().String()
	if r.Head.Key != nil {
		if o, ok := r.Head.Key.Value.(ast.Object); ok {
			if t := o.Get(ast.StringTerm("rule")); t != nil {
				label += " " + strings.Trim(t.Value.String(), `"`)
			}
		}
	}
	return label
}

// changer collects the mutants of one rule.
type changer struct {
	file string
	src  []byte
	rule string
	out  []mutant
}

func (c *changer) add(what string, start, end int, with string) {
	was := string(c.src[start:end])
	if what == "" {
		what = fmt.Sprintf("%s becomes %s", was, with)
	} else {
		what += " " + was
	}
	c.out = append(c.out, mutant{file: c.file, line: 1 + strings.Count(string(c.src[:start]), "\n"), fn: c.rule, cond: what, start: start, end: end, with: with})
}

// span is where a node stands; false for one that the parser made up.
func (c *changer) span(l *ast.Location) (int, int, bool) {
	if l == nil || len(l.Text) == 0 || l.Offset+len(l.Text) > len(c.src) || string(c.src[l.Offset:l.Offset+len(l.Text)]) != string(l.Text) {
		return 0, 0, false
	}
	return l.Offset, l.Offset + len(l.Text), true
}

// whole takes the rule out.
func (c *changer) whole(r *ast.Rule) {
	if start, end, ok := c.span(r.Location); ok {
		c.add("without", start, end, "")
	}
}

// visit walks a rule, its else branches included.
func (c *changer) visit(node any) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			c.expr(x)
		case *ast.Term:
			return c.term(x)
		case ast.Ref: // names in it are no constants
			c.inRef(x)
			return true
		}
		return false
	}).Walk(node)
}

// inRef walks what a reference begins with, unless that is a name.
func (c *changer) inRef(r ast.Ref) {
	if len(r) > 0 {
		if _, name := r[0].Value.(ast.Var); !name {
			c.visit(r[0])
		}
	}
}

// expr drops and negates a condition and moves its comparison.
func (c *changer) expr(e *ast.Expr) {
	start, end, ok := c.span(e.Location)
	if _, some := e.Terms.(*ast.SomeDecl); !ok || some || e.IsAssignment() || e.Equal(ast.NewExpr(ast.BooleanTerm(true))) {
		return
	}
	c.add("without", start, end, "true")
	text := string(c.src[start:end])
	if bare, negated := strings.CutPrefix(text, "not "); negated {
		c.add("", start, end, bare)
	} else if !e.IsEvery() {
		c.add("", start, end, "not "+text)
	}
	if terms, ok := e.Terms.([]*ast.Term); ok && len(terms) == 3 {
		c.operator(terms[0], terms[1], terms[2])
	}
}

// moved is what an operator, or a function by its name, becomes.
var moved = map[string][]string{
	"==": {"!="}, "!=": {"=="}, "<": {"<=", ">"}, "<=": {"<", ">="}, ">": {">=", "<"}, ">=": {">", "<="},
	"+": {"-"}, "-": {"+"}, "|": {"&"}, "&": {"|"}, "max": {"min"}, "min": {"max"},
}

// operator moves the infix operator between two terms.
func (c *changer) operator(op, a, b *ast.Term) {
	_, start, ok1 := c.span(a.Location)
	end, _, ok2 := c.span(b.Location)
	if !ok1 || !ok2 || start >= end {
		return
	}
	between := string(c.src[start:end])
	sign := strings.TrimSpace(between)
	for _, to := range moved[sign] {
		c.add("", a.Location.Offset, b.Location.Offset+len(b.Location.Text), string(c.src[a.Location.Offset:start])+strings.Replace(between, sign, to, 1)+string(c.src[end:end+len(b.Location.Text)]))
	}
}

// term changes a constant and moves the operator of a call; true: what stands
// below is done.
func (c *changer) term(t *ast.Term) bool {
	start, end, ok := c.span(t.Location)
	switch v := t.Value.(type) {
	case ast.String:
		if ok && c.src[start] == '"' {
			c.add("", start, end, `"mutant"`)
		}
	case ast.Number:
		if n, whole := v.Int(); ok && whole {
			c.add("", start, end, strconv.Itoa(n+1))
		}
	case ast.Boolean:
		if ok {
			c.add("", start, end, strconv.FormatBool(!bool(v)))
		}
	case ast.Set:
		c.elements(v)
		return true
	case ast.Object:
		c.object(v)
		return true
	case ast.Call:
		c.call(v, start, end, ok)
		return true
	}
	return false
}

// elements changes each element of a set that is written down.
func (c *changer) elements(s ast.Set) {
	s.Foreach(func(t *ast.Term) { c.visit(t) })
}

// object changes each value, and leaves the words of a reason alone: they are
// for people and decide nothing. Of a value that is all constants the keys are
// changed too.
func (c *changer) object(o ast.Object) {
	o.Foreach(func(k, v *ast.Term) {
		if k.Value.Compare(ast.String("text")) == 0 {
			return
		}
		if o.IsGround() && o.Get(ast.StringTerm("rule")) == nil {
			c.visit(k)
		}
		c.visit(v)
	})
}

// call moves the operator, or the function for its counterpart, and goes on
// below.
func (c *changer) call(v ast.Call, start, end int, ok bool) {
	if name := v[0].Value.String(); ok && strings.HasPrefix(string(c.src[start:end]), name+"(") {
		for _, to := range moved[name] {
			c.add("", start, end, to+strings.TrimPrefix(string(c.src[start:end]), name))
		}
	} else if len(v) == 3 {
		c.operator(v[0], v[1], v[2])
	}
	for _, arg := range v[1:] {
		c.visit(arg)
	}
}
