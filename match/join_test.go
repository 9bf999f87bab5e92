package match

import (
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/inventory"
)

// ubuntu is a host of a release, as host.
func ubuntu(release string, packages ...string) inventory.Inventory {
	inv := host(packages...)
	inv.OS = inventory.OS{ID: "ubuntu", VersionID: release}
	return inv
}

const netty = `{"id":"UBUNTU-CVE-2022-24823","upstream":["CVE-2022-24823"],"related":["USN-7284-1","CVE-2021-0001"],"affected":[
{"package":{"ecosystem":"Ubuntu:Pro:22.04:LTS","name":"netty"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1:4.1.48-4+deb11u2ubuntu0.1~esm1"}]}]},
{"package":{"ecosystem":"Ubuntu:25.10","name":"netty"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]}`

// Where Ubuntu names a package only with its extended support, a host without the
// subscription has the package all the same: silence would be a false "clean".
func TestUbuntuProNamesPackagesOfTheRelease(t *testing.T) {
	ix := NewIndex(feed(t, "osv", netty))
	for version, want := range map[string]string{
		"1:4.1.48-4+deb11u1build0.22.04.1":  "UBUNTU-CVE-2022-24823 libnetty-java affected below-fixed 1:4.1.48-4+deb11u2ubuntu0.1~esm1",
		"1:4.1.48-4+deb11u2ubuntu0.1~esm1":  "UBUNTU-CVE-2022-24823 libnetty-java not_affected fixed 1:4.1.48-4+deb11u2ubuntu0.1~esm1",
		"1:4.1.48-4+deb11u2ubuntu0.1~esm11": "UBUNTU-CVE-2022-24823 libnetty-java not_affected fixed 1:4.1.48-4+deb11u2ubuntu0.1~esm1",
	} {
		same(t, Explain(ubuntu("22.04", "libnetty-java amd64 "+version+" netty "+version+" installed"), ix, Query{Advisory: "CVE-2022-24823"}), want)
	}
	same(t, Explain(ubuntu("25.10", "libnetty-java amd64 9:1 netty 9:1 installed"), ix, Query{Advisory: "CVE-2022-24823"}), "UBUNTU-CVE-2022-24823 libnetty-java affected unfixed ")
}

// A notice about one CVE and the record of that CVE are one finding; a notice
// about several stands alone; what is only related joins nothing.
func TestWhatIsJoined(t *testing.T) {
	osvOf := func(id, names, events string) string {
		return strings.Replace(osv(id, "", "Ubuntu:22.04:LTS", "a", events), `"upstream":[]`, names, 1)
	}
	ix := NewIndex(
		feed(t, "osv",
			osvOf("UBUNTU-CVE-2026-0001", `"upstream":["CVE-2026-0001"],"related":["USN-1-1","USN-2-1","CVE-2026-0009"]`, "introduced 0 fixed 2"),
			osvOf("USN-1-1", `"upstream":["UBUNTU-CVE-2026-0001"]`, "introduced 0 fixed 3"),
			osvOf("USN-2-1", `"upstream":["UBUNTU-CVE-2026-0001","UBUNTU-CVE-2026-0002"]`, "introduced 0 fixed 2"),
			osvOf("USN-3-1", `"related":["CVE-2026-0001"]`, "introduced 0 fixed 2")),
		feed(t, "other", osvOf("EX-1", `"aliases":["CVE-2026-0001"]`, "introduced 0 fixed 1")),
		feed(t, "ghsa", osvOf("GHSA-b", `"aliases":["PYSEC-1"]`, "introduced 0 fixed 2"), osvOf("PYSEC-1", `"aliases":[]`, "introduced 0 fixed 2"), osvOf("GO-1", `"aliases":["GHSA-b"]`, "introduced 0 fixed 2")),
	)
	found := Explain(ubuntu("22.04", "a amd64 1 a 1 installed"), ix, Query{})
	var got []string
	for _, f := range found {
		if f.Advisory == "" {
			continue
		}
		var of []string
		for _, s := range f.Sources {
			of = append(of, s.Advisory+" "+string(s.State))
		}
		got = append(got, strings.Join(of, ", ")+" fixed "+f.Fixed)
		if differ := strings.Contains(f.Reason.Text, "sources disagree: 1 of 3"); differ != (len(of) == 3) {
			t.Errorf("%v: %s", of, f.Reason.Text)
		}
		if slices.Contains(f.Aliases, "CVE-2026-0009") || slices.Contains(f.Aliases, "USN-2-1") {
			t.Errorf("related is no alias: %v", f.Aliases)
		}
	}
	slices.Sort(got)
	want := []string{
		"GHSA-b affected, GO-1 affected fixed 2", // PYSEC-1 says nothing of them, and stands alone
		"PYSEC-1 affected fixed 2",
		"UBUNTU-CVE-2026-0001 affected, USN-1-1 affected, EX-1 not_affected fixed 3",
		"USN-2-1 affected fixed 2",
		"USN-3-1 affected fixed 2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
