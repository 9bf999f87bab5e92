package laws

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
)

var code = regexp.MustCompile(`^PW-[A-Z0-9]+(-[A-Z0-9]+)+$`)

// TestEveryRefusalIsInTheCatalogue ties the codes in the source to the
// catalogue, both ways.
func TestEveryRefusalIsInTheCatalogue(t *testing.T) {
	used := map[refusal.Code]bool{}
	fset := token.NewFileSet()
	for pkg, files := range sources(t, fset) {
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				s, err := strconv.Unquote(lit.Value)
				if err != nil || !code.MatchString(s) {
					return true
				}
				used[refusal.Code(s)] = true
				if e := explain.Of(refusal.Code(s)); e.Title == "refused" {
					t.Errorf("%s: %s (in %s) is not in refusal/catalogue.txt", fset.Position(lit.Pos()), s, pkg)
				}
				return true
			})
		}
	}
	seen := map[refusal.Code]bool{}
	for _, e := range explain.All() {
		switch {
		case seen[e.Code]:
			t.Errorf("%s stands twice in the catalogue", e.Code)
		case !used[e.Code]:
			t.Errorf("%s is in the catalogue and used nowhere", e.Code)
		case e.Title == "" || e.Text == "" || e.Next == "" || !code.MatchString(string(e.Code)):
			t.Errorf("%s: code, title, why and next must all be there", e.Code)
		}
		seen[e.Code] = true
	}
}

// TestKernelStaysSmall counts the lines of the kernel that hold code: what a
// host must trust has to be readable in a day.
func TestKernelStaysSmall(t *testing.T) {
	const limit = 3000
	rooms, total := readPlan(t), 0
	for name, r := range rooms {
		if r.ring != "kernel" {
			continue
		}
		paths, err := filepath.Glob(filepath.Join(root, name, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range paths {
			if !strings.HasSuffix(p, "_test.go") {
				n += codeLines(t, p)
			}
		}
		t.Logf("%-10s %5d lines of code", name, n)
		total += n
	}
	t.Logf("%-10s %5d of %d", "kernel", total, limit)
	if total > limit {
		t.Errorf("the kernel has %d lines of code, the limit is %d", total, limit)
	}
}

// codeLines counts lines that hold at least one token, without the package
// clause and the imports.
func codeLines(t *testing.T, path string) int {
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	file := fset.AddFile(path, -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, 0)
	lines, imports := map[int]bool{}, 0
	parsed, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		imports = strings.Count(string(src[:d.End()-1]), "\n") + 1
	}
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return len(lines)
		}
		if tok == token.SEMICOLON && lit == "\n" {
			continue
		}
		first := fset.Position(pos).Line
		if first <= imports || tok == token.PACKAGE {
			continue
		}
		for i := range strings.Count(lit, "\n") + 1 {
			lines[first+i] = true
		}
	}
}
