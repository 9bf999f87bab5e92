package version

import (
	"archive/zip"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// draw gives a generator of valid versions of s, dense around few ones so that
// equal and nearly equal versions are common.
func draw(s Scheme, form string) *rapid.Generator[string] {
	return rapid.OneOf(rapid.StringMatching(form), rapid.SampledFrom(sample(s))).
		Filter(func(v string) bool { return Valid(s, v) == nil })
}

var forms = map[Scheme]string{
	Deb: `(0{0,2}[01]:)?[0-2]{1,3}([.+~:a-bA-]{0,2}[01]{0,2}){0,3}(-[01.+~a]{1,4})?`,
	RPM: `(0?[01]:)?[a01]([._+~^a-bA]{0,2}[01]{0,2}){0,3}(-[01][01._+~^a]{0,3})?`,
	APK: `[01]{1,3}(\.[019]{1,3}){0,2}[ab]?(_(alpha|rc|git|p)[01]{0,2}){0,2}(~[0-1a]{1,2})?(-r[01]{1,2})?`,
}

func TestTotalOrder(t *testing.T) {
	for scheme, form := range forms {
		t.Run(string(scheme), func(t *testing.T) {
			versions := rapid.SliceOfN(draw(scheme, form), 12, 12)
			rapid.Check(t, func(t *rapid.T) { inTotalOrder(t, scheme, versions.Draw(t, "versions")) })
		})
	}
}

// inTotalOrder looks at each three of the versions.
func inTotalOrder(t *rapid.T, s Scheme, versions []string) {
	for _, a := range versions {
		if mustCompare(t, s, a, a) != 0 {
			t.Fatalf("%q is not equal to itself", a)
		}
		for _, b := range versions {
			ab, ba := mustCompare(t, s, a, b), mustCompare(t, s, b, a)
			if ab != -ba {
				t.Fatalf("%q and %q compare %d, the other way %d", a, b, ab, ba)
			}
			for _, c := range versions {
				bc, ac := mustCompare(t, s, b, c), mustCompare(t, s, a, c)
				if ab <= 0 && bc <= 0 && ac > 0 || ab == 0 && bc != ac {
					t.Fatalf("not transitive: %q %q %q give %d %d %d", a, b, c, ab, bc, ac)
				}
			}
		}
	}
}

func TestKeyAgreement(t *testing.T) {
	versions := rapid.SliceOfN(draw(Deb, forms[Deb]), 20, 20)
	rapid.Check(t, func(t *rapid.T) {
		drawn := versions.Draw(t, "versions")
		for _, a := range drawn {
			for _, b := range drawn {
				agree(t, a, b)
			}
		}
	})
}

// TestKeysSortRealVersions sorts all real versions both ways.
func TestKeysSortRealVersions(t *testing.T) {
	versions := realDeb(t)
	t.Logf("%d distinct real versions", len(versions))
	slices.SortFunc(versions, func(a, b string) int { return mustCompare(t, Deb, a, b) })
	for i := 1; i < len(versions); i++ {
		agree(t, versions[i-1], versions[i])
		agree(t, versions[i-1], versions[len(versions)/2])
	}
	for _, pair := range pairs(Deb, 3, 50_000, versions, debAlphabet, debMarks, MaxLength) {
		agree(t, pair[0], pair[1])
	}
}

// fixed matches a version in Alpine's security database, a key of "secfixes".
var fixed = regexp.MustCompile(`(?m)^ {8}"?([^\s:"]+)"?:`)

// slips are the versions in the shared sample of Alpine's security database
// that no apk could have: they were written wrongly there.
var slips = []string{
	"0.12.5.-r0", "0.8.21.r2", "1.0.4.-r0", "1.11-20-r0", "1.18.-r2", "1.7.5.-r1", "10.2.22.r0", "10.2.24.r0", "10.2.26.r0",
	"2.15.r-r1", "2.7.16-33", "4.10-1-r1", "4.8.0.-r1", "57-1-r2", "6.6.2p1-r0",
}

// TestAlpineVersionsAreRead reads the versions of Alpine's own security
// database. "0" there means that no version was ever affected; it is valid.
func TestAlpineVersionsAreRead(t *testing.T) {
	z, err := zip.OpenReader(shared(filepath.Join("alpine", "alpine-secdb-yaml.zip")))
	if err != nil {
		t.Skipf("needs the shared sample of Alpine's security database; set PATCHWRIT_SHARED to the folder with the shared data: %v", err)
	}
	defer z.Close()
	seen := map[string]bool{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fixed.FindAllSubmatch(text, -1) {
			seen[string(m[1])] = true
		}
	}
	for v := range seen {
		if err := Valid(APK, v); (err != nil) != slices.Contains(slips, v) {
			t.Errorf("%s: %v", v, err)
		}
	}
	if len(seen) < 1000 {
		t.Errorf("only %d versions found", len(seen))
	}
}
