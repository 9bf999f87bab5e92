package wire

import (
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

func TestCommon(t *testing.T) {
	for theirs, want := range map[int]int{Protocol - 2: 0, Protocol - 1: Protocol - 1, Protocol: Protocol, Protocol + 1: Protocol, Protocol + 2: 0, -1: 0, 1 << 40: 0} {
		got, err := Common(theirs)
		if got != want || (err != nil) != (want == 0) || err != nil && refusal.CodeOf(err) != CodeProtocol {
			t.Errorf("%d: %d, %v", theirs, got, err)
		}
	}
}

// The bytes of protocol 2, as its agents send them.
const recorded2 = `{"arch":"amd64","boot":"b","host":"","kernel":"6.1.0-9-amd64","mapped":[],"origins":[],"os_release":"ID=debian","services":[],"status":[],"type":"patchwrit/snapshot/v1"}`

func TestASnapshotOfTheProtocolBefore(t *testing.T) {
	var s Snapshot
	if err := canon.Decode([]byte(recorded2), &s); err != nil {
		t.Fatal(err)
	}
	if why, ok := s.Listed(); ok || why == "" {
		t.Errorf("an agent that does not say when it looked is taken for one that did: %q", why)
	}
	s.MappedAt, s.Booted, s.KernelAt, s.KernelBuild = 7, 5, 3, "#1 SMP"
	if _, ok := s.Listed(); !ok {
		t.Error("a list of processes does not count")
	}
	today := string(canon.MustEncode(s.In(3)))
	s.MappedWhy = "it is older than the packages"
	if why, ok := s.Listed(); ok || why != "it is older than the packages" {
		t.Errorf("an old list counts: %q", why)
	}
	if got := string(canon.MustEncode(s.In(2))); got != recorded2 {
		t.Errorf("spoken: %s", got)
	}
	if today == recorded2 {
		t.Error("today's form is that of before")
	}
}
