package flat_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/match/flat"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/version"
)

func compile(t testing.TB, sets ...advisory.Set) []byte {
	t.Helper()
	var b bytes.Buffer
	digest, err := flat.Write(&b, sets...)
	if err != nil {
		t.Fatal(err)
	}
	if f := open(t, b.Bytes(), 0); f.Digest() != digest || !digest.Valid() {
		t.Fatalf("the file has digest %s, Write said %s", f.Digest(), digest)
	}
	return b.Bytes()
}

func open(t testing.TB, raw []byte, now int64) *flat.File {
	t.Helper()
	f, err := flat.Open(bytes.NewReader(raw), int64(len(raw)), now)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// host has packages written "name version source sourceversion state".
func host(packages ...string) inventory.Inventory {
	inv := inventory.Inventory{OS: inventory.OS{ID: "debian", VersionID: "12"}, Arch: "amd64", Partial: []inventory.Gap{}}
	for _, p := range packages {
		f := strings.Fields(p)
		inv.Packages = append(inv.Packages, inventory.Package{Name: f[0], Arch: "amd64", Version: f[1], Scheme: version.Deb,
			Source: f[2], SourceVersion: f[3], Status: inventory.Status{Want: "install", Flag: "ok", State: f[4]}})
	}
	return inv
}

var digests = []canon.Digest{canon.SumFile([]byte("a")), canon.SumFile([]byte("b")), "", "not a digest"}

func genSets(t *rapid.T) []advisory.Set {
	word := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(t, what) }
	list := func(what string, of ...string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(of), 0, 3).Draw(t, what)
	}
	vs := []string{"1.0-1", "2.0-1", "3:1-1", "0", "nonsense ?", ""}
	severities := func() []advisory.Severity {
		out := []advisory.Severity{}
		for range rapid.IntRange(0, 2).Draw(t, "severities") {
			out = append(out, advisory.Severity{Source: word("by", "osv/A", "b"), Type: word("type", "CVSS_V3", "urgency"), Score: word("score", "low", "9")})
		}
		return out
	}
	part := func() advisory.Affected {
		f := advisory.Affected{Ecosystem: word("eco", "Debian:12", "Debian:11", "Debian", "Go"), Package: word("pkg", "a", "b", "linux", "A"), Severities: severities(),
			Ranges: []advisory.Range{}, Versions: list("versions", vs...), Module: word("module", "", "nodejs:18"),
			Status: advisory.Status(word("status", "", "", "unfixed", "no-advisory", "not-affected", "undetermined")), Word: word("word", "", "no-dsa"), Note: canon.NoteOf(word("note", "", "why, \"quoted\" ü"))}
		for range rapid.IntRange(0, 2).Draw(t, "ranges") {
			f.Ranges = append(f.Ranges, advisory.Range{Type: "ECOSYSTEM", Introduced: word("in", vs...), Fixed: word("fix", vs...), LastAffected: word("last", "", "2.0-1")})
		}
		return f
	}
	sets := []advisory.Set{}
	for i := range rapid.IntRange(0, 3).Draw(t, "sets") {
		s := advisory.Snapshot{Name: fmt.Sprint("s", i), Kind: "osv", Source: word("source", "x", "y"), Digest: rapid.SampledFrom(digests).Draw(t, "digest"),
			Fetched: rapid.Int64Range(-5, 5).Draw(t, "fetched"), Newest: rapid.Int64().Draw(t, "newest"), Lapsed: rapid.IntRange(0, 2).Draw(t, "lapsed"), Scope: []advisory.Subject{}, Partial: []advisory.Gap{}}
		if rapid.Bool().Draw(t, "scoped") {
			s.Scope = append(s.Scope, advisory.Subject{Ecosystem: "Debian:12", Package: word("scope", "a", "b")})
		}
		if rapid.Bool().Draw(t, "partial") {
			s.Partial = append(s.Partial, advisory.Gap{Record: "r", Why: "cut"})
		}
		set := advisory.Set{Advisories: []advisory.Advisory{}}
		for range rapid.IntRange(0, 5).Draw(t, "records") {
			a := advisory.Advisory{ID: word("id", "R-1", "R-2", "CVE-2026-1"), Aliases: list("aliases", "CVE-2026-1", "CVE-2026-2", "X"), Upstream: list("upstream", "CVE-2026-3", "Y"),
				Related: list("related", "Z"), Source: word("by", "osv/R", "debian/tracker"), Basis: rapid.SampledFrom([]advisory.Basis{advisory.BasisRecord, advisory.BasisMention, advisory.BasisStatement}).Draw(t, "basis"),
				Published: rapid.Int64().Draw(t, "published"), Modified: 7, Withdrawn: rapid.SampledFrom([]int64{0, 0, 0, 9}).Draw(t, "withdrawn"),
				Summary: canon.NoteOf(word("summary", "", "s")), Severities: severities(), Affected: []advisory.Affected{}, Raw: rapid.SampledFrom(digests).Draw(t, "raw"), Feed: s.Origin()}
			for range rapid.IntRange(0, 4).Draw(t, "affected") {
				a.Affected = append(a.Affected, part())
			}
			set.Advisories = append(set.Advisories, a)
		}
		s.Count = len(set.Advisories)
		set.Snapshot = s
		sets = append(sets, set)
	}
	return sets
}

