package depot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/refusal"
)

const dayLong = 24 * 3600

// line is an OSV record of a test.
type line struct {
	id, cve, pkg, fixed string
	modified            int64
	withdrawn           bool
	score               string
}

func (l line) String() string {
	at := time.Unix(l.modified, 0).UTC().Format(time.RFC3339)
	out, more := "", ""
	if l.withdrawn {
		out = fmt.Sprintf(`,"withdrawn":%q`, at)
	}
	if l.score != "" {
		more = fmt.Sprintf(`,"severity":[{"type":"Ubuntu","score":%q}]`, l.score)
	}
	event := ""
	if l.fixed != "" {
		event = fmt.Sprintf(`,{"fixed":%q}`, l.fixed)
	}
	return fmt.Sprintf(`{"id":%q,"upstream":[%q],"modified":%q%s%s,"affected":[{"package":{"ecosystem":"Debian:12","name":%q},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}%s]}]}]}`,
		l.id, l.cve, at, out, more, l.pkg, event)
}

// zipOf is a feed of records.
func zipOf(t testing.TB, list ...line) string {
	t.Helper()
	files := map[string]string{}
	for i, l := range list {
		files[fmt.Sprintf("%06d.json", i)] = l.String()
	}
	return archive(t, files)
}

// base are records that nothing speaks against.
func base() []line {
	var out []line
	for i := range 30 {
		pkg := []string{"openssl", "systemd", "linux", "curl", "bind9"}[i%5]
		out = append(out, line{id: fmt.Sprintf("DEBIAN-CVE-2026-%04d", 1000+i), cve: fmt.Sprintf("CVE-2026-%04d", 1000+i), pkg: pkg, fixed: "1.5-1", modified: t0 - dayLong, score: "medium"})
	}
	return out
}

// says gives what a feed says that counts, by id: fixed version, or withdrawn.
func says(t testing.TB, d *Depot, name string, now int64) map[string]string {
	t.Helper()
	_, c, err := d.Read(t.Context(), name, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, a := range c.Set.Advisories {
		out[a.ID] = "withdrawn"
		if a.Withdrawn == 0 {
			out[a.ID] = a.Affected[0].Package + " " + a.Affected[0].Ranges[0].Fixed
		}
	}
	return out
}

func heldCodes(t testing.TB, d *Depot, name string, now int64) map[string]string {
	t.Helper()
	list, _, err := d.Holding(t.Context(), name, now)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, h := range list {
		out[h.ID] = strings.Join(func() (s []string) {
			for _, r := range h.Reasons {
				s = append(s, strings.TrimPrefix(string(r.Code), "PW-POISON-"))
			}
			return s
		}(), " ")
	}
	return out
}

// TestEachKindIsHeld: one record of an otherwise good snapshot is bad. The
// snapshot counts with that record as it was; also after another snapshot, and
// read by another process.
func TestEachKindIsHeld(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(list []line) []line
		id   string
		code string
	}{
		"withdrawn": {func(l []line) []line { l[0].withdrawn = true; return l }, "DEBIAN-CVE-2026-1000", "WITHDRAWN"},
		"lowered":   {func(l []line) []line { l[0].fixed = "1.2-1"; return l }, "DEBIAN-CVE-2026-1000", "LOWERED"},
		"severity":  {func(l []line) []line { l[0].score = "none"; return l }, "DEBIAN-CVE-2026-1000", "SEVERITY"},
		"gone":      {func(l []line) []line { return l[1:] }, "DEBIAN-CVE-2026-1000", "GONE"},
		"version":   {func(l []line) []line { l[0].fixed = "1.9-1"; return l }, "DEBIAN-CVE-2026-1000", "VERSION"},
		"time":      {func(l []line) []line { l[0].modified = t0 - 2*dayLong; return l }, "DEBIAN-CVE-2026-1000", "TIME"},
		"look-alike": {func(l []line) []line {
			return append(l, line{id: "DEBIAN-CVE-2026-9", cve: "CVE-2026-0009", pkg: "opensssl", fixed: "1-1", modified: t0})
		}, "DEBIAN-CVE-2026-9", "LOOKALIKE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := depotIn(t)
			if _, err := world.Learn(d.World(), []world.Archive{{Ecosystem: "Debian:12", Name: "main", Versions: func(yield func(string, string) bool) {
				_ = yield("openssl", "1.5-1") && yield("openssl", "1.2-1")
			}}}, t0); err != nil {
				t.Fatal(err)
			}
			keep(t, d, osv, zipOf(t, base()...), t0)
			was := says(t, d, "osv", t0)
			list := base()
			for i := range list[:3] {
				list[i].modified = t0
			}
			good := slices.Clone(list)
			list = c.edit(list)
			k := keep(t, d, osv, zipOf(t, list...), t0+dayLong)
			if k.State != Accepted || k.Held != 1 || k.Holds == "" {
				t.Fatalf("%+v", k)
			}
			check := func(when string, d *Depot, now int64) {
				t.Helper()
				if got := says(t, d, "osv", now); fmt.Sprint(got) != fmt.Sprint(was) {
					t.Errorf("%s: it says %v", when, got)
				}
				if got := heldCodes(t, d, "osv", now); len(got) != 1 || got[c.id] != c.code {
					t.Errorf("%s: held %v", when, got)
				}
				if f := feedOf(t, d, "osv"); f.Standing(now) != OK {
					t.Errorf("%s: the feed is %s", when, f.Standing(now))
				}
			}
			check("at once", d, t0+dayLong)
			check("another process", Open(d.dir, nil), t0+dayLong)
			list[1].modified++
			if k := keep(t, d, osv, zipOf(t, list...), t0+2*dayLong); k.State != Accepted || k.Held != 1 {
				t.Fatalf("the next snapshot: %+v", k)
			}
			check("the next snapshot", d, t0+2*dayLong)
			if l, _, _ := d.Holding(t.Context(), "osv", t0+2*dayLong); l[0].Since != t0+dayLong {
				t.Error("held since", l[0].Since)
			}
			for i := range good[:3] {
				good[i].modified = t0 + 5
			}
			if k := keep(t, d, osv, zipOf(t, good...), t0+3*dayLong); k.State != Accepted || k.Held != 0 || k.Holds != "" {
				t.Errorf("taken back: %+v", k)
			}
		})
	}
}

