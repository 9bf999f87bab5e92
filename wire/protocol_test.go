package wire

import (
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
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

// The bytes of an agent that does not say when it looked for processes, and of
// protocol 3.
const (
	recorded2 = `{"arch":"amd64","boot":"b","host":"","kernel":"6.1.0-9-amd64","mapped":[],"origins":[],"os_release":"ID=debian","services":[],"status":[],"type":"patchwrit/snapshot/v1"}`
	recorded3 = `{"arch":"amd64","boot":"b","booted":5,"host":"","kernel":"6.1.0-9-amd64","kernel_at":3,"kernel_build":"#1 SMP","mapped":[{"exec":true,"inode":7,"path":"/usr/lib/libone.so.1"}],"mapped_at":7,"origins":[],"os_release":"ID=debian","services":[],"status":[],"type":"patchwrit/snapshot/v1"}`
)

func TestASnapshotOfTheProtocolBefore(t *testing.T) {
	var s Snapshot
	if err := canon.Decode([]byte(recorded2), &s); err != nil {
		t.Fatal(err)
	}
	if why, ok := s.Listed(); ok || why == "" {
		t.Errorf("an agent that does not say when it looked is taken for one that did: %q", why)
	}
	if err := canon.Decode([]byte(recorded3), &s); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Listed(); !ok {
		t.Error("a list of processes does not count")
	}
	if s.Mapped[0].Owned() {
		t.Error("an agent that does not say whose a file was is taken for one that did")
	}
	if string(canon.MustEncode(s)) != recorded3 {
		t.Errorf("kept: %s", canon.MustEncode(s))
	}
	s.Mapped[0].Process, s.Mapped[0].Owners = "a (pid 7)", []inventory.Owner{{Package: "libone1:amd64", Source: "one"}}
	today := string(canon.MustEncode(s.In(4)))
	if got := string(canon.MustEncode(s.In(3))); got != recorded3 || today == recorded3 {
		t.Errorf("spoken: %s, today %s", got, today)
	}
	if !s.Mapped[0].Owned() {
		t.Error("what is told to one is taken from all")
	}
	s.MappedWhy = "it is older than the packages"
	if why, ok := s.Listed(); ok || why != "it is older than the packages" {
		t.Errorf("an old list counts: %q", why)
	}
}
