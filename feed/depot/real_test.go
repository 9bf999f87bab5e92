package depot

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/version"
)

// realRecords are the raw records of Debian 12, by file name.
func realRecords(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	shareddata.Zipped(t, "../..", "debian/osv-derived-bookworm.zip", func(name string, raw []byte) {
		var o object
		err := json.Unmarshal(raw, &o)
		o["severity"] = []any{object{"type": "CVSS_V3", "score": "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}} // they have none; a jump needs one
		if err == nil {
			out[name], err = json.Marshal(o)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return out
}

// realHost has every package of main, and the world knows what Debian 12 ever
// carried.
func realHost(t testing.TB, d *Depot, now int64) inventory.Inventory {
	inv := inventory.Inventory{OS: inventory.OS{ID: "debian", VersionID: "12", Codename: "bookworm"}, Arch: "amd64"}
	for _, s := range shareddata.Stanzas(t, "../..", shareddata.BookwormMain) {
		inv.Packages = append(inv.Packages, inventory.Package{Name: s.Package, Arch: s.Arch, Version: s.Version, Scheme: version.Deb,
			Source: s.Source, SourceVersion: s.SourceVersion, Status: inventory.Status{Want: "install", Flag: "ok", State: "installed"}})
	}
	for i, list := range [][][2]string{nil, shareddata.Carried(t, "../..")} { // somebody has looked from the start
		_, err := world.Learn(d.World(), []world.Archive{{Ecosystem: "Debian:12", Name: "all", Versions: func(yield func(string, string) bool) {
			for _, c := range list {
				if !yield(c[0], c[1]) {
					return
				}
			}
		}}}, now+int64(i))
		if err != nil {
			t.Fatal(err)
		}
	}
	return inv
}

// object is a JSON object of a record.
type object = map[string]any

// fixes calls edit for every fixed version.
func fixes(o object, edit func(event object, v string)) {
	for _, a := range o["affected"].([]any) {
		for _, r := range a.(object)["ranges"].([]any) {
			for _, e := range r.(object)["events"].([]any) {
				if v, ok := e.(object)["fixed"].(string); ok {
					edit(e.(object), v)
				}
			}
		}
	}
}

// poison makes a bad record of a good one; false: the bad one stands beside it.
var poison = map[string]func(r *rand.Rand, o object) (instead bool){
	"withdrawn": func(_ *rand.Rand, o object) bool { o["withdrawn"] = o["modified"]; return true },
	"lowered": func(_ *rand.Rand, o object) bool {
		fixes(o, func(e object, v string) { e["fixed"] = "0~" + v })
		return true
	},
	"raised": func(r *rand.Rand, o object) bool {
		fixes(o, func(e object, v string) { e["fixed"] = fmt.Sprintf("%s+evil%d", v, r.IntN(1000)) })
		return true
	},
	"jump": func(r *rand.Rand, o object) bool {
		fixes(o, func(e object, v string) { e["fixed"] = fmt.Sprintf("9%d:%s", r.IntN(10), v[strings.Index(v, ":")+1:]) })
		return true
	},
	"unreadable": func(_ *rand.Rand, o object) bool {
		fixes(o, func(e object, v string) { e["fixed"] = v + "_or_so" })
		return true
	},
	"package gone": func(_ *rand.Rand, o object) bool { o["affected"] = o["affected"].([]any)[1:]; return true },
	"other package": func(_ *rand.Rand, o object) bool {
		for _, a := range o["affected"].([]any) {
			a.(object)["package"].(object)["name"] = "zlib"
		}
		return true
	},
	"time back":  func(_ *rand.Rand, o object) bool { o["modified"] = "2001-01-01T00:00:00Z"; return true },
	"the future": func(_ *rand.Rand, o object) bool { o["modified"] = "2096-01-01T00:00:00Z"; return true },
	"severity": func(_ *rand.Rand, o object) bool {
		o["severity"] = []any{object{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"}}
		return true
	},
	"fake critical": func(r *rand.Rand, o object) bool {
		o["id"] = fmt.Sprintf("DEBIAN-CVE-2027-%d", 10000+r.IntN(1e6))
		fixes(o, func(e object, v string) { e["fixed"] = fmt.Sprintf("%s+evil%d", v, r.IntN(1000)) })
		return false
	},
	"look-alike": func(r *rand.Rand, o object) bool {
		o["id"] = fmt.Sprintf("DEBIAN-CVE-2027-%d", 10000+r.IntN(1e6))
		for _, a := range o["affected"].([]any) {
			pkg := a.(object)["package"].(object)
			name := pkg["name"].(string)
			pkg["name"] = name[:len(name)-1] + "-" + name[len(name)-1:]
		}
		return false
	},
	"flood": func(r *rand.Rand, o object) bool { // well formed, about real packages and versions
		id := fmt.Sprintf("CVE-2027-%d", 10000+r.IntN(1e6))
		o["id"], o["upstream"] = "DEBIAN-"+id, []any{id}
		return false
	},
	"vanished": nil,
}

// newestReal is the time of the newest of the real records.
var newestReal = time.Date(2026, 11, 19, 21, 10, 0, 0, time.UTC).Unix()

// work is what a look for work sees of what counts.
func work(t testing.TB, d *Depot, inv inventory.Inventory, now int64) []string {
	t.Helper()
	_, c, err := d.Read(t.Context(), "osv", now, 100*week)
	if err != nil {
		t.Fatal(err)
	}
	return queue(inv, *c.Set)
}

func queue(inv inventory.Inventory, s advisory.Set) []string {
	out := []string{}
	for _, f := range match.Find(inv, match.NewIndex(s)) {
		if f.Work() {
			out = append(out, strings.Join([]string{f.Advisory, f.Package, f.Arch, f.Fixed}, " "))
		}
	}
	slices.Sort(out)
	return out
}

// poisoned makes a snapshot with n bad records of a kind.
func poisoned(t testing.TB, r *rand.Rand, base map[string][]byte, kind string, n int) map[string][]byte {
	out := maps.Clone(base)
	names := slices.Sorted(maps.Keys(base))
	for i, k := range r.Perm(len(names))[:n] {
		name := names[k]
		var o object
		if err := json.Unmarshal(base[name], &o); err != nil {
			t.Fatal(err)
		}
		if poison[kind] == nil {
			if unixOf(t, o) < newestReal { // without its newest record a snapshot is refused as older
				delete(out, name)
			}
			continue
		}
		if !poison[kind](r, o) {
			name = fmt.Sprintf("more/%d.json", i)
		} else if kind != "time back" && kind != "the future" {
			o["modified"] = time.Unix(unixOf(t, o)+1, 0).UTC().Format(time.RFC3339)
		}
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = raw
	}
	return out
}

func unixOf(t testing.TB, o object) int64 {
	at, err := time.Parse(time.RFC3339, o["modified"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return at.Unix()
}

func packed(t testing.TB, files map[string][]byte) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestTenThousandPoisonedRecordsPassNoDepot lets mutated real records of Debian
// 12 arrive, 100 to a snapshot (600 of a flood), one after the other in one depot,
// against a host that has every package of the release. The work stays what it
// was after each, and when an honest snapshot follows.
func TestTenThousandPoisonedRecordsPassNoDepot(t *testing.T) {
	if testing.Short() {
		t.Skip("84 snapshots take more than 30 s; make test-long has them")
	}
	rounds, now := 6, t0+60*dayLong
	kinds := slices.Sorted(maps.Keys(poison))
	base := realRecords(t)
	d := depotIn(t)
	inv := realHost(t, d, now)
	rules := Rules{Name: "osv", Kind: "osv", MaxAge: 100 * week, Shrink: 10}
	if k := keep(t, d, rules, packed(t, base), now); k.State != Accepted || k.Held != 0 {
		t.Fatalf("%+v", k)
	}
	want := work(t, d, inv, now)
	if len(want) < 400 {
		t.Fatalf("only %d pieces of work: the host shows nothing", len(want))
	}
	r := rand.New(rand.NewPCG(4, 3))
	mutated, held, free := 0, map[string]int{}, 0
	for range rounds {
		for _, kind := range kinds {
			n := map[bool]int{true: 600, false: 100}[kind == "flood"]
			now += 3600
			files := poisoned(t, r, base, kind, n)
			k := keep(t, d, rules, packed(t, files), now)
			if k.State != Accepted {
				t.Fatalf("%s: %+v", kind, k.Reasons)
			}
			mutated, held[kind] = mutated+n, held[kind]+k.Held
			if got := work(t, d, inv, now); !slices.Equal(got, want) {
				t.Errorf("%s: the work changed: %d pieces, were %d", kind, len(got), len(want))
			}
			raw, err := d.open(t.Context(), feedOf(t, d, "osv"), k, now, nil)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Equal(queue(inv, *raw.Set), want) {
				free++
			}
		}
	}
	honest := maps.Clone(base)
	honest["new.json"] = []byte(line{id: "DEBIAN-CVE-2027-1", cve: "CVE-2027-1", pkg: "zlib", modified: now}.String())
	if k := keep(t, d, rules, packed(t, honest), now+3600); k.State != Accepted {
		t.Errorf("an honest snapshot after all: %+v", k)
	}
	for id, why := range heldCodes(t, d, "osv", now+3600) { // names of four letters look like nothing: those records were believed
		if why != "GONE" || !strings.HasPrefix(id, "DEBIAN-CVE-2027-") {
			t.Errorf("an honest snapshot after all: %s is held (%s)", id, why)
		}
	}
	t.Logf("%d mutated records in %d snapshots, %d pieces of work before and after; held: %v; without a judge %d snapshots change no work", mutated, rounds*len(kinds), len(want), held, free)
	if free*2 > rounds*len(kinds) {
		t.Errorf("the poison is weak: %d of %d snapshots change nothing even without a judge", free, rounds*len(kinds))
	}
}
