package depot

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/refusal"
)

const (
	t0   = int64(1_790_000_000)
	week = 7 * 24 * 3600
)

var (
	osv      = Rules{Name: "osv", Kind: "osv", MaxAge: week, Shrink: 10}
	catalogs = Rules{Name: "kev", Kind: kev.Kind, MaxAge: week, Shrink: 10}
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("PATCHWRIT_DEPOT_KILL"); dir != "" {
		if os.Getenv("PATCHWRIT_DEPOT_HOLD") != "" {
			killedHolding(dir, os.Getenv("PATCHWRIT_DEPOT_POINT"))
			return
		}
		killed(dir, os.Getenv("PATCHWRIT_DEPOT_POINT"))
		return
	}
	os.Exit(m.Run())
}

// rec is an OSV record that was modified at the time.
func rec(id string, modified int64) string {
	return fmt.Sprintf(`{"id":%q,"modified":%q,"affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"}]}]}]}`,
		id, time.Unix(modified, 0).UTC().Format(time.RFC3339))
}

// catalogue is a KEV catalogue of n entries released at the time.
func catalogue(n int, released int64) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"cveID":"CVE-2026-%04d","vendorProject":"v","product":"p","vulnerabilityName":"n","dateAdded":"2026-01-02","shortDescription":"s","requiredAction":"r","dueDate":"2026-01-23","knownRansomwareCampaignUse":"Unknown","notes":"","cwes":[]}`, i+1))
	}
	return fmt.Sprintf(`{"title":"t","catalogVersion":"2026.09.21","dateReleased":%q,"count":%d,"vulnerabilities":[%s]}`,
		time.Unix(released, 0).UTC().Format("2006-01-02T15:04:05.0000Z"), n, strings.Join(list, ","))
}

func depotIn(t testing.TB) *Depot {
	d := Open(filepath.Join(t.TempDir(), "depot"), nil)
	return d
}

// arrive puts bytes where a download would be.
func arrive(t testing.TB, d *Depot, text string) string {
	t.Helper()
	dir, err := d.Staging()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(dir, "x")
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func keep(t testing.TB, d *Depot, r Rules, text string, now int64) Kept {
	t.Helper()
	return keepAs(t, d, r, Arrived{File: arrive(t, d, text), Source: "https://feeds.example/f", ETag: `"e"`, Address: "a"}, now)
}

func keepAs(t testing.TB, d *Depot, r Rules, a Arrived, now int64) Kept {
	t.Helper()
	k, err := d.Keep(t.Context(), r, a, now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func codes(k Kept) string {
	var out []string
	for _, r := range k.Reasons {
		out = append(out, string(r.Code))
	}
	return strings.Join(out, " ")
}

func feedOf(t testing.TB, d *Depot, name string) Feed {
	t.Helper()
	f, ok, err := d.Feed(name)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return f
}

// gaps reads a feed and returns its gaps as one text.
func gaps(t testing.TB, d *Depot, name string, now int64) (Content, string) {
	t.Helper()
	_, c, err := d.Read(t.Context(), name, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, g := range c.Snapshot().Partial {
		out = append(out, g.Why.Text())
	}
	return c, strings.Join(out, "; ")
}

func objects(t testing.TB, d *Depot) int {
	list, err := os.ReadDir(filepath.Join(d.dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestWhatIsAcceptedIsRead(t *testing.T) {
	d := depotIn(t)
	text := rec("A", t0-100)
	k := keep(t, d, osv, text, t0)
	if k.State != Accepted || k.Count != 1 || k.Newest != t0-100 || k.Digest != canon.SumFile([]byte(text)) || k.Size != int64(len(text)) {
		t.Fatalf("%+v", k)
	}
	c, why := gaps(t, d, "osv", t0+50)
	s := c.Snapshot()
	if why != "" || c.Set.Advisories[0].ID != "A" || s.Name != "osv" || s.Source != "https://feeds.example/f" || s.Fetched != t0 || c.Set.Advisories[0].Feed != s.Origin() {
		t.Fatalf("%s %+v", why, s)
	}
	if got := feedOf(t, d, "osv").Standing(t0 + 50); got != OK {
		t.Error(got)
	}
	k = keep(t, d, catalogs, catalogue(3, t0-100), t0)
	if c, why := gaps(t, d, "kev", t0); k.State != Accepted || why != "" || len(c.KEV.Entries) != 3 || c.Snapshot().Name != "kev" {
		t.Fatal(k, why)
	}
	if names, err := d.Names(); err != nil || !slices.Equal(names, []string{"kev", "osv"}) {
		t.Error(names, err)
	}
}

func TestTheSameBytesAreNoNewSnapshot(t *testing.T) {
	d := depotIn(t)
	keep(t, d, osv, rec("A", t0-100), t0)
	k := keepAs(t, d, osv, Arrived{File: arrive(t, d, rec("A", t0-100)), ETag: `"new"`, Address: "b"}, t0+60)
	f := feedOf(t, d, "osv")
	if len(f.Kept) != 1 || objects(t, d) != 1 || f.Checked != t0+60 || k.Fetched != t0 || f.Kept[0].ETag.Text() != `"new"` || f.Kept[0].Address != "b" {
		t.Errorf("%+v", f)
	}
	left, _ := filepath.Glob(filepath.Join(d.dir, "partial", "*"))
	if len(left) != 0 {
		t.Error(left)
	}
}

// Each row is refused for its reason, what was in use stays in use and now has a
// gap; the twin passes.
func TestTheStandardJudge(t *testing.T) {
	many := func(n int, modified int64) string {
		return catalogue(n, modified)
	}
	for name, c := range map[string]struct {
		text     string
		modified int64
		want     string
	}{
		"twin":                   {many(20, t0), t0, ""},
		"one in ten fewer":       {many(18, t0), t0, ""},
		"shrunk":                 {many(17, t0), t0, "PW-FEED-SHRUNK"},
		"empty":                  {`{"catalogVersion":"1","dateReleased":"2026-09-21T14:13:20Z","count":0,"vulnerabilities":[]}`, t0, "PW-FEED-EMPTY PW-FEED-SHRUNK"},
		"newest record is older": {many(21, t0-200), t0, "PW-FEED-BACKWARDS"},
		"server's date is older": {many(21, t0), t0 - 200, "PW-FEED-BACKWARDS"},
		"no date":                {many(21, t0), 0, ""},
		"no feed":                {"<html>", t0, "PW-FEED-UNUSABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			d := depotIn(t)
			first := keepAs(t, d, catalogs, Arrived{File: arrive(t, d, many(20, t0-100)), Modified: t0 - 100}, t0)
			if first.State != Accepted {
				t.Fatal(first)
			}
			k := keepAs(t, d, catalogs, Arrived{File: arrive(t, d, c.text), Modified: c.modified}, t0+10)
			if codes(k) != c.want || (k.State == Accepted) != (c.want == "") {
				t.Fatalf("%s: %+v", k.State, k.Reasons)
			}
			f := feedOf(t, d, "kev")
			in, _ := f.InUse()
			got, why := gaps(t, d, "kev", t0+20)
			if c.want == "" {
				if in.Digest != k.Digest || why != "" || f.Standing(t0+20) != OK {
					t.Errorf("%+v, gaps %q", in, why)
				}
				return
			}
			if in.Digest != first.Digest || len(got.KEV.Entries) != 20 || f.Standing(t0+20) != Contest ||
				!strings.Contains(why, "was refused; "+strings.Fields(c.want)[0]) {
				t.Errorf("%+v, gaps %q", in, why)
			}
			if _, l := got.KEV.Lookup("CVE-2020-1"); l != kev.Unknown {
				t.Error("absent from a contested catalogue is", l)
			}
			if err := d.Confirmed(catalogs, t0+30); err != nil {
				t.Fatal(err)
			}
			if _, why := gaps(t, d, "kev", t0+40); why != "" {
				t.Error("confirmed again, and still:", why)
			}
		})
	}
}

func TestBytesThatWereReplacedDoNotReturn(t *testing.T) {
	d := depotIn(t)
	undated := Rules{Name: "t", Kind: "debian-tracker", MaxAge: week, Shrink: 100}
	text := func(id string) string { return `{"p":{"` + id + `":{"releases":{"bookworm":{"status":"open"}}}}}` }
	a := keepAs(t, d, undated, Arrived{File: arrive(t, d, text("CVE-2026-1")), Modified: t0}, t0)
	b := keepAs(t, d, undated, Arrived{File: arrive(t, d, text("CVE-2026-2")), Modified: t0}, t0+1)
	again := keepAs(t, d, undated, Arrived{File: arrive(t, d, text("CVE-2026-1")), Modified: t0}, t0+2)
	if a.State != Accepted || b.State != Accepted || codes(again) != "PW-FEED-BACKWARDS" {
		t.Errorf("%s %s %s %+v", a.State, b.State, again.State, again.Reasons)
	}
	if in, _ := feedOf(t, d, "t").InUse(); in.Digest != b.Digest {
		t.Error("the old one is in use again")
	}
	if k, err := d.Accept(t.Context(), "t", a.Digest, "the vendor took it back", t0+3); err != nil || k.State != Accepted {
		t.Fatal(k, err)
	}
	f := feedOf(t, d, "t")
	if in, _ := f.InUse(); in.Digest != a.Digest || in.Word.Text() != "the vendor took it back" || codes(in) != "PW-FEED-BACKWARDS" || f.Standing(t0+4) != OK {
		t.Errorf("%+v", f)
	}
	if _, err := d.Accept(t.Context(), "t", b.Digest, "", t0+3); err == nil {
		t.Error("an accepted snapshot is accepted again")
	}
}

func TestWhatTheCallerFoundAgainstItIsNotRead(t *testing.T) {
	d := depotIn(t)
	keep(t, d, osv, rec("A", t0-100), t0)
	k := keepAs(t, d, osv, Arrived{File: arrive(t, d, rec("B", t0)), Against: []Reason{{CodeUnusable, "x"}}}, t0+1)
	if c, why := gaps(t, d, "osv", t0+2); k.State != Refused || c.Set.Advisories[0].ID != "A" || !strings.Contains(why, "PW-FEED-UNUSABLE: x") {
		t.Error(k, why)
	}
	// the very bytes in use, which now fail their signature
	k = keepAs(t, d, osv, Arrived{File: arrive(t, d, rec("A", t0-100)), Against: []Reason{{CodeUnusable, "y"}}}, t0+3)
	if _, why := gaps(t, d, "osv", t0+4); k.State != Refused || !strings.Contains(why, "PW-FEED-UNUSABLE: y") {
		t.Error(k, why)
	}
}

func TestSilenceAgesAFeed(t *testing.T) {
	d := depotIn(t)
	keep(t, d, osv, rec("A", t0), t0)
	if err := d.Missed(osv, t0+week, 0, fmt.Errorf("no route")); err != nil {
		t.Fatal(err)
	}
	f := feedOf(t, d, "osv")
	if _, why := gaps(t, d, "osv", t0+week); why != "" || f.Standing(t0+week) != OK || f.Failure != "no route" || f.Tried != t0+week || f.Checked != t0 {
		t.Errorf("%q %+v", why, f)
	}
	if _, why := gaps(t, d, "osv", t0+week+1); !strings.Contains(why, "no source has confirmed it for 168 hours") || !strings.Contains(why, "newest record is 168 hours old") || f.Standing(t0+week+1) != Stale {
		t.Error(why)
	}
	if err := d.Confirmed(osv, t0+week+1); err != nil {
		t.Fatal(err)
	}
	if _, why := gaps(t, d, "osv", t0+week+1); strings.Contains(why, "confirmed") || !strings.Contains(why, "newest record") {
		t.Error(why)
	}
	if _, c, err := d.Read(t.Context(), "osv", t0+week+1, 2*week); err != nil || len(c.Snapshot().Partial) != 0 {
		t.Error("the caller's own limit:", c.Snapshot().Partial, err)
	}
}

func TestNothingAcceptedIsUnknown(t *testing.T) {
	d := depotIn(t)
	for _, r := range []Rules{osv, catalogs, {Name: "e", Kind: "epss", MaxAge: week}, {Name: "c", Kind: "cve", MaxAge: week}, {Name: "n", Kind: "nvd", MaxAge: week}} {
		if err := d.Missed(r, t0, 0, fmt.Errorf("refused")); err != nil {
			t.Fatal(err)
		}
		if c, why := gaps(t, d, r.Name, t0); !strings.Contains(why, "no snapshot of it was accepted yet") || c.Snapshot().Name != r.Name || feedOf(t, d, r.Name).Standing(t0) != Empty {
			t.Error(r.Name, why)
		}
	}
	if _, _, err := d.Read(t.Context(), "absent", t0, 0); err == nil {
		t.Error("a feed that is not there is read")
	}
	if err := d.Missed(Rules{Name: "../x", Kind: "osv"}, t0, 0, os.ErrInvalid); err == nil {
		t.Error("a name leads out of the depot")
	}
	if err := d.Missed(Rules{Name: "osv", Kind: "epss"}, t0, 0, os.ErrInvalid); err == nil {
		t.Error("a feed changed its kind")
	}
}

// What another site fetched is as old here as it was there.
func TestWhatWasFetchedElsewhereKeepsItsAge(t *testing.T) {
	d := depotIn(t)
	carried := func(text string, fetched, checked, now int64) Kept {
		return keepAs(t, d, catalogs, Arrived{File: arrive(t, d, text), Fetched: fetched, Checked: checked}, now)
	}
	if k := carried(catalogue(20, t0), t0, t0+50, t0+week); k.Fetched != t0 || k.State != Accepted {
		t.Fatal(k)
	}
	if f := feedOf(t, d, "kev"); f.Checked != t0+50 || f.Tried != t0+week {
		t.Errorf("%+v", f)
	}
	if k := carried(catalogue(2, t0), t0+100, t0+100, t0+week); k.State != Refused {
		t.Fatal(k)
	}
	carried(catalogue(20, t0), t0, t0+60, t0+week) // from before what was refused
	if f := feedOf(t, d, "kev"); f.Checked != t0+60 || f.Contested == "" {
		t.Errorf("%+v", f)
	}
	carried(catalogue(20, t0), t0, t0+101, t0+week)
	if f := feedOf(t, d, "kev"); f.Checked != t0+101 || f.Contested != "" {
		t.Errorf("%+v", f)
	}
	carried(catalogue(20, t0), t0+9*week, t0+9*week, t0+week)
	if f := feedOf(t, d, "kev"); f.Checked != t0+week {
		t.Error("it was confirmed in the future")
	}
}

func TestOldSnapshotsGo(t *testing.T) {
	d := depotIn(t)
	for i := range int64(6) {
		if k := keep(t, d, catalogs, catalogue(20, t0+i), t0+i); k.State != Accepted {
			t.Fatal(k)
		}
	}
	for i := range int64(4) {
		if k := keep(t, d, catalogs, catalogue(int(i+1), t0+9), t0+9+i); k.State != Refused {
			t.Fatal(k)
		}
	}
	states := map[State]int{}
	for _, k := range feedOf(t, d, "kev").Kept {
		states[k.State]++
	}
	if states[Accepted] != 3 || states[Refused] != 2 || objects(t, d) != 5 {
		t.Error(states, objects(t, d))
	}
	if err := d.Remove("kev"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := d.Feed("kev"); ok || err != nil || objects(t, d) != 0 {
		t.Error(ok, err, objects(t, d))
	}
}

func TestBytesThatChangedOnDiskAreRefused(t *testing.T) {
	d := depotIn(t)
	k := keep(t, d, catalogs, catalogue(2, t0), t0)
	if err := os.WriteFile(d.object(k.Digest), []byte(catalogue(3, t0)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Read(t.Context(), "kev", t0, 0); refusal.CodeOf(err) != CodeDepot {
		t.Error(err)
	}
	if err := os.Remove(d.object(k.Digest)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Read(t.Context(), "kev", t0, 0); refusal.CodeOf(err) != CodeDepot {
		t.Error("bytes that are gone:", err)
	}
	if f, err := d.Bytes("../feeds/kev.json"); err == nil {
		t.Error("a digest leads out of the objects:", f.Name())
	}
	if err := os.WriteFile(d.feedFile("kev"), []byte(`{}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Feed("kev"); refusal.CodeOf(err) != CodeDepot {
		t.Error(err)
	}
}

