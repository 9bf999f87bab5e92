package depot

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
)

// TestACacheGivesWhatTheDepotHas: the same content as without it, at each time,
// whatever comes into the depot between two readings.
func TestACacheGivesWhatTheDepotHas(t *testing.T) {
	d := depotIn(t)
	through := d.Through(&Cache{})
	same := func(what string, now int64) Content {
		t.Helper()
		_, want, err := d.Read(t.Context(), "osv", now, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, got, err := through.Read(t.Context(), "osv", now, 0)
			if err != nil || fmt.Sprintf("%+v", got.Set) != fmt.Sprintf("%+v", want.Set) || len(got.Held) != len(want.Held) {
				t.Fatalf("%s: %v\n%+v\n%+v", what, err, got.Set, want.Set)
			}
		}
		return want
	}
	first := keep(t, d, osv, rec("A-1", t0-10), t0)
	same("the first", t0)
	if c := same("after silence", t0+2*week); len(c.Set.Snapshot.Partial) == 0 {
		t.Fatal("silence leaves no gap")
	}
	same("confirmed again", t0)
	if k := keep(t, d, osv, rec("A-1", t0+5), t0+10); k.Digest == first.Digest || k.State != Accepted {
		t.Fatalf("%+v", k)
	}
	if c := same("the next", t0+10); c.Set.Snapshot.Digest == first.Digest {
		t.Fatal("an old snapshot")
	}
}

// TestACacheReadsOnce: the bytes are read again only when another snapshot is in
// use, and then held to their digest.
func TestACacheReadsOnce(t *testing.T) {
	d := depotIn(t)
	cache := &Cache{}
	through := d.Through(cache)
	k := keep(t, d, osv, rec("A-1", t0-10), t0)
	_, first, err := through.Read(t.Context(), "osv", t0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.object(k.Digest), []byte("other bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Read(t.Context(), "osv", t0, 0); err == nil {
		t.Fatal("other bytes are read")
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			_, got, err := through.Read(t.Context(), "osv", t0+2*week, 0) // each adds a gap of its own
			if err != nil || &got.Set.Advisories[0] != &first.Set.Advisories[0] || got.Set == first.Set {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	readers.Wait()
	if len(first.Set.Snapshot.Partial) != 0 {
		t.Errorf("a gap of another reader: %+v", first.Set.Snapshot.Partial)
	}
	if _, _, err := through.ReadOf(t.Context(), "osv", t0, 0, func(string) bool { return true }); err == nil {
		t.Error("a reading of some records comes from the cache")
	}
	if err := d.Remove("osv"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := through.Read(t.Context(), "osv", t0, 0); err == nil {
		t.Error("a feed that was removed is read")
	}
}

func TestACacheIsBounded(t *testing.T) {
	d := depotIn(t)
	cache := &Cache{total: maxCached - 1}
	for i, name := range []string{"a", "b"} {
		r := osv
		r.Name = name
		keep(t, d, r, rec("A-1", t0-10+int64(i)), t0)
		if _, _, err := d.Through(cache).Read(t.Context(), name, t0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if cache.by["a"].key == "" || cache.by["b"].key != "" || cache.total != maxCached {
		t.Errorf("%d records; a %q, b %q", cache.total, cache.by["a"].key, cache.by["b"].key)
	}
	if !ends([]advisory.Advisory{{}, {Expires: t0}}) || ends([]advisory.Advisory{{}}) {
		t.Error("records that end by themselves would be kept")
	}
}

// TestACacheKeepsNoStatementsPastTheirEnd: records that end by themselves are read
// anew each time.
func TestACacheKeepsNoStatementsPastTheirEnd(t *testing.T) {
	d := depotIn(t)
	own := Rules{Name: "own", Kind: "openvex", MaxAge: 1000 * week, Shrink: 100}
	keep(t, d, own, `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x","author":"Ada","timestamp":"2026-09-20T00:00:00Z","statements":[{"vulnerability":{"name":"CVE-2026-21"},"status":"affected","products":[{"@id":"pkg:deb/debian/pw-tool?distro=debian-12"}]}]}`, t0)
	through := d.Through(&Cache{})
	for _, at := range []int64{t0, t0 + 900*dayLong, t0 + 1} {
		_, want, err := d.Read(t.Context(), "own", at, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := through.Read(t.Context(), "own", at, 0)
		if err != nil || len(got.Set.Advisories) != len(want.Set.Advisories) || (len(want.Set.Advisories) == 0) != (at > t0+1) {
			t.Errorf("at %d: %d statements, without a cache %d, %v", at-t0, len(got.Set.Advisories), len(want.Set.Advisories), err)
		}
	}
}