var questions = []match.Query{{}, {Advisory: "CVE-2026-1"}, {Advisory: "R-2"}, {Advisory: "absent"}, {Package: "a"}, {Package: "absent"}, {Advisory: "CVE-2026-3", Package: "linux"}}

// What is found over a compiled file is what is found over the sets, byte for
// byte, and records come back whole.
func TestCompiledIsTheSame(t *testing.T) {
	inv := host("a 1.5-1 a 1.5-1 installed", "b1 2.0-1 b 2.0-1 triggers-pending", "b2 9 b nonsense^ installed", "c 1 c 1 installed", "slow 1-1 a 1-1 half-installed",
		"linux-image-6.1.0-37-amd64 1.0-1 linux-signed-amd64 1.0+1 installed")
	rapid.Check(t, func(t *rapid.T) {
		sets := genSets(t)
		var b bytes.Buffer
		if _, err := flat.Write(&b, sets...); err != nil {
			t.Fatal(err)
		}
		f, err := flat.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
		if err != nil {
			t.Fatal(err)
		}
		same(t, inv, match.NewIndex(sets...), match.Over(f))
		for _, name := range []string{"a", "A"} {
			s := advisory.Subject{Ecosystem: "Go", Package: name}
			if x, y := of(match.NewIndex(sets...), s), of(match.Over(f), s); x != y {
				t.Fatalf("%s:\nover sets: %s\ncompiled:  %s", name, x, y)
			}
		}
		if !reflect.DeepEqual(f.Snapshots(), snapshots(sets)) {
			t.Fatalf("snapshots: got %+v", f.Snapshots())
		}
		for _, s := range sets {
			for _, a := range s.Advisories {
				for _, n := range a.Names() {
					whole(t, match.NewIndex(sets...), match.Over(f), n)
				}
			}
		}
		var again bytes.Buffer
		if _, err := flat.Write(&again, sets...); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
			t.Fatal("the same sets give other bytes", err)
		}
	})
}

func snapshots(sets []advisory.Set) []advisory.Snapshot {
	out := []advisory.Snapshot{}
	for _, s := range sets {
		out = append(out, s.Snapshot)
	}
	return out
}

// of writes what an index says about a subject.
func of(ix match.Index, s advisory.Subject) (out string) {
	for a, parts := range ix.Of(s) {
		out += a.ID + ":"
		for _, p := range parts {
			out += fmt.Sprintf(" %+v", *p)
		}
		out += "\n"
	}
	return out
}

type failer interface{ Fatalf(string, ...any) }

func same(t failer, inv inventory.Inventory, a, b match.Index) {
	for _, q := range questions {
		if x, y := match.Explain(inv, a, q), match.Explain(inv, b, q); !reflect.DeepEqual(x, y) {
			t.Fatalf("%+v\nover sets: %+v\ncompiled:  %+v", q, x, y)
		}
	}
	if x, y := match.Find(inv, a), match.Find(inv, b); !reflect.DeepEqual(x, y) {
		t.Fatalf("over sets: %+v\ncompiled:  %+v", x, y)
	}
	if b.Err() != nil {
		t.Fatalf("%v", b.Err())
	}
}

