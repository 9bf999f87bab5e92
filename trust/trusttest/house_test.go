package trusttest_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

func seeded(n byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{n}) }

func TestHouseStands(t *testing.T) {
	h := trusttest.Must(seeded(1), trusttest.Options{})
	if !h.Root.Loaded() || h.Root.ID != h.Pinned || len(h.Root.People) != 3 || len(h.Root.Hosts) != 2 {
		t.Fatalf("the house's root is %+v", h.Root)
	}
	for _, p := range h.People {
		got, ok := h.Root.Person(p.ID)
		if !ok || len(got.Credentials) != 2 || !got.Credentials[0].Independent() || !got.Credentials[1].Independent() {
			t.Errorf("%s: %+v", p.ID, got)
		}
	}
	for _, host := range h.Hosts {
		if got, ok := h.Root.Host(host.ID); !ok || got.Public != host.Public {
			t.Errorf("%s is not in the root", host.ID)
		}
	}
}

func TestHouseIsAFunctionOfItsSeed(t *testing.T) {
	a, b, c := trusttest.Must(seeded(1), trusttest.Options{}), trusttest.Must(seeded(1), trusttest.Options{}), trusttest.Must(seeded(2), trusttest.Options{})
	if a.Pinned != b.Pinned || !bytes.Equal(a.FS["timestamp.json"].Data, b.FS["timestamp.json"].Data) {
		t.Error("one seed made two houses")
	}
	if a.Pinned == c.Pinned {
		t.Error("two seeds made one house")
	}
}

func TestHouseProves(t *testing.T) {
	h := trusttest.Must(seeded(1), trusttest.Options{})
	policy, err := tlog.ParsePolicy(h.Root.Witnesses)
	if err != nil {
		t.Fatal(err)
	}
	var entries []tlog.Entry
	var leaves [][]byte
	for i := range 5 {
		e := tlog.NewEntry("plan", canon.SumFile([]byte{byte(i)}), int64(i))
		entries, leaves = append(entries, e), append(leaves, e.Bytes())
	}
	now := h.Now.Unix()
	proof, err := h.Prove(leaves, 3, now, now-60)
	if err != nil {
		t.Fatal(err)
	}
	v, err := policy.Verify(entries[3], proof)
	if err != nil || v.Index != 3 || v.Checkpoint.Size != 5 || v.Time != now-60 {
		t.Fatalf("%+v, %v", v, err)
	}
	if _, err := policy.Verify(entries[2], proof); err == nil {
		t.Error("the proof shows another entry too")
	}
	short, err := h.Witnessed(leaves[:2], now, now)
	if err != nil {
		t.Fatal(err)
	}
	old, err := policy.Checkpoint(short)
	if err != nil {
		t.Fatal(err)
	}
	path, err := trusttest.Consistent(leaves, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.Consistent(old.Checkpoint, v.Checkpoint, path); err != nil {
		t.Error(err)
	}
}

func BenchmarkHouse(b *testing.B) {
	for b.Loop() {
		trusttest.Must(nil, trusttest.Options{})
	}
}
