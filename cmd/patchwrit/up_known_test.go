package main

import (
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/priority"
)

func TestKnownOfEverySource(t *testing.T) {
	listed := kev.Catalogue{Entries: []kev.Entry{{CVE: "CVE-2026-0001"}}}
	books := []cve.Book{{Snapshot: advisory.Snapshot{Kind: cve.Kind}, Records: []cve.Record{
		{CVE: "CVE-2026-0001", Claims: []cve.Claim{{Point: cve.Automatable, Value: "yes"}, {Point: cve.Impact, Value: "partial"}}, Scores: []cve.Score{{Version: "3.1", Tenths: 98}}},
	}}}
	for _, c := range []struct {
		name  string
		facts facts
		want  priority.Known
	}{
		{"CVE-2026-0001", facts{kev: &listed}, priority.Known{KEV: priority.Yes, Automatable: priority.Yes, Total: priority.No, CVSS: priority.Measure{Known: true, Value: 98}}},
		{"CVE-2026-0002", facts{kev: &listed}, priority.Known{KEV: priority.No}},
		{"CVE-2026-0002", facts{kev: &kev.Catalogue{}}, priority.Known{}},
	} {
		if got := c.facts.of(c.name, books); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
