// Package laws holds the tests that keep the repository's shape: which
// package may import which, what a pure package may touch, and how long a
// function may grow. Change the plan on purpose, never to quiet a build.
package laws

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/patchwrit/patchwrit/"
	root   = "../.."
)

// plan is the floor plan. Each line reads "ring room: rooms it may import".
// A ring name in capitals stands for every room of that ring listed above.
const plan = `
kernel canon:
kernel refusal:
kernel version:
kernel change:         canon version
kernel tlog:           canon refusal
kernel trust:          canon refusal change tlog
kernel approval:       canon refusal change trust
kernel plan:           canon change trust
kernel writ:           canon refusal version change tlog trust approval plan

core   refusal/explain: refusal
core   plan/whole:     canon change plan trust
core   unpack:
core   advisory/strictjson:
core   advisory:       advisory/strictjson canon refusal version change
core   advisory/quarantine: canon refusal version advisory
core   inventory:      canon refusal version change
core   provenance:     canon refusal version change trust unpack
core   artefact:       canon refusal version change unpack
core   match:          canon version change advisory inventory
core   inventory/sbom: canon advisory advisory/strictjson version inventory
core   inventory/rpmfile: inventory
core   match/library:  advisory inventory inventory/sbom match
core   match/flat:     canon refusal advisory match
core   match/fleet:    version advisory inventory match
core   priority:       canon change
core   proposal:       KERNEL advisory inventory match artefact provenance plan/whole
core   advice:         KERNEL advisory advisory/strictjson proposal
core   advice/conduct: KERNEL advisory/strictjson advice
core   advisor/dialect: canon advisory/strictjson
core   advisor/pipe:   canon advisor/dialect
core   visit:          KERNEL advice
core   policy:         KERNEL advisory inventory match proposal artefact
core   evidence:       KERNEL provenance artefact advice advice/conduct proposal policy plan/whole visit
core   restraint:      canon change advice policy priority

edge   trust/ceremony: KERNEL
edge   trust/trusttest: KERNEL trust/ceremony
edge   feed:           canon refusal version advisory advisory/strictjson advisory/quarantine provenance artefact
edge   docs/schema:
edge   advisor/post:   advisor/dialect
edge   advisor:        canon advisory/strictjson advice advisor/dialect
edge   advisor/box:    canon advice advisor advisor/dialect advisor/pipe
edge   policy/rego:    canon refusal change policy docs/schema
edge   pkgmgr:         KERNEL inventory provenance artefact
edge   inventory/rpmdb: version inventory inventory/rpmfile
edge   pkgmgr/apt/solve: KERNEL advisory advisory/quarantine inventory inventory/rpmdb match proposal artefact provenance unpack feed pkgmgr
edge   tlog/writer:    canon refusal tlog
edge   writ/issue:     KERNEL plan/whole
edge   writ/writtest:  KERNEL trust/trusttest plan/whole
edge   identity:       KERNEL plan/whole refusal/explain
edge   witness/ask:    KERNEL
edge   wire:           KERNEL inventory
edge   store:          KERNEL
edge   internal/debworld:

hall   witness:        KERNEL witness/ask
hall   agent:          KERNEL inventory provenance artefact pkgmgr
hall   agent/idle:
hall   agent/parley:   KERNEL inventory
hall   agent/helper:   KERNEL inventory pkgmgr agent agent/parley agent/idle
hall   agent/messenger: KERNEL inventory unpack wire agent/parley agent/idle
hall   control:        KERNEL CORE trust/ceremony feed policy/rego pkgmgr pkgmgr/apt/solve tlog/writer writ/issue witness/ask wire store
hall   mcp:            canon refusal refusal/explain visit
hall   redteam:        KERNEL CORE EDGE agent control witness
`

// forbidden names the standard packages a pure room may not reach for.
var forbidden = map[string]string{
	"os": "I/O", "os/exec": "I/O", "net": "I/O", "net/http": "I/O",
	"database/sql": "I/O", "syscall": "I/O", "unsafe": "memory safety",
	"math/rand": "chance", "math/rand/v2": "chance", "crypto/rand": "chance",
	"log": "side effects", "log/slog": "side effects", "sync": "shared state",
	"context": "waiting",
}

