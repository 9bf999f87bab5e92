package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const folder = "../../docs"

var vectors = filepath.Join(folder, "vectors")

// TestVectorsHold judges the committed vectors with the real rooms.
func TestVectorsHold(t *testing.T) {
	if err := Check(os.DirFS(vectors)); err != nil {
		t.Error(err)
	}
}

// TestVectorsAreWhatTheCodeMakes makes a new field, or another order of bytes,
// a difference in a committed file.
func TestVectorsAreWhatTheCodeMakes(t *testing.T) {
	made, err := Vectors(os.DirFS(vectors))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for name, b := range made {
		total += len(b)
		if name != "trust.json" && steps[name] == nil {
			t.Errorf("nothing judges %s", name)
		}
		if was, err := os.ReadFile(filepath.Join(vectors, name)); err != nil || !bytes.Equal(was, b) {
			t.Errorf("%s is not what the code makes (%v): a format has changed. Hosts out there speak the old one; when it is meant, run go run ./internal/docs/gen and look at the difference", name, err)
		}
	}
	if total > MaxVectors {
		t.Errorf("%d bytes of vectors, the limit is %d", total, MaxVectors)
	}
	there, err := os.ReadDir(vectors)
	if err != nil || len(there) != len(made) {
		t.Errorf("%d files in docs/vectors, %d are made, %v", len(there), len(made), err)
	}
}

// TestFrozenSignaturesStay shows that a signature with chance in it is taken
// over, and made anew only when there is none.
func TestFrozenSignaturesStay(t *testing.T) {
	a, err := Vectors(os.DirFS(vectors))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Vectors(fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	for name := range a {
		if same := bytes.Equal(a[name], b[name]); same != (name != "approvals.json") {
			t.Errorf("%s: the same without the committed files: %t", name, same)
		}
	}
}

// TestVectorsCannotBeChangedUnseen spoils each committed file in several ways:
// every digit of a digest and every word of an answer counts.
func TestVectorsCannotBeChangedUnseen(t *testing.T) {
	good := map[string][]byte{}
	paths, err := filepath.Glob(filepath.Join(vectors, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatal(err, len(paths))
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		good[filepath.Base(p)] = b
	}
	digits := regexp.MustCompile(`[0-9a-f]{64}`)
	for name, b := range good {
		if name == "versions.json" {
			continue // holds no digest; its answers are spoilt below
		}
		places := digits.FindAllIndex(b, -1)
		for i := 0; i < len(places); i += 1 + len(places)/6 {
			at := places[i][0] + 7
			if afterRefused(b, at) {
				continue
			}
			spoilt := bytes.Clone(b)
			spoilt[at] = "10"[b[at]&1]
			if spoilt[at] == b[at] {
				spoilt[at] = '2'
			}
			refused(t, good, name, spoilt, "digest at byte "+string(b[max(0, at-60):at]))
		}
	}
	for _, c := range [][3]string{
		{"versions.json", `"order": -1`, `"order": 1`}, {"versions.json", `"version": "a"`, `"version": "1a"`},
		{"canon.json", `"{\"a\": 1}"`, `"{\"a\":1}"`}, {"writ.json", "PW-WRIT-FLOOR", "PW-WRIT-FORM"}, {"log.json", `"time": 1`, `"time": 2`},
		{"grant.json", `"stopped": false`, `"stopped": true`}, {"receipt.json", `"good": true`, `"good": false`}, {"approvals.json", `"kind": "approve"`, `"kind": "deny"`},
		{"trust.json", "PW-TRUST-PIN", "PW-TRUST-FILE"}, {"plan.json", `"about"`, `"abouts"`},
	} {
		if !bytes.Contains(good[c[0]], []byte(c[1])) {
			t.Errorf("%s does not hold %s", c[0], c[1])
		}
		refused(t, good, c[0], bytes.Replace(good[c[0]], []byte(c[1]), []byte(c[2]), 1), c[1])
	}
}

// afterRefused reports whether a place lies in the examples that are refused
// whatever else changes in them.
func afterRefused(b []byte, at int) bool {
	from := bytes.Index(b, []byte(`"refused`))
	return from >= 0 && at > from
}

func refused(t *testing.T, good map[string][]byte, name string, spoilt []byte, what string) {
	t.Helper()
	all := fstest.MapFS{}
	for n, b := range good {
		all[n] = &fstest.MapFile{Data: b}
	}
	all[name] = &fstest.MapFile{Data: spoilt}
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%s, %s: panic: %v", name, what, r)
		}
	}()
	if check(all, name) == nil {
		t.Errorf("%s: spoilt and taken: %s", name, what)
	}
}