// lowered is a depot in which the record 1000 is held with a lower version.
func lowered(t *testing.T) (*Depot, []line) {
	d := depotIn(t)
	keep(t, d, osv, zipOf(t, base()...), t0)
	list := base()
	list[0].fixed, list[0].modified = "1.2-1", t0
	if k := keep(t, d, osv, zipOf(t, list...), t0+dayLong); k.Held != 1 {
		t.Fatal(k)
	}
	return d, list
}

func TestASecondSourceFreesAndIsNamed(t *testing.T) {
	d, list := lowered(t)
	second := Rules{Name: "dsa", Kind: "osv", MaxAge: week, Shrink: 10}
	other := line{id: "DSA-1-1", cve: "CVE-2026-1000", pkg: "openssl", fixed: "1.4-1", modified: t0}
	keep(t, d, second, zipOf(t, other, line{id: "DSA-2-1", cve: "CVE-2026-2", pkg: "curl", fixed: "1-1", modified: t0}), t0+dayLong)
	if got := heldCodes(t, d, "osv", t0+dayLong); len(got) != 1 {
		t.Fatal("another version frees it:", got)
	}
	for _, o := range []line{{id: "GHSA-1", cve: "CVE-2026-1000", pkg: "openssl", fixed: "1.2-1", modified: t0}, {id: "DSA-3-1", cve: "CVE-2026-1001", pkg: "openssl", fixed: "1.2-1", modified: t0}} {
		keep(t, d, Rules{Name: "third", Kind: "osv", MaxAge: week, Shrink: 100}, zipOf(t, o), t0+dayLong)
		if got := heldCodes(t, d, "osv", t0+dayLong); len(got) != 1 {
			t.Fatal("no authority, or another CVE, frees it:", got)
		}
		if err := d.Remove("third"); err != nil {
			t.Fatal(err)
		}
	}
	other.fixed, other.modified = "1.2-1", t0+1
	dies := func(at string) { // the process ends before what came is looked at for others
		d2 := Open(d.dir, nil)
		d2.point = func(p string) {
			if p == at {
				panic("killed")
			}
		}
		defer func() {
			if was := recover(); was != "killed" {
				t.Errorf("%s was not reached: %v", at, was)
			}
		}()
		if _, met, _ := d.Feed("dsa2"); met {
			_ = d2.Reconsider(t.Context(), t0+2*dayLong)
		}
		keep(t, d2, Rules{Name: "dsa2", Kind: "osv", MaxAge: week, Shrink: 10}, zipOf(t, other), t0+2*dayLong)
	}
	for _, at := range []string{"judged again", "said", "feed written"} {
		dies(at)
	}
	if err := d.Reconsider(t.Context(), t0+2*dayLong); err != nil {
		t.Fatal(err)
	}
	if got := says(t, d, "osv", t0+2*dayLong)["DEBIAN-CVE-2026-1000"]; got != "openssl 1.2-1" {
		t.Error(got, heldCodes(t, d, "osv", t0+2*dayLong))
	}
	words, err := d.Words("osv")
	if err != nil || len(words) != 1 || words[0].Kind != BySource || words[0].By != "DSA-1-1 (osv/DSA) of feed dsa2" || words[0].Records[0].Codes[0] != quarantine.CodeLowered {
		t.Errorf("%+v %v", words, err)
	}
	// it stays free when that source goes
	if err := d.Remove("dsa2"); err != nil {
		t.Fatal(err)
	}
	list[1].modified = t0 + 5
	if k := keep(t, d, osv, zipOf(t, list...), t0+3*dayLong); k.Held != 0 {
		t.Error(k)
	}
}

