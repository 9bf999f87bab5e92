package control_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/wire"
)

// tell sends one part of an inventory.
func (w *town) tell(h *controltest.Host, q wire.InventoryRequest) (wire.InventoryAnswer, error) {
	w.t.Helper()
	var a wire.InventoryAnswer
	raw, err := w.control.Handle(w.t.Context(), h.Wire, wire.Report, canon.MustEncode(q))
	if err == nil {
		w.must(canon.Decode(raw, &a))
	}
	return a, err
}

func part(s wire.Snapshot, status ...canon.Note) wire.Snapshot {
	s.Status = append([]canon.Note{}, status...)
	return s
}

func rest() wire.Snapshot {
	return wire.Snapshot{Status: []canon.Note{}, Origins: []wire.PackageOrigin{}, Services: []wire.Service{}, Mapped: []inventory.Mapping{}}
}

func (w *town) inventoryOf(h *controltest.Host) canon.Digest {
	for _, v := range get[[]control.HostView](w, "hosts") {
		if v.ID == h.Known.ID {
			return v.Snapshot
		}
	}
	return ""
}

func TestInventoriesByHashDeltaAndParts(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 2})
	w.start()
	w.enrol(0, 1, "a", "b", "c")
	h := w.hosts[0]
	base := h.Snapshot()
	if got := w.inventoryOf(h); got != base.Digest() {
		t.Fatalf("the first inventory is %s", got)
	}
	if a, err := w.tell(h, wire.InventoryRequest{Digest: base.Digest(), Gone: []string{}, Rest: rest()}); err != nil || a.Want != "nothing" {
		t.Errorf("the same again: %+v %v", a, err)
	}
	h.Installed["b"], h.Installed["d"] = "9", "1"
	next := h.Snapshot()
	a, err := w.tell(h, wire.InventoryRequest{Digest: next.Digest(), Gone: []string{}, Rest: rest()})
	if err != nil || a.Want != "delta" || a.Base != base.Digest() {
		t.Fatalf("a new one: %+v %v", a, err)
	}
	q := wire.InventoryRequest{Digest: next.Digest(), Base: base.Digest(), Part: 1, Gone: []string{string(canon.SumFile([]byte(base.Status[1])))}, Rest: part(next, next.Status[1], next.Status[3])}
	if a, err := w.tell(h, q); err != nil || a.Want != "nothing" || w.inventoryOf(h) != next.Digest() {
		t.Errorf("the delta: %+v %v", a, err)
	}
	if _, err := os.Stat(filepath.Join(w.Data(), "hosts", string(base.Digest())+".snapshot")); err == nil {
		t.Error("the inventory before is still kept")
	}
	h.Installed["e"] = "1"
	whole := h.Snapshot()
	for i, p := range whole.Status {
		q := wire.InventoryRequest{Digest: whole.Digest(), Part: i + 1, More: true, Gone: []string{}, Rest: part(rest(), p)}
		if i == len(whole.Status)-1 {
			q.More, q.Rest = false, part(whole, p)
		}
		a, err := w.tell(h, q)
		if want := map[bool]string{true: "more", false: "nothing"}[q.More]; err != nil || a.Want != want {
			t.Fatalf("part %d: %+v %v", i+1, a, err)
		}
	}
	if got := w.inventoryOf(h); got != whole.Digest() {
		t.Errorf("in parts: %s", got)
	}
}