// external lists the only third-party imports of the pure rings.
var external = map[string][]string{
	"plan":          {"golang.org/x/mod/sumdb/tlog"},
	"plan/whole":    {"golang.org/x/mod/sumdb/tlog"},
	"tlog":          {"golang.org/x/mod/sumdb/note", "golang.org/x/mod/sumdb/tlog", "filippo.io/torchwood"},
	"trust":         {"github.com/theupdateframework/go-tuf/v2/metadata", "github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"},
	"provenance":    {"github.com/ProtonMail/go-crypto/openpgp", "github.com/ProtonMail/go-crypto/openpgp/clearsign", "github.com/ProtonMail/go-crypto/openpgp/packet"},
	"unpack":        {"github.com/ulikunitz/xz", "github.com/klauspost/compress/zstd", "github.com/klauspost/compress/gzip"},
	"match/library": {"golang.org/x/mod/semver"},
	"match/fleet":   {"github.com/RoaringBitmap/roaring/v2"},
}

// unreachable names rooms that a binary, or a room, must never link, however
// indirectly. What a model says has no way to what permits, decides or applies.
var unreachable = map[string][]string{
	"advisor":               {"writ/issue", "policy", "policy/rego", "pkgmgr", "pkgmgr/apt", "pkgmgr/apt/solve", "control", "store", "agent", "tlog/writer", "restraint"},
	"advice":                {"writ/issue", "policy", "policy/rego", "pkgmgr", "pkgmgr/apt", "pkgmgr/apt/solve", "control", "store", "agent", "tlog/writer", "restraint"},
	"advice/conduct":        {"writ/issue", "policy", "policy/rego", "pkgmgr", "pkgmgr/apt", "pkgmgr/apt/solve", "control", "store", "agent", "tlog/writer", "restraint"},
	"restraint":             {"writ/issue", "policy/rego", "pkgmgr", "pkgmgr/apt", "control", "store", "agent", "tlog/writer"},
	"advisor/box":           {"advisor/post", "writ/issue", "policy", "policy/rego", "pkgmgr", "pkgmgr/apt", "pkgmgr/apt/solve", "control", "store", "agent", "tlog/writer", "restraint"},
	"cmd/patchwrit-advisor": {"advice", "advisor", "advisor/post", "advisor/box", "proposal", "plan", "trust", "approval", "writ", "writ/issue", "policy", "policy/rego", "pkgmgr", "pkgmgr/apt", "pkgmgr/apt/solve", "control", "store", "agent", "tlog/writer", "restraint", "feed", "wire"},
	"visit":                 {"writ/issue", "policy", "policy/rego", "pkgmgr", "pkgmgr/apt", "pkgmgr/apt/solve", "control", "store", "agent", "tlog/writer", "identity", "identity/softkey", "identity/sshsign", "identity/page", "trust/ceremony", "advisor", "restraint"},
	"mcp":                   {"writ/issue", "policy", "policy/rego", "pkgmgr", "pkgmgr/apt", "pkgmgr/apt/solve", "control", "store", "agent", "tlog/writer", "identity", "identity/softkey", "identity/sshsign", "identity/page", "trust/ceremony", "witness", "witness/ask", "wire", "feed", "advisor", "restraint"},
	"cmd/patchwrit-agent":   {"writ/issue", "control", "console", "store", "advisor", "feed", "match", "match/fleet", "policy", "policy/rego", "pkgmgr/apt/solve", "rollout", "wire/serve"},
	"cmd/patchwrit-witness": {"control", "console", "store", "advisor", "feed", "match", "match/fleet", "policy", "pkgmgr", "writ/issue"},
	"cmd/patchwrit-scan":    {"feed", "pkgmgr", "control", "store", "policy", "wire", "writ/issue", "agent"},
}

type room struct {
	ring string
	may  map[string]bool
}