func whole(t failer, a, b match.Index, name string) {
	x, y := a.Lookup(name), b.Lookup(name)
	for i := range x {
		if i < len(y) && !reflect.DeepEqual(x[i], y[i]) {
			t.Fatalf("%s:\nset:      %+v\ncompiled: %+v", name, x[i], y[i])
		}
	}
	if len(x) != len(y) || b.Err() != nil {
		t.Fatalf("%s: %d records, compiled %d (%v)", name, len(x), len(y), b.Err())
	}
}

func set(records ...advisory.Advisory) advisory.Set {
	s := advisory.Snapshot{Name: "s", Kind: "osv", Source: "s.zip", Digest: canon.SumFile([]byte("s")), Count: len(records), Scope: []advisory.Subject{}, Partial: []advisory.Gap{}}
	for i := range records {
		records[i].Feed = s.Origin()
	}
	return advisory.Set{Snapshot: s, Advisories: records}
}

func rec(id, pkg, fixed string) advisory.Advisory {
	return advisory.Advisory{ID: id, Aliases: []string{}, Upstream: []string{}, Related: []string{}, Source: "osv/DEBIAN", Basis: advisory.BasisRecord, Severities: []advisory.Severity{}, Raw: canon.SumFile([]byte(id)),
		Affected: []advisory.Affected{{Ecosystem: "Debian:12", Package: pkg, Versions: []string{}, Severities: []advisory.Severity{}, Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: "0", Fixed: fixed}}}}}
}

// A statement that ends by itself counts until then and not after.
func TestARecordEnds(t *testing.T) {
	a := rec("R-1", "a", "2-1")
	a.Expires = 100
	raw := compile(t, set(a, rec("R-2", "a", "2-1")))
	for now, want := range map[int64]int{99: 2, 100: 1} {
		f := open(t, raw, now)
		found := match.Find(host("a 1-1 a 1-1 installed"), match.Over(f))
		s := f.Snapshots()[0]
		if len(found) != want || s.Count != want || s.Lapsed != 2-want || len(f.Named("R-1")) != want-1 {
			t.Errorf("at %d: %d findings, %+v", now, len(found), s)
		}
	}
}

