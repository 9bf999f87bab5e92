package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// room is one line of rooms.txt: a package, which conditions count, whose tests
// judge, and arguments for the test binary.
type room struct {
	path     string
	tests    string // package whose tests judge; the room itself unless tests=… says otherwise
	refusals bool   // only conditions that end in refusal.New, not every returned error
	targeted bool   // each mutant meets only the tests in which its condition was true
	e2e      bool   // with real Debian roots
	rego     bool   // rules in Rego, whose own test_ rules judge
	args     []string
}

func rooms(text string) []room {
	var all []room
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		r := room{path: f[0], tests: f[0], refusals: f[1] == "refusals", rego: f[1] == "rego"}
		for _, arg := range f[2:] {
			elsewhere, ok := strings.CutPrefix(arg, "tests=")
			switch {
			case ok:
				r.tests = elsewhere
			case arg == "targeted":
				r.targeted = true
			case arg == "e2e":
				r.targeted, r.e2e = true, true
			default:
				r.args = append(r.args, arg)
			}
		}
		all = append(all, r)
	}
	return all
}

// equivalents reads "name | reason" lines.
func equivalents(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		name, reason, ok := strings.Cut(strings.TrimSpace(line), " | ")
		if ok && !strings.HasPrefix(name, "#") {
			all[name] = reason
		}
	}
	return all
}

// mutant is one condition that can be made false.
type mutant struct {
	number int
	file   string // below the module's root
	line   int
	fn     string
	cond   string // source text
	start  int    // offsets of the condition
	end    int
	with   string // Rego: what stands there instead
}

func (m mutant) name() string {
	return m.file + ": " + m.fn + ": " + strings.Join(strings.Fields(m.cond), " ")
}

// mutate writes the overlay of a room and returns its mutants.
func mutate(r room, dir string) ([]mutant, string, error) {
	paths, err := filepath.Glob(filepath.Join(r.path, "*.go"))
	if err != nil {
		return nil, "", err
	}
	sort.Strings(paths)
	replace, all, pkg := map[string]string{}, []mutant{}, ""
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, src, 0)
		if err != nil {
			return nil, "", err
		}
		pkg = file.Name.Name
		found := find(fset, file, src, filepath.ToSlash(path), r.refusals, len(all))
		all = append(all, found...)
		out := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(out, rewrite(src, found), 0o600); err != nil {
			return nil, "", err
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, "", err
		}
		replace[abs] = out
	}
	overlay, err := finish(r, dir, pkg, replace)
	return all, overlay, err
}

// The marks that a copy of the test binary is patched at: which check is taken
// out, and where to write which conditions were true. An environment variable
// would not reach the processes that the package manager starts.
const (
	markNumber = "PATCHWRIT-MUTANT-00000000"
	markSeen   = "PATCHWRIT-SEEN-AT-"
	seenRoom   = 240 // bytes for the path
)

const switchSource = `package %s

import (
	mutantos "os"
	mutantconv "strconv"
	mutantstrings "strings"
)

var (
	mutantMark   = %q
	mutantSeenAt = %q
	mutantNumber = func() int { n, _ := mutantconv.Atoi(mutantMark[len(mutantMark)-8:]); return n }()
)

// mutantHolds is a condition: false when it is taken out. That it was true is
// written down for who wants to know which test meets it.
func mutantHolds(n int, cond bool) bool {
	if path := mutantstrings.TrimRight(mutantSeenAt[%d:], " "); cond && path != "" {
		if f, err := mutantos.OpenFile(path, mutantos.O_WRONLY|mutantos.O_APPEND|mutantos.O_CREATE, 0o666); err == nil {
			f.WriteString(mutantconv.Itoa(n) + "\n")
			f.Close()
		}
	}
	return cond && n != mutantNumber
}
`

// finish adds the file that holds the switch and writes the overlay's JSON.
func finish(r room, dir, pkg string, replace map[string]string) (string, error) {
	added := fmt.Sprintf(switchSource, pkg, markNumber, markSeen+strings.Repeat(" ", seenRoom), len(markSeen))
	out := filepath.Join(dir, "mutantswitch.go")
	if err := os.WriteFile(out, []byte(added), 0o600); err != nil {
		return "", err
	}
	abs, err := filepath.Abs(filepath.Join(r.path, "mutantswitch.go"))
	if err != nil {
		return "", err
	}
	replace[abs] = out
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, raw, 0o600)
}