func readPlan(t *testing.T) map[string]room {
	rooms := map[string]room{}
	for line := range strings.Lines(plan) {
		head, tail, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		f := strings.Fields(head)
		r := room{ring: f[0], may: map[string]bool{}}
		for _, dep := range strings.Fields(tail) {
			if dep == strings.ToUpper(dep) {
				for name, other := range rooms {
					if other.ring == strings.ToLower(dep) {
						r.may[name] = true
					}
				}
				continue
			}
			if _, drawn := rooms[dep]; !drawn {
				t.Fatalf("plan: %s imports %s, which is not drawn above it", f[1], dep)
			}
			r.may[dep] = true
		}
		rooms[f[1]] = r
	}
	return rooms
}

// roomOf finds the room a package lives in: itself, or the nearest parent
// that is drawn. Adapters such as pkgmgr/apt live in their parent's room.
func roomOf(rooms map[string]room, pkg string) string {
	for p := pkg; p != "."; p = path.Dir(p) {
		if _, ok := rooms[p]; ok {
			return p
		}
	}
	return ""
}

// sources returns each package directory with its parsed non-test files. It
// reads every file whatever its build tags, so no platform escapes the law.
func sources(t *testing.T, fset *token.FileSet) map[string][]*ast.File {
	pkgs := map[string][]*ast.File{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "demo" && p == filepath.Join(root, "demo") || strings.HasPrefix(d.Name(), ".git")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel(root, filepath.Dir(p))
		pkgs[filepath.ToSlash(dir)] = append(pkgs[filepath.ToSlash(dir)], f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func imports(files []*ast.File) []string {
	set := map[string]bool{}
	for _, f := range files {
		for _, im := range f.Imports {
			set[strings.Trim(im.Path.Value, `"`)] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func TestEveryImportFollowsThePlan(t *testing.T) {
	rooms, pkgs := readPlan(t), sources(t, token.NewFileSet())
	for pkg, files := range pkgs {
		if strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(pkg, "internal/") {
			continue
		}
		name := roomOf(rooms, pkg)
		if name == "" {
			t.Errorf("%s: not drawn in the plan; give the concept a room or put it in one", pkg)
			continue
		}
		pure := rooms[name].ring == "kernel" || rooms[name].ring == "core"
		for _, imp := range imports(files) {
			first, _, _ := strings.Cut(imp, "/")
			switch ours, ok := strings.CutPrefix(imp, module); {
			case ok:
				to := roomOf(rooms, ours)
				if to != name && !rooms[name].may[to] {
					t.Errorf("%s imports %s: the plan has no door from %s to %s", pkg, ours, name, to)
				}
			case pure && strings.Contains(first, ".") && !slices.Contains(external[name], imp):
				t.Errorf("%s imports %s: the %s ring takes no new dependencies", pkg, imp, rooms[name].ring)
			case pure && forbidden[imp] != "":
				t.Errorf("%s imports %s: pure rooms have no %s", pkg, imp, forbidden[imp])
			}
		}
	}
}

func TestPureRoomsNeverReadTheClock(t *testing.T) {
	fset := token.NewFileSet()
	rooms := readPlan(t)
	for pkg, files := range sources(t, fset) {
		ring := rooms[roomOf(rooms, pkg)].ring
		if ring != "kernel" && ring != "core" {
			continue
		}
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" &&
					slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer", "NewTicker"}, sel.Sel.Name) {
					t.Errorf("%s: time.%s; take now as an argument", fset.Position(n.Pos()), sel.Sel.Name)
				}
				return true
			})
		}
	}
}

func TestBinariesNeverReachForbiddenRooms(t *testing.T) {
	pkgs := sources(t, token.NewFileSet())
	for bin, never := range unreachable {
		seen := map[string]string{}
		var walk func(pkg, via string)
		walk = func(pkg, via string) {
			if _, ok := seen[pkg]; ok {
				return
			}
			seen[pkg] = via
			for _, imp := range imports(pkgs[pkg]) {
				if ours, ok := strings.CutPrefix(imp, module); ok {
					walk(ours, via+" > "+ours)
				}
			}
		}
		walk(bin, bin)
		for _, bad := range never {
			if via, ok := seen[bad]; ok {
				t.Errorf("%s links %s: %s", bin, bad, via)
			}
		}
	}
}

// TestWhatReadsAModelsReplyHasNoNetwork: what a sandboxed process links cannot
// speak to anybody, whatever it is made to do.
func TestWhatReadsAModelsReplyHasNoNetwork(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", root+"/cmd/patchwrit-advisor").Output()
	if err != nil || !slices.Contains(strings.Fields(string(out)), module+"advisor/dialect") {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	for _, pkg := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(pkg, "/")
		if slices.Contains([]string{"net", "net/http", "crypto/tls", "os/exec", "plugin", "C", "runtime/cgo"}, pkg) || strings.Contains(first, ".") && !strings.HasPrefix(pkg, module) {
			t.Errorf("cmd/patchwrit-advisor links %s", pkg)
		}
	}
}

// TestNoProgramReadsAModelsReplyItself: the way without a sandbox is for tests of
// the dialects; what is shipped hands advisor.New nobody who sends.
func TestNoProgramReadsAModelsReplyItself(t *testing.T) {
	fset, seen := token.NewFileSet(), 0
	for pkg, files := range sources(t, fset) {
		if pkg == "advisor" || strings.HasPrefix(pkg, "internal/") {
			continue
		}
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && fmt.Sprint(sel.X) == "advisor" && sel.Sel.Name == "Remote" {
					t.Errorf("%s: advisor.Remote; ask by advisor/box", fset.Position(n.Pos()))
				}
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || fmt.Sprint(sel.X) != "advisor" || sel.Sel.Name != "New" {
					return true
				}
				seen++
				if fmt.Sprint(call.Args[2]) != "nil" {
					t.Errorf("%s: advisor.New with a sender; ask by advisor/box", fset.Position(n.Pos()))
				}
				return true
			})
		}
	}
	if seen == 0 {
		t.Error("nobody calls advisor.New: this law looks at nothing")
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for pkg, files := range sources(t, token.NewFileSet()) {
		docs := 0
		for _, f := range files {
			if f.Doc != nil {
				docs++
			}
		}
		if docs != 1 {
			t.Errorf("%s: %d package comments, want 1", pkg, docs)
		}
	}
}