// strict is a judge of a test.
type strict func(Case) ([]Reason, error)

func (s strict) Judge(_ context.Context, c Case) (Ruling, error) {
	against, err := s(c)
	return Ruling{Against: against}, err
}

func TestTheJudgeSeesBothSnapshots(t *testing.T) {
	d := depotIn(t)
	keep(t, d, osv, rec("A", t0-100), t0)
	var seen string
	d = Open(d.dir, strict(func(c Case) ([]Reason, error) {
		last, err := c.LastContent(t.Context())
		seen = last.Set.Advisories[0].ID + " " + c.Content.Set.Advisories[0].ID + " " + string(c.New.State)
		return []Reason{{CodeShrunk, "no"}}, err
	}))
	if k := keep(t, d, osv, rec("B", t0), t0+1); k.State != Refused || seen != "A B candidate" {
		t.Error(k.State, seen)
	}
	d = Open(d.dir, strict(func(Case) ([]Reason, error) { return nil, os.ErrDeadlineExceeded }))
	if _, err := d.Keep(t.Context(), osv, Arrived{File: arrive(t, d, rec("C", t0))}, t0+2); err == nil {
		t.Error("the judge's failure is not told")
	}
	f := feedOf(t, d, "osv")
	if in, _ := f.InUse(); f.Kept[0].State != Candidate || in.Count != 1 || in.State != Accepted {
		t.Errorf("%+v", f)
	}
	if c, _ := gaps(t, d, "osv", t0+3); c.Set.Advisories[0].ID != "A" {
		t.Error("a candidate is read")
	}
	d = Open(d.dir, nil)
	if err := d.Settle(t.Context(), "osv", t0+4); err != nil {
		t.Fatal(err)
	}
	if c, why := gaps(t, d, "osv", t0+5); c.Set.Advisories[len(c.Set.Advisories)-1].ID != "C" || len(c.Held) != 1 || why != "" {
		t.Error("the candidate was not judged later:", why)
	}
}

