package control_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
)

var errKilled = errors.New("killed")

// fuse is a store whose process dies at one write: before it reaches the disk,
// or after it has and before anybody knows. Nothing is written any more then.
type fuse struct {
	store.Store
	mu    sync.Mutex
	left  int // writes until it dies
	after bool
	dead  bool
}

func (f *fuse) write(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errKilled
	}
	f.left--
	if f.left > 0 {
		return do()
	}
	f.dead = true
	if f.after {
		do()
	}
	return errKilled
}

func (f *fuse) Commit(ctx context.Context, b store.Batch) (n int64, err error) {
	err = f.write(func() error { n, err = f.Store.Commit(ctx, b); return err })
	return n, err
}

func (f *fuse) Logged(ctx context.Context, position, index int64, proof tlog.Proof) error {
	return f.write(func() error { return f.Store.Logged(ctx, position, index, proof) })
}

func (f *fuse) died() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// TestKilledAtEveryKindOfWrite kills the control plane after a few writes, again
// and again, from the first inventory to the last receipt: the loop goes on,
// nothing that was acknowledged is lost, and nothing is applied twice.
func TestKilledAtEveryKindOfWrite(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	if testing.Short() {
		seeds = seeds[:1]
	}
	for _, seed := range seeds {
		dice, deaths := rand.New(rand.NewPCG(seed, 7)), 0
		w := newTown(t, controltest.Options{Hosts: 3})
		w.advise = advicetest.Simulated(advice.Hold)
		w.start()
		w.enrol(0, 2, hello)
		w.only(control.Review)
		var now *fuse
		w.end()
		w.wrap = func(s store.Store) store.Store {
			now = &fuse{Store: s, left: 1 + dice.IntN(5), after: dice.IntN(2) == 0}
			return now
		}
		w.start()
		said := map[int]bool{}
		for end := time.Now().Add(3 * time.Minute); ; {
			if time.Now().After(end) {
				t.Fatalf("seed %d: the loop does not go on after %d deaths: %s", seed, deaths, w.account())
			}
			if now.died() {
				deaths++
				w.restart()
			}
			p := w.plans()[0]
			if p.State == control.Finished {
				break
			}
			for n := range said {
				if !slices.ContainsFunc(p.Answers, func(a approval.Approval) bool { return a.Person == w.World.House.People[n].ID }) {
					t.Fatalf("seed %d: the answer of person %d was acknowledged and is lost", seed, n)
				}
			}
			for n := range 2 {
				s := controltest.Statement(w.file(p).Header, approval.Approve)
				if _, err := call[struct{}](w, "POST", "plans/"+string(p.Digest)+"/answers", w.Person(n, s)); err == nil && !said[n] {
					said[n] = true
				}
			}
			for _, h := range w.hosts {
				h.Round(t.Context(), w.control.Handle) // it may be dead; then the host asks again
			}
			time.Sleep(10 * time.Millisecond)
		}
		w.wrap = nil
		w.restart()
		for i, h := range w.hosts {
			// The last thing to die may have been the answer to a receipt that was kept.
			if _, err := h.Round(t.Context(), w.control.Handle); err != nil {
				t.Errorf("seed %d: host %d: %v", seed, i, err)
			}
			if len(h.Applied) != 1 || h.Installed[hello] != evidencetest.New || len(h.Receipts) != 0 {
				t.Errorf("seed %d: host %d applied %d writs, refused %v", seed, i, len(h.Applied), h.Refused)
			}
		}
		if deaths < 5 {
			t.Errorf("seed %d: only %d deaths", seed, deaths)
		}
		if n := len(w.plans()); n != 1 {
			t.Errorf("seed %d: %d plans", seed, n)
		}
		if n := strings.Count(w.steps(w.plans()[0].Digest), "advice"); n != 1 {
			t.Errorf("seed %d: %d events of advice", seed, n)
		}
		w.audit(w.plans()[0].Digest)
		t.Logf("seed %d: %d deaths", seed, deaths)
		w.end()
	}
}