func TestFunctionsFitOnAScreen(t *testing.T) {
	const limit = 70
	fset := token.NewFileSet()
	for _, files := range sources(t, fset) {
		for _, f := range files {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || ast.IsGenerated(f) {
					continue
				}
				n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
				if n > limit {
					t.Errorf("%s: %s is %d lines, limit %d", fset.Position(fn.Pos()), fn.Name.Name, n, limit)
				}
			}
		}
	}
}

// maxTracked is the size of the largest file that may be committed.
const maxTracked = 1 << 20

// TestNothingBuiltIsTracked: what git tracks is text, and of a size that people
// read.
func TestNothingBuiltIsTracked(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("this is no git checkout: %v", err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join("../..", name))
		if err != nil {
			continue // removed and not yet committed
		}
		if info.Size() > maxTracked {
			t.Errorf("%s is tracked and has %d bytes", name, info.Size())
		}
	}
}

// readsShared finds a call of package shareddata, each of which may leave.
var readsShared = regexp.MustCompile(`\bshareddata\.[A-Z]`)

// TestWhatLeavesTheRaceStageIsRunElsewhere keeps the promise of internal/raced:
// the stage that a test names runs the test's package.
func TestWhatLeavesTheRaceStageIsRunElsewhere(t *testing.T) {
	stages := map[string]map[string]bool{}
	for stage, list := range map[string]string{"make test-real": "real-packages.txt", "make test-e2e": "e2e-packages.txt"} {
		raw, err := os.ReadFile(filepath.Join(root, "internal", list))
		if err != nil {
			t.Fatal(err)
		}
		stages[stage] = map[string]bool{}
		for _, pkg := range strings.Fields(string(raw)) {
			stages[stage][strings.TrimPrefix(pkg, "./")] = true
		}
	}
	found := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		pkg, _ := filepath.Rel(root, filepath.Dir(p))
		for stage, packages := range stages {
			leaves := strings.Contains(string(raw), `raced.Leave(t, "`+stage+`")`) ||
				stage == "make test-real" && readsShared.Match(raw)
			if leaves && pkg != "internal/laws" {
				found++
				if !packages[pkg] {
					t.Errorf("%s leaves the race detector to %s, which does not run %s", p, stage, pkg)
				}
			}
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Fatalf("%d tests leave, %v", found, err)
	}
}