func TestWhoGivesUpDecidesNothing(t *testing.T) {
	d := depotIn(t)
	ctx, cancel := context.WithCancel(t.Context())
	d.point = func(at string) {
		if at == "candidate" {
			cancel()
		}
	}
	if _, err := d.Keep(ctx, osv, Arrived{File: arrive(t, d, rec("A", t0))}, t0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if f := feedOf(t, d, "osv"); f.Kept[0].State != Candidate || f.Contested != "" {
		t.Errorf("%+v", f)
	}
}

// cveRecord is a CVE record in JSON 5.
func cveRecord(id string, modified int64) string {
	at := time.Unix(modified, 0).UTC().Format(time.RFC3339)
	return fmt.Sprintf(`{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":%q,"assignerOrgId":"00000000-0000-4000-8000-000000000000","state":"PUBLISHED","dateUpdated":%q},"containers":{"cna":{"providerMetadata":{"orgId":"00000000-0000-4000-8000-000000000000","dateUpdated":%q},"descriptions":[],"affected":[],"references":[]}}}`, id, at, at)
}

func TestFactsAboutVulnerabilitiesAreKeptToo(t *testing.T) {
	d := depotIn(t)
	records := Rules{Name: "c", Kind: "cve", MaxAge: week, Shrink: 10}
	files := map[string]string{}
	for _, id := range []string{"CVE-2026-1001", "CVE-2026-1002"} {
		files["x/"+id+".json"] = cveRecord(id, t0-100)
	}
	if k := keep(t, d, records, archive(t, files), t0); k.State != Accepted || k.Count != 2 || k.Newest != t0-100 || k.Gaps != 0 {
		t.Fatalf("%+v", k)
	}
	_, c, err := d.ReadOf(t.Context(), "c", t0, 0, func(id string) bool { return id == "CVE-2026-1002" })
	if err != nil || len(c.CVE.Records) != 1 || c.CVE.Snapshot.Name != "c" || c.CVE.Records[0].Feed != c.CVE.Snapshot.Origin() || len(c.CVE.Snapshot.Partial) != 0 {
		t.Errorf("%+v %v", c.CVE, err)
	}
	if k := keep(t, d, Rules{Name: "n", Kind: "nvd", MaxAge: week}, cveRecord("CVE-2026-1001", t0), t0); codes(k) != "PW-FEED-UNUSABLE" || !strings.Contains(k.Reasons[0].Text.Text(), "its content is cve json 5, not nvd api 2.0") {
		t.Errorf("%+v", k)
	}
	if k := keep(t, d, Rules{Name: "o", Kind: "osv", MaxAge: week}, `{"p":{"CVE-2026-1":{"releases":{"bookworm":{"status":"open"}}}}}`, t0); codes(k) != "PW-FEED-UNUSABLE" {
		t.Errorf("the tracker's export is taken for OSV: %+v", k)
	}
	if k := keep(t, d, Rules{Name: "x", Kind: "of another version", MaxAge: week}, "{}", t0); codes(k) != "PW-FEED-UNUSABLE" || !strings.Contains(k.Reasons[0].Text.Text(), "knows no feeds of kind") {
		t.Errorf("%+v", k)
	}
	if IsFact("osv") || !IsFact("cve") || !slices.Contains(Kinds(), "nvd") || !slices.Contains(Kinds(), "osv") {
		t.Error(Kinds())
	}
}

// killed keeps a snapshot, and dies at the point.
func killed(dir, point string) {
	d := Open(dir, nil)
	d.point = func(at string) {
		if at == point {
			os.Exit(137) // nothing is flushed, no deferred call runs
		}
	}
	staging, err := d.Staging()
	if err != nil {
		panic(err)
	}
	file := filepath.Join(staging, "new")
	if err := os.WriteFile(file, []byte(catalogue(21, t0+5)), 0o600); err != nil {
		panic(err)
	}
	_, err = d.Keep(context.Background(), catalogs, Arrived{File: file}, t0+10)
	fmt.Println("not killed", err)
}

func TestAKillLeavesTheDepotWhole(t *testing.T) {
	old, young := canon.SumFile([]byte(catalogue(20, t0))), canon.SumFile([]byte(catalogue(21, t0+5)))
	for _, point := range []string{"bytes written", "bytes renamed", "feed written", "feed renamed", "candidate", "judged"} {
		t.Run(point, func(t *testing.T) {
			d := depotIn(t)
			keep(t, d, catalogs, catalogue(20, t0), t0)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "PATCHWRIT_DEPOT_KILL="+d.dir, "PATCHWRIT_DEPOT_POINT="+point)
			if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 137 {
				t.Fatalf("%v: %s", err, out)
			}
			c, why := gaps(t, d, "kev", t0+20)
			if got := c.Snapshot().Digest; got != old || why != "" {
				t.Fatalf("after the kill %s is read, %q", got.Short(), why)
			}
			if err := d.Settle(t.Context(), "kev", t0+20); err != nil {
				t.Fatal(err)
			}
			keep(t, d, catalogs, catalogue(21, t0+5), t0+30)
			if c, why := gaps(t, d, "kev", t0+40); c.Snapshot().Digest != young || why != "" || objects(t, d) != 2 {
				t.Errorf("later %s is read, %q, %d objects", c.Snapshot().Digest.Short(), why, objects(t, d))
			}
			if left, _ := filepath.Glob(filepath.Join(d.dir, "feeds", ".new-*")); len(left) > 0 {
				t.Error(left)
			}
		})
	}
}

func TestWritersDoNotLoseEachOther(t *testing.T) {
	d := depotIn(t)
	done := make(chan error)
	for i := range 8 {
		go func() {
			done <- d.Missed(Rules{Name: fmt.Sprintf("f%d", i), Kind: "osv", MaxAge: week}, t0, 0, os.ErrClosed)
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if names, err := d.Names(); len(names) != 8 || err != nil {
		t.Error(names, err)
	}
}

// archive is a zip of files.
func archive(t testing.TB, files map[string]string) string {
	t.Helper()
	var zipped bytes.Buffer
	z := zip.NewWriter(&zipped)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped.String()
}
