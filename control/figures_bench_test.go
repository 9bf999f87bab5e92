package control

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// ended fills the book and the store with n plans of one writ each that have ended:
// one in ten failed first.
func ended(t testing.TB, n int) *clockwork {
	w := newClockwork(t)
	long := strings.Repeat("ab", 64) // as a signature
	lease := writ.Lease{Type: "patchwrit/lease/v1", Witness: "witness.example/1", Nonce: long[:64], Signature: long}
	changed := writ.State{Package: "hello", Arch: "amd64", Before: "1", After: "2", Status: "installed"}
	for i := range n {
		p := canon.SumFile([]byte("plan" + strconv.Itoa(i)))
		d := canon.SumFile([]byte("writ" + strconv.Itoa(i)))
		r := Receipt{Receipt: writ.Receipt{Writ: d, Outcome: writ.Done, Started: int64(1000 + i), Ended: int64(1100 + i), Signature: long,
			States: []writ.State{changed, changed, changed}, Effective: writ.Effective{Stale: []string{}}}, Leases: []writ.Lease{lease, lease}}
		x := Writ{Digest: d, Host: trust.HostID(canon.SumFile([]byte("host" + strconv.Itoa(i%500)))), Plan: p, State: Done, Expires: 5000, Receipts: []canon.Digest{r.Receipt.Digest()}}
		if i%10 == 0 {
			r.Receipt.Outcome, x.State = writ.Failed, Failed
			x.Receipts = []canon.Digest{r.Receipt.Digest()}
		}
		w.must(w.put(t.Context(), "receipt/"+string(d), []store.Event{{Kind: "receipt", At: 1, Body: []byte("{}")}}, r))
		w.book.plans[p] = Plan{Digest: p, State: Finished}
		w.book.writs[d], w.book.ofPlan[p] = x, []canon.Digest{d}
	}
	return w
}

// reads counts how often a receipt is read.
type reads struct {
	store.Store
	read int
}

func (s *reads) Doc(ctx context.Context, kind, id string) (store.Doc, error) {
	if kind == kindReceipt {
		s.read++
	}
	return s.Store.Doc(ctx, kind, id)
}

// TestFiguresReadAReceiptOnce: of plans that ended long ago only the book is looked at,
// and what has come since counts.
func TestFiguresReadAReceiptOnce(t *testing.T) {
	w := ended(t, 30)
	s := &reads{Store: w.Store}
	w.Store = s
	first, err := w.Figures(t.Context())
	w.must(err)
	if want := (Group{Plans: 30, Failed: 3, Hosts: 3}); first.Without != want || s.read != 30 {
		t.Fatalf("%+v of %d receipts", first, s.read)
	}
	for d, x := range w.book.writs { // one that failed was rolled back
		if x.State != Failed {
			continue
		}
		r := Receipt{Receipt: writ.Receipt{Writ: d, Outcome: writ.RolledBack, Ended: 3000, States: []writ.State{}, Effective: writ.Effective{Stale: []string{}}}, Leases: []writ.Lease{}}
		w.must(w.put(t.Context(), "more", []store.Event{{Kind: "receipt", At: 2, Body: []byte("{}")}}, r))
		x.Receipts = append(x.Receipts, r.Receipt.Digest())
		w.book.writs[d] = x
		break
	}
	again, err := w.Figures(t.Context())
	w.must(err)
	if again.Without.Restored != 1 || again.Without.Restore <= 0 || s.read != 31 {
		t.Errorf("%+v of %d receipts", again, s.read)
	}
}

// BenchmarkFigures counts over 5,000 plans that have ended: the first time, and again.
func BenchmarkFigures(b *testing.B) {
	w := ended(b, 5000)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			w.spans.of = nil
			w.figures(b)
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			w.figures(b)
		}
	})
}

func (w *clockwork) figures(b *testing.B) {
	f, err := w.Figures(b.Context())
	if err != nil || f.Without.Plans != 5000 || f.Without.Hosts != 500 {
		b.Fatalf("%+v %v", f, err)
	}
}
