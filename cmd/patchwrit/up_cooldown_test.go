package main

import (
	"testing"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/priority"
)

func TestCooldownFlag(t *testing.T) {
	known := func(o change.Origin) bool { return o == "debian-security" }
	if c, err := cooldownsOf(nil, known); c != nil || err != nil {
		t.Errorf("no flag: %v %v", c, err)
	}
	c, err := cooldownsOf([]string{"debian-security:routine=72h,6h", "debian-security:critical=24h"}, known)
	if err != nil {
		t.Fatal(err)
	}
	voices := []priority.Voice{{Kind: priority.VoiceKEV, By: "CISA", CVE: "CVE-2026-0001"}, {Kind: priority.VoiceSigned, By: "debian-security", CVE: "CVE-2026-0001"}}
	for class, want := range map[change.Class][2]int64{change.Routine: {72 * 3600, 6 * 3600}, change.Critical: {24 * 3600, 24 * 3600}} {
		a := priority.Artefact{Origin: "debian-security", Class: class, Fixes: []string{"CVE-2026-0001"}}
		if got := [2]int64{c.Hold(a, nil).Until, c.Hold(a, voices).Until}; got != want {
			t.Errorf("%s: %v, want %v", class, got, want)
		}
	}
	for _, bad := range []string{"debian-security=72h", "other:routine=72h", "debian-security:routine=soon", "debian-security:routine=6h,72h", "debian-security:mild=1h", "debian-security:routine=-1h", "debian-security:routine"} {
		if _, err := cooldownsOf([]string{bad}, known); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