func TestAPersonFreesAndIsNamed(t *testing.T) {
	d, list := lowered(t)
	this := func(h Held) bool { return h.ID == "DEBIAN-CVE-2026-1000" }
	if _, err := d.Release(t.Context(), "osv", this, "", "x", t0); err == nil {
		t.Error("nobody releases")
	}
	if _, err := d.Release(t.Context(), "osv", this, "ada", " ", t0); err == nil {
		t.Error("for no reason")
	}
	if _, err := d.Release(t.Context(), "osv", func(Held) bool { return false }, "ada", "x", t0); !errors.Is(err, ErrNotHeld) {
		t.Error(err)
	}
	if got := heldCodes(t, d, "osv", t0); len(got) != 1 {
		t.Fatal(got)
	}
	w, err := d.Release(t.Context(), "osv", this, "ada", "read the tracker", t0+dayLong)
	if err != nil || len(w.Records) != 1 {
		t.Fatal(w, err)
	}
	if got := says(t, d, "osv", t0+dayLong)["DEBIAN-CVE-2026-1000"]; got != "openssl 1.2-1" {
		t.Error(got)
	}
	// the word binds to the very bytes
	list[0].fixed, list[0].modified = "1.1-1", t0+1
	if k := keep(t, d, osv, zipOf(t, list...), t0+2*dayLong); k.Held != 1 {
		t.Error("another form is free too:", k)
	}
	// half a word was never given, and does not spoil the next
	f, err := os.OpenFile(d.wordsFile("osv"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(`{"at":1,"by":"eve`)
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if words, err := d.Words("osv"); err != nil || len(words) != 1 {
		t.Fatal(words, err)
	}
	if _, err := d.Release(t.Context(), "osv", this, "bob", "read it too", t0+2*dayLong); err != nil {
		t.Fatal(err)
	}
	words, err := d.Words("osv")
	if err != nil || len(words) != 2 || words[1].By != "bob" || words[1].Records[0].Was != words[0].Records[0].Raw {
		t.Errorf("%+v %v", words, err)
	}
	if err := os.WriteFile(d.wordsFile("osv"), []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Words("osv"); refusal.CodeOf(err) != CodeDepot {
		t.Error(err)
	}
}

// TestAVersionThatComesFrees: the record was faster than the repository.
func TestAVersionThatComesFrees(t *testing.T) {
	d := depotIn(t)
	carry := func(now int64, v string) {
		t.Helper()
		if _, err := world.Learn(d.World(), []world.Archive{{Ecosystem: "Debian:12", Name: "main", Versions: func(yield func(string, string) bool) { yield("openssl", v) }}}, now); err != nil {
			t.Fatal(err)
		}
	}
	carry(t0, "1.5-1")
	keep(t, d, osv, zipOf(t, base()...), t0)
	list := base()
	list[0].fixed, list[0].modified = "1.6-1", t0
	keep(t, d, osv, zipOf(t, list...), t0+3600)
	if got := heldCodes(t, d, "osv", t0+3600); got["DEBIAN-CVE-2026-1000"] != "VERSION" {
		t.Fatal(got)
	}
	carry(t0+7200, "1.6-1")
	if err := d.Reconsider(t.Context(), t0+7200); err != nil {
		t.Fatal(err)
	}
	if got := heldCodes(t, d, "osv", t0+7200); len(got) != 0 {
		t.Error(got)
	}
}

func TestAFloodIsHeldAndWholeMassesAreRefused(t *testing.T) {
	d := depotIn(t)
	keep(t, d, osv, zipOf(t, base()...), t0)
	list := base()
	for i := range 600 {
		list = append(list, line{id: fmt.Sprintf("DEBIAN-CVE-2025-%04d", i), cve: fmt.Sprintf("CVE-2025-%04d", i), pkg: "curl", fixed: "1.4-1", modified: t0})
	}
	half := slices.Clone(list[:330])
	if k := keep(t, d, osv, zipOf(t, half...), t0+3600); k.Held != 0 {
		t.Fatal("300 in a day are no flood:", k.Held)
	}
	if k := keep(t, d, osv, zipOf(t, list...), t0+7200); k.State != Accepted || k.Held != 300 {
		t.Fatal("drop by drop:", k.State, k.Held, k.Reasons)
	}
	if got := says(t, d, "osv", t0+7200); len(got) != 330 {
		t.Error(len(got), "records count")
	}
	list[0].modified++
	if k := keep(t, d, osv, zipOf(t, list[:330]...), t0+10800); k.State != Accepted || k.Held != 0 {
		t.Error("a flood that ends is a loss:", k.State, k.Reasons)
	}
	var many []line
	for i, l := range list[:330] {
		if l.modified = t0 + 2; i < 150 {
			l.withdrawn = true
		}
		many = append(many, l)
	}
	if k := keep(t, d, Rules{Name: "osv", Kind: "osv", MaxAge: week, Shrink: 100}, zipOf(t, many...), t0+3*dayLong); k.State != Refused || codes(k) != string(quarantine.CodeMass) {
		t.Errorf("%s %v", k.State, k.Reasons)
	}
}

func TestWhatIsHeldCannotBeExchanged(t *testing.T) {
	d, _ := lowered(t)
	k, _ := feedOf(t, d, "osv").InUse()
	path := d.object(k.Holds)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"empty": "", "a byte": strings.Replace(string(good), "1.5-1", "9.5-1", 1), "no list": "{}\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Read(t.Context(), "osv", t0, 0); refusal.CodeOf(err) != CodeDepot {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Read(t.Context(), "osv", t0, 0); refusal.CodeOf(err) != CodeDepot || !strings.Contains(err.Error(), "no such file") {
		t.Error("without it:", err)
	}
	if err := d.hold("osv", &Kept{}, nil); err != nil {
		t.Error(err)
	}
	other, err := heldBytes("elsewhere", k, nil)
	if err != nil || os.WriteFile(d.object(canon.SumFile(other)), other, 0o644) != nil {
		t.Fatal(err)
	}
	k.Holds = canon.SumFile(other)
	if _, err := d.held(feedOf(t, d, "osv"), k); refusal.CodeOf(err) != CodeDepot {
		t.Error("the list of another feed:", err)
	}
	other = []byte(strings.Replace(string(good), typeHeld, "patchwrit/held/v2", 1))
	if err := os.WriteFile(d.object(canon.SumFile(other)), other, 0o644); err != nil {
		t.Fatal(err)
	}
	k.Holds = canon.SumFile(other)
	if _, err := d.held(feedOf(t, d, "osv"), k); refusal.CodeOf(err) != CodeDepot || !strings.Contains(err.Error(), "no such list") {
		t.Error("a list of another type:", err)
	}
}

// killedHolding keeps a poisoned snapshot, and dies at the point.
func killedHolding(dir, point string) {
	d := Open(dir, nil)
	d.point = func(at string) {
		if at == point {
			os.Exit(137)
		}
	}
	staging, err := d.Staging()
	if err != nil {
		panic(err)
	}
	file := filepath.Join(staging, "new")
	raw, err := os.ReadFile(filepath.Join(dir, "poison"))
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		panic(err)
	}
	_, err = d.Keep(context.Background(), osv, Arrived{File: file}, t0+dayLong)
	fmt.Println("not killed", err)
}

func TestAKillLetsNoPoisonThrough(t *testing.T) {
	list := base()
	list[0].withdrawn, list[0].modified = true, t0
	for _, point := range []string{"bytes written", "bytes renamed", "candidate", "judged", "held", "feed written", "feed renamed"} {
		d := depotIn(t)
		keep(t, d, osv, zipOf(t, base()...), t0)
		was := fmt.Sprint(says(t, d, "osv", t0))
		if err := os.WriteFile(filepath.Join(d.dir, "poison"), []byte(zipOf(t, list...)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "PATCHWRIT_DEPOT_KILL="+d.dir, "PATCHWRIT_DEPOT_HOLD=1", "PATCHWRIT_DEPOT_POINT="+point)
		if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 137 {
			t.Fatalf("%s: %v: %s", point, err, out)
		}
		if got := fmt.Sprint(says(t, d, "osv", t0+dayLong)); got != was {
			t.Errorf("%s: it says %s", point, got)
		}
		if err := d.Settle(t.Context(), "osv", t0+dayLong); err != nil {
			t.Fatal(err)
		}
		k := keep(t, d, osv, zipOf(t, list...), t0+dayLong)
		if got := fmt.Sprint(says(t, d, "osv", t0+dayLong)); got != was || k.Held != 1 || objects(t, d) != 3 {
			t.Errorf("%s: later %d held, %d objects, it says %s", point, k.Held, objects(t, d), got)
		}
	}
}

// entries is a catalogue as of day 2 of a test.
func entries(list []kev.Entry, released int64) string {
	var out []string
	for _, e := range list {
		ransom := "Unknown"
		if e.Ransomware == "known" {
			ransom = "Known"
		}
		out = append(out, fmt.Sprintf(`{"cveID":%q,"vendorProject":"v","product":"p","vulnerabilityName":"n","dateAdded":%q,"shortDescription":"s","requiredAction":"r","dueDate":%q,"knownRansomwareCampaignUse":%q,"notes":"","cwes":[]}`, e.CVE, e.Added, e.Due, ransom))
	}
	return fmt.Sprintf(`{"title":"t","catalogVersion":"2026.09.21","dateReleased":%q,"count":%d,"vulnerabilities":[%s]}`,
		time.Unix(released, 0).UTC().Format("2006-01-02T15:04:05.0000Z"), len(list), strings.Join(out, ","))
}

func listing(n int) (out []kev.Entry) {
	for i := range n {
		out = append(out, kev.Entry{CVE: fmt.Sprintf("CVE-2026-%04d", 1000+i), Added: "2026-01-02", Due: "2026-01-23", Ransomware: "known"})
	}
	return out
}

// TestNothingLowersUrgencyAlone: entries of KEV that go, or say less, stay; many
// new ones do not count.
func TestNothingLowersUrgencyAlone(t *testing.T) {
	for name, c := range map[string]struct {
		edit func([]kev.Entry) []kev.Entry
		held int
		code string
	}{
		"twin":              {func(l []kev.Entry) []kev.Entry { return append(l, listing(140)[100:]...) }, 0, ""},
		"gone":              {func(l []kev.Entry) []kev.Entry { return l[1:] }, 1, "GONE"},
		"no ransomware now": {func(l []kev.Entry) []kev.Entry { l[0].Ransomware = "unknown"; return l }, 1, "LOWERED"},
		"due later":         {func(l []kev.Entry) []kev.Entry { l[0].Due = "2026-12-01"; return l }, 1, "LOWERED"},
		"both days past": {func(l []kev.Entry) []kev.Entry {
			l[0].Due = time.Unix(t0-dayLong, 0).UTC().Format(time.DateOnly)
			return l
		}, 0, ""},
		"due today":       {func(l []kev.Entry) []kev.Entry { l[0].Due = time.Unix(t0, 0).UTC().Format(time.DateOnly); return l }, 1, "LOWERED"},
		"due earlier":     {func(l []kev.Entry) []kev.Entry { l[0].Due = "2026-01-05"; return l }, 0, ""},
		"from the future": {func(l []kev.Entry) []kev.Entry { l[0].Added = "2099-01-01"; return l }, 1, "TIME"},
		"a flood":         {func(l []kev.Entry) []kev.Entry { return append(l, listing(141)[100:]...) }, 41, "FLOOD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := depotIn(t)
			keep(t, d, catalogs, entries(listing(100), t0-100), t0)
			k := keep(t, d, catalogs, entries(c.edit(listing(100)), t0), t0+3600)
			if k.State != Accepted || k.Held != c.held {
				t.Fatalf("%+v", k)
			}
			got, why := gaps(t, d, "kev", t0+3600)
			if c.held == 0 {
				return
			}
			if why != "" || fmt.Sprint(got.KEV.Entries) != fmt.Sprint(lookup(t, listing(100))) || !strings.Contains(fmt.Sprint(heldCodes(t, d, "kev", t0)), c.code) {
				t.Errorf("%v, held %v", got.KEV.Entries, heldCodes(t, d, "kev", t0))
			}
			if _, err := d.Release(t.Context(), "kev", func(Held) bool { return true }, "ada", "read CISA's page", t0+3600); err != nil {
				t.Fatal(err)
			}
			if got, _ := gaps(t, d, "kev", t0+3600); len(heldCodes(t, d, "kev", t0)) != 0 || fmt.Sprint(got.KEV.Entries) != fmt.Sprint(lookup(t, c.edit(listing(100)))) {
				t.Errorf("released, and still %v", heldCodes(t, d, "kev", t0))
			}
		})
	}
}

// lookup reads entries as the feed does.
func lookup(t *testing.T, list []kev.Entry) []kev.Entry {
	c, err := kev.Read(strings.NewReader(entries(list, t0)), kev.Options{Now: time.Unix(t0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return c.Entries
}

// TestARecordOfTheCVEConfirmsAListing: what CISA's own record calls exploited
// counts out of a flood, and stays listed.
func TestARecordOfTheCVEConfirmsAListing(t *testing.T) {
	d := depotIn(t)
	keep(t, d, catalogs, entries(listing(100), t0-100), t0)
	keep(t, d, catalogs, entries(listing(150), t0), t0+3600)
	if got := heldCodes(t, d, "kev", t0); len(got) != 50 {
		t.Fatal(got)
	}
	record := func(cve, exploitation string) string {
		return fmt.Sprintf(`{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":%q,"assignerOrgId":"00000000-0000-4000-8000-000000000000","state":"PUBLISHED","dateUpdated":"2026-09-01T00:00:00Z"},"containers":{"cna":{"providerMetadata":{"orgId":"00000000-0000-4000-8000-000000000000","dateUpdated":"2026-09-01T00:00:00Z"},"descriptions":[],"affected":[],"references":[]},
"adp":[{"providerMetadata":{"orgId":"134c704f-9b21-4f2e-91b3-4a467353bcc0","shortName":"CISA-ADP","dateUpdated":"2026-09-01T00:00:00Z"},"metrics":[{"other":{"type":"ssvc","content":{"id":%[1]q,"role":"CISA Coordinator","options":[{"Exploitation":%q},{"Automatable":"no"},{"Technical Impact":"total"}],"version":"2.0.3","timestamp":"2026-09-01T00:00:00Z"}}}]}]}}`, cve, exploitation)
	}
	keep(t, d, Rules{Name: "ssvc", Kind: "cve", MaxAge: week, Shrink: 10}, archive(t, map[string]string{
		"CVE-2026-1100.json": record("CVE-2026-1100", "active"), "CVE-2026-1101.json": record("CVE-2026-1101", "poc"),
	}), t0+3600)
	got := heldCodes(t, d, "kev", t0)
	if _, still := got["CVE-2026-1100"]; len(got) != 49 || still {
		t.Error(len(got), got)
	}
	c, _ := gaps(t, d, "kev", t0+3600)
	if _, l := c.KEV.Lookup("CVE-2026-1100"); l != kev.Listed {
		t.Error(l)
	}
	if _, l := c.KEV.Lookup("CVE-2026-1101"); l != kev.Unlisted {
		t.Error(l)
	}
	if w, err := d.Words("kev"); err != nil || len(w) != 1 || w[0].By != "CVE-2026-1100 (CISA-ADP) of feed ssvc" {
		t.Error(w, err)
	}
}

// scores is a day's EPSS of 400 CVEs.
func scores(model, on string, score func(i int) float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#model_version:%s,score_date:%sT00:00:00+0000\ncve,epss,percentile\n", model, on)
	for i := range 400 {
		fmt.Fprintf(&b, "CVE-2026-%04d,%.5f,%.5f\n", 1000+i, score(i), float64(i)/400)
	}
	return b.String()
}

func TestScoresThatJumpAreRefused(t *testing.T) {
	days := Rules{Name: "epss", Kind: "epss", MaxAge: 10 * week, Shrink: 10}
	plain := func(i int) float64 { return float64(i) / 500 }
	for name, c := range map[string]struct {
		on, model string
		score     func(int) float64
		want      string
		text      string
	}{
		"the next day":    {"2026-09-02", "v1", func(i int) float64 { return plain(i) * 1.01 }, "", ""},
		"a few that move": {"2026-09-02", "v1", func(i int) float64 { return plain(i) + map[bool]float64{true: .15}[i%30 == 0] }, "", ""},
		"backwards":       {"2026-08-31", "v1", plain, "PW-FEED-BACKWARDS", ""},
		"all zero":        {"2026-09-02", "v1", func(int) float64 { return 0 }, "PW-POISON-SCORES", "every score is zero"},
		"many that move":  {"2026-09-02", "v1", func(i int) float64 { return plain(i) + map[bool]float64{true: .15}[i%20 == 0] }, "PW-POISON-SCORES", "20 of 400 scores moved"},
		"turned round":    {"2026-09-02", "v2", func(i int) float64 { return plain(399 - i) }, "PW-POISON-SCORES", `of model "v2"`},
		"the top exchanged": {"2026-09-02", "v1", func(i int) float64 {
			return map[bool]float64{true: plain(i) - .09, false: plain(i)}[i >= 380]
		}, "PW-POISON-SCORES", "still among"},
	} {
		d := depotIn(t)
		keep(t, d, days, scores("v1", "2026-09-01", plain), t0)
		k := keep(t, d, days, scores(c.model, c.on, c.score), t0+3600)
		if codes(k) != c.want || c.text != "" && !strings.Contains(k.Reasons[0].Text.Text(), c.text) {
			t.Errorf("%s: %+v", name, k.Reasons)
		}
		got, _ := gaps(t, d, "epss", t0+3600)
		if s, _ := got.EPSS.Of("CVE-2026-1399"); c.want != "" && s.EPSS != 798_000 {
			t.Errorf("%s: the score is %d", name, s.EPSS)
		}
	}
}

// TestAHeldRecordIsSeenByNobody: what is read of a held record is its last form,
// with the reading it came from.
func TestAHeldRecordKeepsItsOwnReading(t *testing.T) {
	d, _ := lowered(t)
	_, c, err := d.Read(t.Context(), "osv", t0+dayLong, 0)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(c.Set.Advisories, func(a advisory.Advisory) bool { return a.ID == "DEBIAN-CVE-2026-1000" })
	if a := c.Set.Advisories[i]; a.Feed.Fetched != t0 || a.Feed.Snapshot == c.Set.Snapshot.Digest || len(c.Held) != 1 {
		t.Errorf("%+v", a.Feed)
	}
}

// TestCISAsRecordFreesNoEntryThatSaysLess: that a vulnerability is exploited
// confirms that it is listed, and not that it may wait.
func TestCISAsRecordFreesNoEntryThatSaysLess(t *testing.T) {
	d := depotIn(t)
	keep(t, d, catalogs, entries(listing(100), t0-100), t0)
	keep(t, d, records, bookOf(t, word{cve: "CVE-2026-1000", exploitation: "active", changed: t0}), t0)
	l := listing(150)
	l[0].Ransomware = "unknown"
	keep(t, d, catalogs, entries(l, t0), t0+3600)
	if got := heldCodes(t, d, "kev", t0); got["CVE-2026-1000"] != "LOWERED" || len(got) != 51 {
		t.Error(got)
	}
	for who, want := range map[string]string{"cna": "", cve.CISA: cve.CISA} { // nobody else's word lists anything
		if got := exploited(Held{}, cve.Record{Claims: []cve.Claim{{Point: cve.Exploitation, Value: "active", Source: who}}}); got != want {
			t.Errorf("%s confirms as %q", who, got)
		}
	}
}
