package parley

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	o := Offer{Type: TypeOffer, Writ: canon.SumFile(nil), Stored: []canon.Digest{canon.SumFile([]byte("x"))}}
	if err := Write(&b, KindOffer, o); err != nil {
		t.Fatal(err)
	}
	raw := bytes.Clone(b.Bytes())
	var got Offer
	if err := Expect(&b, MaxSaid, KindOffer, &got); err != nil || got.Writ != o.Writ || got.Check() != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := Expect(&b, MaxSaid, KindOffer, &got); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	for n := 1; n < len(raw); n++ {
		if err := Expect(bytes.NewReader(raw[:n]), MaxSaid, KindOffer, &got); refusal.CodeOf(err) != CodeForm {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if err := Expect(bytes.NewReader(raw), len(raw)-6, KindOffer, &got); refusal.CodeOf(err) != CodeForm {
		t.Errorf("one byte over the limit: %v", err)
	}
	if err := Expect(bytes.NewReader(raw), len(raw)-5, KindOffer, &got); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	o.Stored = make([]canon.Digest, MaxStored+1)
	if o.Check() == nil {
		t.Error("too many acknowledgements")
	}
}

// A claimed length costs nothing until it comes.
func TestAClaimIsNotBelieved(t *testing.T) {
	head := binary.BigEndian.AppendUint32([]byte{'o'}, MaxSaid)
	n := testing.AllocsPerRun(10, func() { Read(bytes.NewReader(head), MaxSaid) })
	if n > 20 {
		t.Errorf("%v allocations", n)
	}
}

func TestBytes(t *testing.T) {
	got, err := Bytes(Base64([][]byte{[]byte("a"), nil}))
	if err != nil || len(got) != 2 || string(got[0]) != "a" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Bytes([]string{"YQ"}); refusal.CodeOf(err) != CodeForm {
		t.Errorf("no padding: %v", err)
	}
}

// FuzzSaid is what the helper reads from whoever is at the other end.
func FuzzSaid(f *testing.F) {
	var b bytes.Buffer
	Write(&b, KindOffer, Offer{Type: TypeOffer, Writ: canon.SumFile(nil), Stored: []canon.Digest{}})
	Write(&b, KindAnswer, Answer{Leases: []string{"YQ=="}, Consistency: []canon.Digest{}})
	f.Add(b.Bytes())
	f.Add([]byte("o\x00\x00\x00\x02{}"))
	f.Add([]byte("o\xff\xff\xff\xff"))
	f.Add([]byte(strings.Repeat("o", 200)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := bytes.NewReader(raw)
		var o Offer
		if err := Expect(in, MaxSaid, KindOffer, &o); err != nil || o.Check() != nil {
			return
		}
		var again bytes.Buffer
		Write(&again, KindOffer, o)
		if !bytes.HasPrefix(raw, again.Bytes()) {
			t.Fatalf("an offer with two spellings: %q", raw)
		}
		var a Answer
		if err := Expect(in, MaxSaid, KindAnswer, &a); err != nil {
			return
		}
		if leases, err := Bytes(a.Leases); err == nil && len(leases) != len(a.Leases) {
			t.Fatal("a lease was lost")
		}
	})
}
