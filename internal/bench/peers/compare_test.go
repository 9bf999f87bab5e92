package main

import (
	"strings"
	"testing"
)

func TestDifferencesGetTheirReasons(t *testing.T) {
	w := &world{sources: map[string]string{"a": "a (1-1)", "b1": "b (1-1)", "lib": "src (2:1-1)", "headers": "linux (6-1)"}}
	ours := found{"CVE-1 a 1-1": false, "CVE-2 lib 1-1": false, "CVE-3 headers 6-1": false, "CVE-9 b1 1-1": false}
	peer := found{"CVE-1 a 1-1": false, "CVE-3 headers 6-1": true, "CVE-4 b1 1-1": false, "CVE-5 a 1-1": false}
	got, err := w.compare([]result{{racer: racer{name: oursZip}, found: ours}, {racer: racer{name: oursIdx}, found: ours}, {racer: racer{name: osv}, found: peer}})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, d := range got {
		text += d.String() + "\n"
	}
	for _, want := range []string{
		"1 only ours, 0 only theirs: the source package has another version than the binary one",
		"1 only ours, 0 only theirs: the peer finds it and leaves it out",
		"0 only ours, 1 only theirs: the peer matches the binary package's own name",
		"1 only ours, 1 only theirs: " + unexplained,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := w.compare([]result{{racer: racer{name: oursZip}, found: ours}, {racer: racer{name: oursIdx}, found: peer}}); err == nil {
		t.Error("an index that finds something else passes")
	}
	if _, err := w.compare(nil); err == nil {
		t.Error("nothing compared passes")
	}
}

func TestAnswersAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		read func([]byte) (found, error)
		raw  string
	}{
		"ours":  {readOurs, `{"findings":[{"advisory":"DEBIAN-CVE-1","package":"a","version":"1","state":"affected"},{"advisory":"CVE-2","package":"a","version":"1","state":"unknown"}]}`},
		"osv":   {readOSV, `{"results":[{"packages":[{"package":{"name":"s","os_package_name":"a","version":"1"},"vulnerabilities":[{"id":"DEBIAN-CVE-1"}]}]}]}`},
		"grype": {readGrype, `{"matches":[{"vulnerability":{"id":"CVE-1"},"artifact":{"name":"a","version":"1"}}]}`},
	} {
		f, err := c.read([]byte(c.raw))
		if ignored, there := f["CVE-1 a 1"]; err != nil || len(f) != 1 || !there || ignored {
			t.Errorf("%s: %v %v", name, f, err)
		}
		if _, err := c.read(nil); err == nil {
			t.Errorf("%s: no answer passes", name)
		}
	}
}
