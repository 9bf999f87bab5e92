package version

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shared is the folder of data that the tests may read when it is present.
func shared(name string) string {
	dir := os.Getenv("PATCHWRIT_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	return filepath.Join(dir, name)
}

// realDeb collects deb versions of this machine and of the shared data, and at
// least those of the table. Invalid ones fail the test: all come from archives.
func realDeb(t testing.TB) []string {
	found := map[string]bool{}
	for _, row := range ordered[Deb] {
		found[row.a], found[row.b] = true, true
	}
	fields(t, "/var/lib/dpkg/status", "Version: ", found)
	for _, name := range []string{"Packages-bookworm-12.15-main-subset.gz", "Packages-bookworm-security-2026-11-21.gz"} {
		fields(t, shared(filepath.Join("debian", name)), "Version: ", found)
	}
	columns(t, shared("debian/bookworm-fixed-versions.csv"), found)
	columns(t, shared("debian/bookworm-upgradeable-2026-11-21.csv"), found)
	versions := make([]string, 0, len(found))
	for v := range found {
		if err := Valid(Deb, v); err != nil {
			t.Errorf("a real version is refused: %v", err)
			continue
		}
		versions = append(versions, v)
	}
	slices.Sort(versions)
	return versions
}

// open opens a file that may be absent; nil means it is.
func open(t testing.TB, name string) io.ReadCloser {
	f, err := os.Open(name)
	if err != nil {
		t.Logf("without the versions of %s: %v", filepath.Base(name), err)
		return nil
	}
	t.Cleanup(func() { f.Close() })
	if !strings.HasSuffix(name, ".gz") {
		return f
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// fields adds what follows prefix on the lines of a file.
func fields(t testing.TB, name, prefix string, found map[string]bool) {
	r := open(t, name)
	if r == nil {
		return
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			found[v] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// columns adds the cells of a CSV file's columns whose title ends in "version".
func columns(t testing.TB, name string, found map[string]bool) {
	r := open(t, name)
	if r == nil {
		return
	}
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, title := range rows[0] {
		if !strings.HasSuffix(title, "version") {
			continue
		}
		for _, row := range rows[1:] {
			if row[i] != "" {
				found[row[i]] = true
			}
		}
	}
}

// pairs makes n pairs of valid versions, the same ones for one seed: real
// against real, real against a mutation of itself, texts of the alphabet, and
// such as may well be equal. Numbers have up to most digits.
func pairs(s Scheme, seed uint64, n int, real []string, alphabet string, marks []string, most int) [][2]string {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([][2]string, 0, n)
	for len(out) < n {
		a, b := real[r.IntN(len(real))], real[r.IntN(len(real))]
		switch r.IntN(6) {
		case 0: // two unrelated ones
		case 1:
			a, b = text(r, alphabet), text(r, alphabet)
		case 2:
			b = pad(r, a)
		default:
			b = mutate(r, a, alphabet, marks)
			if r.IntN(2) == 0 {
				a = mutate(r, a, alphabet, marks)
			}
		}
		if longest(a) <= most && longest(b) <= most && Valid(s, a) == nil && Valid(s, b) == nil {
			out = append(out, [2]string{a, b})
		}
	}
	return out
}

// longest is the length of the longest run of digits in v.
func longest(v string) int {
	most := 0
	for v != "" {
		n := digits(v)
		most, v = max(most, n), v[max(n, 1):]
	}
	return most
}

// text makes up to eight characters of the alphabet, the first a digit.
func text(r *rand.Rand, alphabet string) string {
	out := []byte{'0' + byte(r.IntN(10))}
	for range r.IntN(8) {
		out = append(out, alphabet[r.IntN(len(alphabet))])
	}
	return string(out)
}

// pad puts a zero before a number, or in the place of one that is not there.
func pad(r *rand.Rand, v string) string {
	at := r.IntN(len(v) + 1)
	for at > 0 && at < len(v) && isDigit(v[at-1]) {
		at--
	}
	return v[:at] + "0" + v[at:]
}

// mutate changes one to three places of v: a character put in, taken out or
// replaced, a mark put in or appended, or the rest cut off.
func mutate(r *rand.Rand, v, alphabet string, marks []string) string {
	for range 1 + r.IntN(3) {
		at := r.IntN(len(v) + 1)
		char := string(alphabet[r.IntN(len(alphabet))])
		mark := marks[r.IntN(len(marks))]
		switch r.IntN(6) {
		case 0:
			v = v[:at] + char + v[at:]
		case 1:
			v = v[:at] + v[min(at+1, len(v)):]
		case 2:
			v = v[:at] + char + v[min(at+1, len(v)):]
		case 3:
			v = v[:at] + mark + v[at:]
		case 4:
			v += mark
		case 5:
			v = v[:max(at, 1)%(len(v)+1)]
		}
	}
	return v
}

const (
	debAlphabet = "00012359aAbzZ.+-~:"
	rpmAlphabet = "00012359aAbzZ._+-~^:"
	apkAlphabet = "00012359abcdefpz._-~r"
)

var (
	debMarks = []string{"~", "+b1", "~bpo12+1", "+deb12u1", "-1", "0", "00", "1:", ".0", "+dfsg", "~rc1", "99999999999999999999", "+really1.2", "-0ubuntu1"}
	rpmMarks = []string{"~", "^", "~rc1", "^git1", ".el9_2", "-1", "0", "00", "1:", ".0", "_", "99999999999999999999", "a", "+1"}
)

// sample gives the valid versions of a scheme's table.
func sample(s Scheme) []string {
	var out []string
	for _, row := range ordered[s] {
		out = append(out, row.a, row.b)
	}
	return out
}