// Any byte that is changed is seen: when the file is opened, or when the piece
// it stands in is read, and then the answer is unknown.
func TestDamageIsSeen(t *testing.T) {
	var list []advisory.Advisory
	for i := range 400 {
		list = append(list, rec(fmt.Sprint("R-", i), fmt.Sprint("p", i%50), "2-1"))
	}
	raw, inv := compile(t, set(list...)), host("p1 1-1 p1 1-1 installed", "p2 1-1 p2 1-1 installed")
	want := match.Find(inv, match.Over(open(t, raw, 0)))
	refused, unknown := 0, 0
	for i := 0; i < len(raw); i += 1 + i%37 {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x10
		f, err := flat.Open(bytes.NewReader(bad), int64(len(bad)), 0)
		if err != nil {
			if c := refusal.CodeOf(err); c != flat.Broken && (c != flat.Foreign || i >= 16) {
				t.Fatalf("byte %d: %v", i, err)
			}
			refused++
			continue
		}
		got := match.Find(inv, match.Over(f))
		switch {
		case f.Err() == nil && reflect.DeepEqual(got, want):
		case f.Err() != nil && refusal.CodeOf(f.Err()) == flat.Broken && slices.ContainsFunc(got, func(f match.Finding) bool { return f.Reason.Code == match.IndexBroken && f.State == match.Unknown }):
			unknown++
		default:
			t.Fatalf("byte %d is wrong and nobody says so: %v", i, f.Err())
		}
	}
	if refused == 0 || unknown == 0 {
		t.Errorf("%d refused, %d unknown: the test reaches too little", refused, unknown)
	}
	for n := range len(raw) {
		if _, err := flat.Open(bytes.NewReader(raw[:n]), int64(n), 0); refusal.CodeOf(err) == "" {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestAnotherVersionIsRefused(t *testing.T) {
	raw := compile(t, set(rec("R-1", "a", "2")))
	binary.LittleEndian.PutUint32(raw[12:], flat.Version+1)
	_, err := flat.Open(bytes.NewReader(raw), int64(len(raw)), 0)
	if refusal.CodeOf(err) != flat.Foreign || !strings.Contains(err.Error(), "version 5") {
		t.Error(err)
	}
	if _, err := flat.Open(strings.NewReader("PK\x03\x04 a zip of records"), 22, 0); refusal.CodeOf(err) != flat.Foreign {
		t.Error(err)
	}
}

// failing gives an error for every read behind the first.
type failing struct {
	io.ReaderAt
	left int
}

func (f *failing) ReadAt(b []byte, at int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("the disk is gone")
	}
	return f.ReaderAt.ReadAt(b, at)
}

func TestADiskThatFailsMakesTheAnswerUnknown(t *testing.T) {
	raw := compile(t, set(rec("R-1", "a", "2-1"), rec("R-2", "b", "2-1")))
	for left := range 5 {
		f, err := flat.Open(&failing{bytes.NewReader(raw), left}, int64(len(raw)), 0)
		if err != nil {
			if !strings.Contains(err.Error(), "disk is gone") || refusal.CodeOf(err) != flat.Broken {
				t.Error(left, err)
			}
			continue
		}
		got := match.Find(host("a 1-1 a 1-1 installed"), match.Over(f))
		if f.Err() == nil && len(got) != 1 {
			t.Errorf("after %d reads: %+v", left, got)
		}
	}
}

type badWriter struct{ left int }

func (b *badWriter) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

func TestWriteSaysWhenItCannot(t *testing.T) {
	if _, err := flat.Write(&badWriter{100}, set(rec("R-1", "a", "2"))); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Error(err)
	}
}

// real is a feed of the shared data set.
func real(t testing.TB, name string) advisory.Set {
	s, err := feed.Read(t.Context(), shareddata.Path(t, filepath.Join("..", ".."), name), feed.Options{Now: time.Unix(1_795_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// On real records: every record comes back whole, and a host of all packages
// that they name gets the same findings.
func TestRealRecordsAreTheSame(t *testing.T) {
	for _, name := range []string{"debian/osv-derived-bookworm.zip", "debian/osv-derived-DSA-DLA-to-2023-03.zip", "osv/AlmaLinux.zip"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			s := real(t, name)
			raw := compile(t, s)
			sets, compiled := match.NewIndex(s), match.Over(open(t, raw, 0))
			packages, seen := []string{}, map[string]bool{}
			for i, a := range s.Advisories {
				if testing.Short() && i%20 > 0 {
					continue
				}
				whole(t, sets, compiled, a.ID)
				for _, f := range a.Affected {
					if !seen[f.Package] {
						seen[f.Package] = true
						packages = append(packages, fmt.Sprintf("%s 1.0-1 %s 1.0-1 installed", f.Package, f.Package))
					}
				}
			}
			inv := host(packages...)
			for _, release := range []string{"12", "11", "7"} {
				inv.OS.VersionID = release
				x, y := match.Explain(inv, sets, match.Query{}), match.Explain(inv, compiled, match.Query{})
				if !reflect.DeepEqual(x, y) {
					t.Fatal("other findings for release", release)
				}
				t.Logf("%d records, %d bytes, release %s: %d answers", len(s.Advisories), len(raw), release, len(x))
			}
			for _, a := range s.Advisories {
				for _, f := range a.Affected {
					subject := advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}
					if seen[f.Package] {
						parts(t, subject, s, open(t, raw, 0))
						delete(seen, f.Package)
					}
				}
			}
		})
	}
}

// parts compares what a file gives for one subject with the set.
func parts(t *testing.T, subject advisory.Subject, s advisory.Set, f *flat.File) {
	var want, got []string
	for _, a := range s.Advisories {
		list := []advisory.Affected{}
		for _, p := range a.Affected {
			if p.Ecosystem == subject.Ecosystem && p.Package == subject.Package {
				list = append(list, p)
			}
		}
		if len(list) > 0 {
			want = append(want, fmt.Sprint(a.ID, a.Names(), a.Raw, a.Source, a.Feed, list))
		}
	}
	for a, p := range f.Of(subject) {
		list := []advisory.Affected{}
		for _, p := range p {
			list = append(list, *p)
		}
		got = append(got, fmt.Sprint(a.ID, a.Names(), a.Raw, a.Source, a.Feed, list))
	}
	if !slices.Equal(want, got) || f.Err() != nil {
		t.Fatalf("%v: %v\n got %v\nwant %v", subject, f.Err(), got, want)
	}
}

// FuzzOpen: no bytes make it panic, and what it cannot read it refuses.
func FuzzOpen(f *testing.F) {
	var b bytes.Buffer
	if _, err := flat.Write(&b, set(rec("R-1", "a", "2-1"), rec("CVE-2026-1", "b", "2-1"))); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), true)
	f.Add([]byte{}, false)
	inv := host("a 1-1 a 1-1 installed", "b 1-1 b 1-1 installed")
	f.Fuzz(func(t *testing.T, raw []byte, mend bool) {
		if mend {
			raw = flat.Mend(raw) // else the digests hide the parser behind them
		}
		file, err := flat.Open(bytes.NewReader(raw), int64(len(raw)), 0)
		if err != nil {
			if refusal.CodeOf(err) == "" {
				t.Fatalf("no refusal: %v", err)
			}
			return
		}
		ix := match.Over(file)
		match.Explain(inv, ix, match.Query{})
		ix.Lookup("R-1")
		ix.Lookup("CVE-2026-1")
	})
}