func TestInventoriesThatAreNotWhole(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 2})
	w.start()
	w.enrol(0, 1, "a", "b")
	h, other := w.hosts[0], w.hosts[1]
	h.Installed["c"] = "1"
	s := h.Snapshot()
	for name, c := range map[string]struct {
		q    wire.InventoryRequest
		want string // "": refused
	}{
		"no digest":              {wire.InventoryRequest{Digest: "x", Gone: []string{}, Rest: rest()}, ""},
		"the second part first":  {wire.InventoryRequest{Digest: s.Digest(), Part: 2, Gone: []string{}, Rest: s}, ""},
		"of another host":        {wire.InventoryRequest{Digest: other.Snapshot().Digest(), Part: 1, Gone: []string{}, Rest: other.Snapshot()}, ""},
		"a delta to another's":   {wire.InventoryRequest{Digest: s.Digest(), Part: 1, Base: other.Snapshot().Digest(), Gone: []string{}, Rest: s}, ""},
		"other than it promised": {wire.InventoryRequest{Digest: canon.SumFile(nil), Part: 1, Gone: []string{}, Rest: s}, "all"},
		"as it should be":        {wire.InventoryRequest{Digest: s.Digest(), Part: 1, Gone: []string{}, Rest: s}, "nothing"},
	} {
		if name == "as it should be" {
			continue
		}
		a, err := w.tell(h, c.q)
		if c.want == "" {
			w.refusedAs(name, err, "PW-CONTROL-MESSAGE")
		} else if err != nil || a.Want != c.want {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
	big := rest()
	for i := range 4000 {
		big.Status = append(big.Status, canon.NoteOf(fmt.Sprintf("Package: p%d\n%s", i, strings.Repeat("x", 200))))
	}
	var err error
	for i := 1; i < 60 && err == nil; i++ {
		_, err = w.tell(h, wire.InventoryRequest{Digest: s.Digest(), Part: i, More: true, Gone: []string{}, Rest: big})
	}
	w.refusedAs("without end", err, "PW-CONTROL-MESSAGE")
	if a, err := w.tell(h, wire.InventoryRequest{Digest: s.Digest(), Part: 1, Gone: []string{}, Rest: s}); err != nil || a.Want != "nothing" || w.inventoryOf(h) != s.Digest() {
		t.Errorf("the control: %+v %v", a, err)
	}
}

// TestADamagedInventoryIsToldAgain takes the kept one away.
func TestADamagedInventoryIsToldAgain(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.start()
	w.enrol(0, 0, "a")
	h := w.hosts[0]
	w.must(os.WriteFile(filepath.Join(w.Data(), "hosts", string(h.Snapshot().Digest())+".snapshot"), nil, 0o600))
	h.Installed["b"] = "1"
	w.must(h.Report(t.Context(), w.control.Handle))
	if w.inventoryOf(h) != h.Snapshot().Digest() {
		t.Error("it was not taken")
	}
}

func TestTokensAndEnrolments(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 3})
	w.start()
	secret, err := w.control.NewToken(t.Context(), time.Hour)
	w.must(err)
	host := func(n int) control.Host {
		h := w.Host(n)
		return control.Host{Wire: h.Wire, ID: h.Known.ID, Public: h.Known.Public, Name: "h"}
	}
	a, b := host(0), host(1)
	w.refusedAs("an unknown secret", w.control.Enrol(t.Context(), make([]byte, 32), a), "PW-CONTROL-TOKEN")
	w.must(w.control.Enrol(t.Context(), secret, a))
	w.must(w.control.Enrol(t.Context(), secret, a)) // its answer was lost
	w.refusedAs("a used secret", w.control.Enrol(t.Context(), secret, b), "PW-CONTROL-TOKEN")
	short, err := w.control.NewToken(t.Context(), time.Minute)
	w.must(err)
	again := host(0)
	w.refusedAs("a host that is there", w.control.Enrol(t.Context(), short, again), "PW-CONTROL-HOST")
	stolen := b
	stolen.Wire = a.Wire
	w.refusedAs("the wire key of another", w.control.Enrol(t.Context(), short, stolen), "PW-CONTROL-HOST")
	w.skew.Store(61)
	w.refusedAs("a secret that has ended", w.control.Enrol(t.Context(), short, b), "PW-CONTROL-TOKEN")
	for _, seconds := range []string{"", "0", "-5", "9999999", "x"} {
		if _, err := call[control.NewToken](w, "POST", "tokens?seconds="+seconds, nil); err == nil {
			t.Errorf("a token of %q seconds", seconds)
		}
	}
	stranger := w.Host(2)
	stranger.Known.Public = strings.Repeat("ab", 32)
	last, err := w.control.NewToken(t.Context(), time.Hour)
	w.must(err)
	w.must(w.control.Enrol(t.Context(), last, control.Host{Wire: stranger.Wire, ID: stranger.Known.ID, Public: stranger.Known.Public, Name: "h"}))
	if a, err := stranger.Hello(t.Context(), w.control.Handle); err != nil || a.State != wire.Pending {
		t.Errorf("a host whose key the trust root does not name: %+v %v", a, err)
	}
	w.refusedAs("its inventory", stranger.Report(t.Context(), w.control.Handle), "PW-CONTROL-HOST")
}
