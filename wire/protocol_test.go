package wire

import (
	"bytes"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

func TestCommon(t *testing.T) {
	for theirs, want := range map[int]int{Protocol - 2: 0, Protocol - 1: Protocol - 1, Protocol: Protocol, Protocol + 1: Protocol, Protocol + 2: 0, -1: 0, 1 << 40: 0} {
		got, err := Common(theirs)
		if got != want || (err != nil) != (want == 0) || err != nil && refusal.CodeOf(err) != CodeProtocol {
			t.Errorf("%d: %d, %v", theirs, got, err)
		}
	}
}

// The bytes of protocol 1, as its agents send them.
const recorded1 = `{"trust":{"hosts":4,"root":1,"snapshot":7,"targets":2,"timestamp":7}}`

func TestAQuestionOfTheProtocolBefore(t *testing.T) {
	want := NextRequest{Trust: trust.Versions{Root: 1, Timestamp: 7, Snapshot: 7, Targets: 2, Hosts: 4}}
	var q NextRequest
	if err := canon.Decode(Present(Next, []byte(recorded1)), &q); err != nil || q != want {
		t.Errorf("%+v, %v", q, err)
	}
	if got := canon.MustEncode(want.In(1)); string(got) != recorded1 {
		t.Errorf("spoken: %s", got)
	}
	want.Helper = "it is down"
	today := canon.MustEncode(want.In(2))
	if err := canon.Decode(Present(Next, today), &q); err != nil || q != want {
		t.Errorf("today's: %+v, %v", q, err)
	}
	for _, v := range Verbs {
		if v != Next && !bytes.Equal(Present(v, []byte(recorded1)), []byte(recorded1)) {
			t.Errorf("%s was changed", v)
		}
	}
	if got := Present(Next, []byte("garbage")); string(got) != "garbage" {
		t.Errorf("garbage became %q", got)
	}
}