// patch writes a copy of the test binary with one check taken out (0: none),
// that notes the conditions that were true in the file seen ("": nowhere).
func patch(binary []byte, to string, number int, seen string) error {
	if len(seen) > seenRoom {
		return fmt.Errorf("the path %q is too long", seen)
	}
	out := bytes.Clone(binary)
	for mark, with := range map[string]string{
		markNumber:                               fmt.Sprintf("%s%08d", markNumber[:len(markNumber)-8], number),
		markSeen + strings.Repeat(" ", seenRoom): markSeen + seen + strings.Repeat(" ", seenRoom-len(seen)),
	} {
		if n := bytes.Count(out, []byte(mark)); n != 1 {
			return fmt.Errorf("the mark %q stands %d times in the test binary", strings.TrimSpace(mark), n)
		}
		out = bytes.Replace(out, []byte(mark), []byte(with), 1)
	}
	return os.WriteFile(to, out, 0o755) // a box starts it as nobody
}

// rewrite puts "mutantHolds(n, cond)" where each condition stands.
func rewrite(src []byte, ms []mutant) []byte {
	var out bytes.Buffer
	at := 0
	for _, m := range ms {
		out.Write(src[at:m.start])
		fmt.Fprintf(&out, "mutantHolds(%d, %s)", m.number, m.cond)
		at = m.end
	}
	out.Write(src[at:])
	return out.Bytes()
}

// find lists the conditions of a file that end in a refusal: of an if, or of
// one expression of a case in a switch without a tag.
func find(fset *token.FileSet, file *ast.File, src []byte, path string, refusals bool, from int) []mutant {
	var all []mutant
	add := func(fn string, cond ast.Expr) {
		start, end := fset.Position(cond.Pos()), fset.Position(cond.End())
		all = append(all, mutant{file: path, line: start.Line, fn: fn, cond: string(src[start.Offset:end.Offset]), start: start.Offset, end: end.Offset})
	}
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		says := fails(fn.Type)
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return true
			case *ast.IfStmt:
				if says != "" && refuses(n.Body.List, says, refusals) {
					add(fn.Name.Name, n.Cond)
				}
			case *ast.SwitchStmt:
				if n.Tag != nil || says == "" {
					return true
				}
				for _, c := range n.Body.List {
					clause := c.(*ast.CaseClause)
					if refuses(clause.Body, says, refusals) {
						for _, e := range clause.List {
							add(fn.Name.Name, e)
						}
					}
				}
			}
			return true
		})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].start < all[j].start })
	all = outermost(all)
	for i := range all {
		all[i].number = from + i + 1
	}
	return all
}

// outermost drops conditions that stand inside another one.
func outermost(ms []mutant) []mutant {
	var out []mutant
	for _, m := range ms {
		if n := len(out); n == 0 || m.start >= out[n-1].end {
			out = append(out, m)
		}
	}
	return out
}

// fails tells how a function says no: "error", "bool", or "" when it cannot.
func fails(t *ast.FuncType) string {
	if t.Results == nil || len(t.Results.List) == 0 {
		return ""
	}
	last, ok := t.Results.List[len(t.Results.List)-1].Type.(*ast.Ident)
	if ok && (last.Name == "error" || last.Name == "bool") {
		return last.Name
	}
	return ""
}

// refuses reports whether statements end in a return that says no.
func refuses(body []ast.Stmt, says string, refusals bool) bool {
	if len(body) == 0 {
		return false
	}
	ret, ok := body[len(body)-1].(*ast.ReturnStmt)
	if !ok || len(ret.Results) == 0 {
		return false
	}
	last := ret.Results[len(ret.Results)-1]
	id, isIdent := last.(*ast.Ident)
	switch {
	case says == "bool":
		return !refusals && isIdent && id.Name == "false"
	case refusals:
		return callsRefusal(last)
	}
	return !isIdent || id.Name != "nil"
}

func callsRefusal(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "refusal" && sel.Sel.Name == "New"
}
