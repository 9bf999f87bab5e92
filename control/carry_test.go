package control

import (
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/version"
)

func installed(versions map[string]string) inventory.Inventory {
	var inv inventory.Inventory
	for name, v := range versions {
		inv.Packages = append(inv.Packages, inventory.Package{Name: name, Arch: "amd64", Scheme: version.Deb, Version: v, SourceVersion: v,
			Status: inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}})
	}
	return inv
}

func on(names []string, fixed ...string) spotted {
	s := spotted{Names: names}
	for i := 0; i < len(fixed); i += 2 {
		s.On = append(s.On, cure{Package: fixed[i], Arch: "amd64", Fixed: fixed[i+1]})
	}
	return s
}

// TestCarry has one row for each way in which a clock could end too early.
func TestCarry(t *testing.T) {
	one, dsa1, dsa2 := []string{"CVE-2026-0001"}, []string{"CVE-2026-0001", "CVE-2026-0002", "DSA-1"}, []string{"CVE-2026-0002", "DSA-2"}
	yes, no := func(spotted) bool { return true }, func(spotted) bool { return false }
	for name, c := range map[string]struct {
		open, seen []spotted
		have       map[string]string
		running    func(spotted) bool
		ended      int
	}{
		"fixed and running":               {[]spotted{on(one, "a", "2")}, nil, map[string]string{"a": "2"}, yes, 1},
		"removed":                         {[]spotted{on(one, "a", "2")}, nil, map[string]string{}, yes, 1},
		"not running":                     {[]spotted{on(one, "a", "2")}, nil, map[string]string{"a": "2"}, no, 0},
		"below the fix":                   {[]spotted{on(one, "a", "2")}, nil, map[string]string{"a": "1"}, yes, 0},
		"no fix is known":                 {[]spotted{on(one, "a", "")}, nil, map[string]string{"a": "9"}, yes, 0},
		"one of two packages":             {[]spotted{on(one, "a", "2", "b", "2")}, nil, map[string]string{"a": "2", "b": "1"}, yes, 0},
		"another record of the same CVE":  {[]spotted{on(dsa1, "a", "2"), on(dsa2, "b", "2")}, nil, map[string]string{"a": "2", "b": "1"}, yes, 0},
		"another record, which is seen":   {[]spotted{on(dsa1, "a", "2")}, []spotted{on(dsa2, "b", "2")}, map[string]string{"a": "2", "b": "1"}, yes, 0},
		"both records of the CVE settled": {[]spotted{on(dsa1, "a", "2"), on(dsa2, "b", "2")}, nil, map[string]string{"a": "2", "b": "2"}, yes, 2},
	} {
		still, ended := carry(c.open, c.seen, installed(c.have), c.running)
		if len(ended) != c.ended || len(still)+len(ended) != len(c.open)+len(c.seen) {
			t.Errorf("%s: %d ended, %d go on, want %d", name, len(ended), len(still), c.ended)
		}
	}
	// A look that leaves a package out: its cure is still wanted.
	still, _ := carry([]spotted{on(one, "a", "2", "b", "2")}, []spotted{on(one, "a", "2")}, installed(map[string]string{"a": "1", "b": "1"}), yes)
	if _, ended := carry(still, nil, installed(map[string]string{"a": "2", "b": "1"}), yes); len(ended) != 0 {
		t.Error("a package that a look left out is forgotten")
	}
}

// TestOnlyTheVendorsWordRunsClocks: a record that anybody may write starts no
// clock and hurries none.
func TestOnlyTheVendorsWordRunsClocks(t *testing.T) {
	rules, err := priority.Standard()
	if err != nil {
		t.Fatal(err)
	}
	c := &Control{Config: Config{Tables: rules}}
	anybody := match.Finding{Advisory: "FOO-1", Aliases: []string{"CVE-2026-0001", "CVE-2026-0002"}, Package: "a", Arch: "amd64", State: match.Affected,
		Sources: []match.Source{{State: match.Affected}}}
	if got := c.spot([]match.Finding{anybody}, func(string) priority.Known { return priority.Known{KEV: priority.Yes} }, priority.Yes); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if !slices.Equal(anybody.CVEs(), []string{"CVE-2026-0001", "CVE-2026-0002"}) {
		t.Error("the row tests nothing")
	}
}
