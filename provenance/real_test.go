package provenance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
)

// The machine's own apt lists, signed by the real vendor.
const (
	aptLists     = "/var/lib/apt/lists"
	aptKeyring   = "/usr/share/keyrings/debian-archive-keyring.gpg"
	needsMachine = "the machine's own apt lists are not compared"
)

type realRelease struct {
	name string // file name below aptLists without _InRelease
	raw  []byte
	o    trust.Origin
	at   time.Time // when it was fresh
}

// realReleases finds Debian's releases among the machine's apt lists.
func realReleases(t testing.TB) ([]realRelease, []byte) {
	keys, err := os.ReadFile(aptKeyring)
	if err != nil {
		t.Skipf("no %s: %s", aptKeyring, needsMachine)
	}
	paths, err := filepath.Glob(filepath.Join(aptLists, "*_InRelease"))
	if err != nil {
		t.Fatal(err)
	}
	var all []realRelease
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		field := func(name string) string {
			_, rest, _ := strings.Cut(string(raw), "\n"+name+": ")
			value, _, _ := strings.Cut(rest, "\n")
			return value
		}
		if field("Origin") != "Debian" {
			continue
		}
		at, err := time.Parse("Mon, 2 Jan 2006 15:04:05 UTC", field("Date"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, realRelease{strings.TrimSuffix(filepath.Base(p), "_InRelease"), raw, trust.Origin{
			ID: "debian", Signers: 2, Origin: "Debian", Label: field("Label"), Codename: field("Codename"),
			Suites: []string{field("Suite")}, Sections: []string{"main"}}, at.Add(time.Hour)})
	}
	if len(all) == 0 {
		t.Skipf("no Debian InRelease below %s: %s", aptLists, needsMachine)
	}
	return all, keys
}

func TestRealReleases(t *testing.T) {
	all, keys := realReleases(t)
	for _, r := range all {
		rel, err := ReadRelease(r.raw, r.o, keys, 0, r.at)
		if err != nil {
			t.Errorf("%s: %s", r.name, err)
			continue
		}
		t.Logf("%s: dated %s, %d signers, %d signatures not counted, %d Packages files", r.name, show(rel.Date()), len(rel.Signers()), len(rel.Refused()), len(rel.Packages()))
		for _, err := range rel.Refused() {
			t.Logf("  not counted: %v", err)
		}
		other := r.o
		other.Codename = "trixie"
		_, err = ReadRelease(r.raw, other, keys, 0, r.at)
		wantCode(t, err, codeCodename)
		_, err = ReadRelease(bytes.Replace(r.raw, []byte("\nSHA256:\n"), []byte("\nSHA256:\n "+string(canon.SumFile(nil))+" 0 main/x\n"), 1), r.o, keys, 0, r.at)
		wantCode(t, err, codeSigBad)
		_, err = ReadRelease(r.raw, r.o, keys, r.at.Unix(), r.at)
		wantCode(t, err, codeBack)
		_, err = ReadRelease(r.raw, r.o, keys, 0, r.at.Add(-MaxAhead-2*time.Hour))
		if code := refusal.CodeOf(err); code != codeAhead && code != codeSigTime {
			t.Errorf("%s judged too early: %v", r.name, err)
		}
		if rel.ValidUntil() > 0 {
			_, err = ReadRelease(r.raw, r.o, keys, 0, time.Unix(rel.ValidUntil(), 0))
			wantCode(t, err, codeExpired)
		}
	}
}

// TestRealPackages reads the Packages files that apt has verified for itself
// and compares them with what a plain reading gives: every twentieth stanza of
// the small ones; with PATCHWRIT_E2E=1 every stanza of all.
func TestRealPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("long: reads this machine's lists")
	}
	all, keys := realReleases(t)
	read := 0
	for _, r := range all {
		const path = "main/binary-amd64/Packages"
		text := aptList(t, r.name+"_"+strings.ReplaceAll(path, "/", "_"))
		if text == nil || (len(text) > 10<<20 && os.Getenv("PATCHWRIT_E2E") != "1") {
			continue
		}
		rel, err := ReadRelease(r.raw, r.o, keys, 0, r.at)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		x, err := rel.ReadPackages(path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(r.name, err)
		}
		t.Logf("%s: %d entries from %d bytes in %v", r.name, x.Len(), len(text), time.Since(began))
		read++
		compareWithPlainReading(t, x, text)
	}
	if read == 0 {
		t.Skipf("no Packages of amd64 below %s that fits: %s", aptLists, needsMachine)
	}
}

func compareWithPlainReading(t *testing.T, x Index, text []byte) {
	n, step := 0, 20
	if os.Getenv("PATCHWRIT_E2E") == "1" {
		step = 1
	}
	for stanza := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		get := func(name string) string {
			_, rest, _ := strings.Cut("\n"+stanza, "\n"+name+": ")
			value, _, _ := strings.Cut(rest, "\n")
			return value
		}
		if n++; n%step != 0 {
			continue
		}
		e, err := x.Find(get("Package"), get("Architecture"), get("Version"))
		if err != nil || string(e.Artefact()) != get("SHA256") || e.Filename() != get("Filename") || e.Section() != get("Section") {
			t.Fatalf("%s: %v", get("Package"), err)
		}
		if e.Chain().Stanza != canon.SumFile([]byte(stanza+"\n")) {
			t.Fatalf("%s: another stanza", e.Package())
		}
		if version.Valid(version.Deb, e.Version()) != nil {
			t.Errorf("%s: %s cannot be ordered", e.Package(), e.Version())
		}
	}
	if n != x.Len() {
		t.Errorf("%d stanzas, %d entries", n, x.Len())
	}
}

// aptList reads one of apt's lists as it was published, or gives nil.
func aptList(t *testing.T, name string) []byte {
	path := filepath.Join(aptLists, name)
	if b, err := os.ReadFile(path); err == nil {
		return b
	}
	if _, err := exec.LookPath("lz4"); err != nil {
		return nil
	}
	if _, err := os.Stat(path + ".lz4"); err != nil {
		return nil
	}
	b, err := exec.Command("lz4", "-dc", path+".lz4").Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRealArtefact goes the whole way once: the machine's lists, a downloaded
// .deb, and its trojaned twin.
func TestRealArtefact(t *testing.T) {
	if os.Getenv("PATCHWRIT_E2E") != "1" {
		t.Skip("PATCHWRIT_E2E is not 1: no package is downloaded")
	}
	all, keys := realReleases(t)
	dir := t.TempDir()
	cmd := exec.Command("apt-get", "download", "-q", "hostname")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("apt-get download: %v\n%s", err, out)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	deb, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, r := range all {
		const path = "main/binary-amd64/Packages"
		text := aptList(t, r.name+"_"+strings.ReplaceAll(path, "/", "_"))
		rel, err := ReadRelease(r.raw, r.o, keys, 0, r.at)
		if err != nil || text == nil {
			continue
		}
		x, err := rel.ReadPackages(path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for e := range x.Named("hostname") {
			if e.Artefact() != canon.SumFile(deb) {
				continue
			}
			found++
			if err := e.Check(bytes.NewReader(deb)); err != nil {
				t.Error(err)
			}
			trojan := bytes.Clone(deb)
			trojan[len(trojan)/2] ^= 1
			wantCode(t, e.Check(bytes.NewReader(trojan)), codeArtefact)
			wantCode(t, e.Check(bytes.NewReader(append(trojan, 0))), codeArtefactLen)
			t.Logf("%s", canon.MustEncode(e.Chain()))
		}
	}
	if found == 0 {
		t.Skip("the downloaded package is in none of the machine's lists")
	}
}
