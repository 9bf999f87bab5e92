package trust_test

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

// FuzzLoad puts any bytes in the place of any file. What nobody signed changes
// nothing that the root says, and never breaks the reader.
func FuzzLoad(f *testing.F) {
	names := append(slices.Sorted(maps.Keys(house.FS)), "2.root.json")
	for i, name := range names {
		if file, ok := house.FS[name]; ok {
			f.Add(uint8(i), file.Data)
			f.Add(uint8(i), file.Data[:len(file.Data)/2])
		}
	}
	f.Add(uint8(0), []byte(`{"signatures":[],"signed":{"_type":"root","keys":{"a":null},"roles":{"root":null}}}`))
	f.Add(uint8(1), []byte(`{"signatures":[],"signed":{"_type":"targets","targets":{"a":null}}}`))
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		s := newScene(t)
		s.put(names[int(which)%len(names)], b)
		r, err := s.load()
		if err != nil && refusal.CodeOf(err) == "" {
			t.Fatalf("%v is no refusal", err)
		}
		if err == nil && !reflect.DeepEqual(r, house.Root) {
			t.Fatalf("unsigned bytes changed the root: %+v", r)
		}
	})
}

// FuzzTarget lets the keepers sign any bytes as any target: whatever loads is
// canonical, and answers for what it names.
func FuzzTarget(f *testing.F) {
	names := []string{"roster.json", "thresholds.json", "origins.json", "critical.json", "policy.json", "hosts.json", "witness.policy"}
	seeds := newScene(f)
	for i, name := range names {
		f.Add(uint8(i), seeds.body(name))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		s := newScene(t)
		name := names[int(which)%len(names)]
		s.target(name, b)
		r, err := s.load()
		if err != nil {
			if refusal.CodeOf(err) == "" {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		if name != "witness.policy" && canon.Check(b) != nil {
			t.Fatalf("%s loads and is not canonical", name)
		}
		for _, p := range r.People {
			if got, ok := r.Person(p.ID); !ok || got.ID != p.ID {
				t.Fatalf("person %q is named and not found", p.ID)
			}
		}
		for _, h := range r.Hosts {
			if got, ok := r.Host(h.ID); !ok || got.Public != h.Public {
				t.Fatalf("host %q is named and not found", h.ID)
			}
		}
		for _, q := range r.Quorums {
			if q.People < 2 && !r.Solo && q.For != "halt" && q.For != "revoke" || !q.Met(r.People) {
				t.Fatalf("quorum %+v", q)
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := trust.Load(house.FS, house.Pinned, trust.Versions{}, house.Now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadFleet loads a house of 10,000 hosts.
func BenchmarkLoadFleet(b *testing.B) {
	fleet := trusttest.Must(seeded(3), trusttest.Options{Hosts: 10_000})
	b.ResetTimer()
	for b.Loop() {
		if _, err := trust.Load(fleet.FS, fleet.Pinned, trust.Versions{}, fleet.Now); err != nil {
			b.Fatal(err)
		}
	}
}
