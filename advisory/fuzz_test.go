package advisory

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
)

// Whatever bytes come: no panic; what is taken is JSON to the standard library
// too, has the same id there, and has canonical bytes.
func FuzzParseOSV(f *testing.F) {
	raw, err := os.ReadFile("testdata/full.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(affected(`"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"last_affected":"1"}]}],"versions":["1"]`)))
	f.Add([]byte(`{"id":"X","summary":"\ud83d\udd25\ud800 \u0000","x":[1e9,-0.1,true]}`))
	f.Add([]byte(`{"id":"Y","aliases":["CVE-2020-1"],"upstream":["CVE-2020-2"],"related":["Z"],"severity":[{"type":"CVSS_V2","score":"AV:N"}]}`))
	full := raw
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := ParseOSV(raw, from)
		afterOthers(t, full, raw, a, err)
		if err != nil {
			if a.ID != "" {
				t.Fatal("an error and an advisory")
			}
			return
		}
		var std map[string]json.RawMessage
		var id string
		if err := json.Unmarshal(raw, &std); err != nil {
			t.Fatalf("taken, but not JSON: %v", err)
		}
		if err := json.Unmarshal(std["id"], &id); err != nil || id != a.ID {
			t.Fatalf("id %q, elsewhere %q", a.ID, id)
		}
		if _, err := canon.Encode(a); err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Affected {
			if p.Ecosystem == "" || p.Package == "" {
				t.Fatalf("%+v", p)
			}
		}
	})
}

// afterOthers reads a record between others with one reader: it must be what it
// is alone, and stay so.
func afterOthers(t *testing.T, other, raw []byte, want Advisory, bad error) {
	t.Helper()
	var r OSV
	read := func(raw []byte) (Advisory, error) {
		a, err := r.View(raw, from)
		if err != nil {
			return a, err
		}
		return r.Keep(a), nil
	}
	if _, err := read(other); err != nil {
		t.Fatal(err)
	}
	got, err := read(raw)
	if _, err := read(other); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || fmt.Sprint(err) != fmt.Sprint(bad) {
		t.Fatalf("among others it is %+v (%v), alone %+v (%v)", got, err, want, bad)
	}
}