// Red Hat's products are found in a file as in memory: what it gives for one
// record is not kept for the next.
func TestRedHatFromAFile(t *testing.T) {
	set := advisory.Set{Snapshot: advisory.Snapshot{Name: "redhat-csaf", Count: 3}}
	for i, fixed := range []string{"1-2.el9", "1-9.el9", "1-3.el9"} {
		a := advisory.Advisory{ID: fmt.Sprintf("redhat-csaf/CVE-2026-%d", i), Aliases: []string{fmt.Sprintf("CVE-2026-%d", i)}, Upstream: []string{}, Related: []string{}, Severities: []advisory.Severity{},
			Source: "redhat/csaf", Basis: advisory.BasisRecord, Raw: canon.SumFile([]byte(fixed)), Feed: set.Snapshot.Origin()}
		for _, product := range []string{"enterprise_linux:9::baseos", "enterprise_linux:9::appstream", "rhel_eus:9.2::baseos"} {
			a.Affected = append(a.Affected, advisory.Affected{Ecosystem: "Red Hat:" + product, Package: "a", Versions: []string{}, Severities: []advisory.Severity{},
				Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: fixed}}})
		}
		set.Advisories = append(set.Advisories, a)
	}
	inv := inventory.Inventory{OS: inventory.OS{ID: "rhel", VersionID: "9.3"}, Packages: []inventory.Package{{Name: "a", Arch: "x86_64", Version: "1-4.el9", Scheme: version.RPM, Source: "a",
		Status: inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}}}}
	want := match.Explain(inv, match.NewIndex(set), match.Query{})
	got := match.Explain(inv, match.Over(open(t, compile(t, set), 0)), match.Query{})
	if !reflect.DeepEqual(got, want) || len(want) != 3 || want[1].State != match.Affected || want[0].State != match.NotAffected {
		t.Errorf("%+v\n%+v", got, want)
	}
}

// A walk that begins within another one has its own memory.
func TestWalksWithinWalks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		if _, err := flat.Write(&b, genSets(t)...); err != nil {
			t.Fatal(err)
		}
		f, err := flat.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
		if err != nil {
			t.Fatal(err)
		}
		outer, inner := advisory.Subject{Ecosystem: "Debian:12", Package: "a"}, advisory.Subject{Ecosystem: "Debian:12", Package: "b"}
		show := func(a *advisory.Advisory, parts []*advisory.Affected) (s string) {
			for _, p := range parts {
				s += fmt.Sprintf(" %+v", *p)
			}
			return fmt.Sprintf("%+v:%s\n", *a, s)
		}
		all := func(s advisory.Subject) (out string) {
			for a, parts := range f.Of(s) {
				out += show(a, parts)
			}
			return out
		}
		first, second, seen := all(outer), all(inner), ""
		for a, parts := range f.Of(outer) {
			if got := all(inner); got != second {
				t.Fatalf("within another walk:\n%s\nalone:\n%s", got, second)
			}
			for range f.Of(inner) {
				break
			}
			seen += show(a, parts)
		}
		if seen != first || all(outer) != first {
			t.Fatalf("around other walks:\n%s\nalone:\n%s", seen, first)
		}
	})
}