func TestRefusalsAreUpToDate(t *testing.T) {
	was, err := os.ReadFile(filepath.Join(folder, "refusals.md"))
	if err != nil || !bytes.Equal(was, Refusals()) {
		t.Errorf("docs/refusals.md is not what refusal/catalogue.txt says (%v): go run ./internal/docs/gen", err)
	}
}

func TestAttacksAreUpToDate(t *testing.T) {
	was, err := os.ReadFile(filepath.Join(folder, "THREATS.md"))
	if err != nil {
		t.Fatal(err)
	}
	if is, err := WithAttacks(was); err != nil || !bytes.Equal(was, is) {
		t.Errorf("docs/THREATS.md is not what redteam.Table says (%v): go run ./internal/docs/gen", err)
	}
}

// TestDependenciesAreExplained wants a line for each module that our own code
// imports, shipped or in tests, with the version of go.mod.
func TestDependenciesAreExplained(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to ask")
	}
	text, err := os.ReadFile(filepath.Join(folder, "DEPENDENCIES.md"))
	if err != nil {
		t.Fatal(err)
	}
	linked, err := Linked("../..")
	if err != nil {
		t.Fatal(err)
	}
	if now, err := WithTable(text, linked); err != nil || !bytes.Equal(now, text) {
		t.Errorf("the table of linked modules is stale (%v): go run ./internal/docs/gen", err)
	}
	prose, _, _ := strings.Cut(string(text), tableBegins)
	for _, m := range linked {
		line := "| `" + m.Path + "` | " + m.Version + " |"
		if len(m.Direct) > 0 && !strings.Contains(prose, line) {
			t.Errorf("docs/DEPENDENCIES.md does not say why %s %s is here: it wants a line that begins %q", m.Path, m.Version, line)
		}
	}
	for _, line := range strings.Split(prose, "\n") {
		f := strings.Split(line, "|")
		if len(f) < 4 || !strings.HasPrefix(line, "| `") {
			continue
		}
		path, version := strings.Trim(f[1], " `"), strings.TrimSpace(f[2])
		if !required(t, path, version) {
			t.Errorf("docs/DEPENDENCIES.md speaks of %s %s, which go.mod does not require", path, version)
		}
		if i := slices.IndexFunc(linked, func(m Module) bool { return m.Path == path }); i >= 0 {
			for _, name := range Binaries {
				short := strings.TrimPrefix(name, "patchwrit-")
				if strings.Contains(f[3], short+";") != slices.Contains(linked[i].By, name) {
					t.Errorf("docs/DEPENDENCIES.md: who links %s: %q, really %v", path, f[3], linked[i].By)
				}
			}
		}
	}
}

// required reports whether go.mod requires the module in that version.
func required(t *testing.T, path, version string) bool {
	t.Helper()
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(mod), "\t"+path+" "+version)
}

// TestDomainsAreDocumented wants every type name and digest domain in the
// source to stand in docs/formats.md.
func TestDomainsAreDocumented(t *testing.T) {
	formats, err := os.ReadFile(filepath.Join(folder, "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	domain := regexp.MustCompile(`"(patchwrit/[a-z]+/v[0-9]+)"`)
	seen := 0
	err = filepath.WalkDir("../..", func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".git") || d.Name() == "testdata" || d.Name() == "internal" || d.Name() == "demo") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, m := range domain.FindAllSubmatch(b, -1) {
			seen++
			if !bytes.Contains(formats, append([]byte("`"), append(m[1], '`')...)) {
				t.Errorf("%s: %s is not in docs/formats.md", p, m[1])
			}
		}
		return nil
	})
	if err != nil || seen < 20 {
		t.Errorf("%d domains seen, %v", seen, err)
	}
}
