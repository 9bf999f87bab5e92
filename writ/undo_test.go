package writ_test

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// used verifies a good case and returns its raw bytes and the memory after it.
func used(t *testing.T, c *writtest.Case) (writ.Raw, writ.Verified, writ.Memory) {
	t.Helper()
	raw := c.Raw()
	v, mem, err := writ.Verify(raw, c.House.Root, c.Memory, at(c.Now))
	if err != nil {
		t.Fatal(err)
	}
	return raw, v, mem
}

func TestUndoAnswersThisHostsOwnFailureOnce(t *testing.T) {
	for name, c := range map[string]*writtest.Case{"approved": writtest.New(house), "granted": granted()} {
		raw, v, mem := used(t, c)
		if _, _, err := writ.VerifyUndo(raw, c.House.Root, mem, at(c.Now+60)); refusal.CodeOf(err) != "PW-UNDO-NONE" {
			t.Errorf("%s: without a failure: %v", name, err)
		}
		failed := mem.Failed(v.Digest(), c.Now+30)
		if _, _, err := writ.VerifyUndo(raw, c.House.Root, failed, at(c.Now+30+writ.UndoWindow+1)); refusal.CodeOf(err) != "PW-UNDO-LATE" {
			t.Errorf("%s: late: %v", name, err)
		}
		if _, _, err := writ.VerifyUndo(raw, c.House.Root, failed, at(c.Now+29)); refusal.CodeOf(err) != "PW-UNDO-LATE" {
			t.Errorf("%s: before it failed: %v", name, err)
		}
		undo, after, err := writ.VerifyUndo(raw, c.House.Root, failed, at(c.Now+60))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		back := c.Branches[0].Rollback[0]
		if !undo.Undo() || len(undo.Changes()) != 1 || undo.Changes()[0] != back || undo.Changes()[0].Op != change.Downgrade {
			t.Errorf("%s: permits %+v, want the way back", name, undo.Changes())
		}
		if err := undo.Meets(change.Critical); err != nil {
			t.Errorf("%s: the way back was approved with the plan: %v", name, err)
		}
		if _, _, err := writ.VerifyUndo(raw, c.House.Root, after, at(c.Now+61)); refusal.CodeOf(err) != "PW-UNDO-USED" {
			t.Errorf("%s: twice: %v", name, err)
		}
	}
}

func TestUndoNeedsWhatTheWritNeeded(t *testing.T) {
	c := writtest.New(house)
	_, v, mem := used(t, c)
	mem = mem.Failed(v.Digest(), c.Now)
	c.EditWrit = func(w *writ.Writ) { w.Approvals = []approval.Approval{} }
	if _, _, err := writ.VerifyUndo(c.Raw(), c.House.Root, mem, at(c.Now+1)); refusal.CodeOf(err) != "PW-WRIT-APPROVAL" {
		t.Errorf("without approvals: %v", err)
	}
	c.EditWrit = func(w *writ.Writ) { w.Branch.Network = true }
	if _, _, err := writ.VerifyUndo(c.Raw(), c.House.Root, mem, at(c.Now+1)); refusal.CodeOf(err) != "PW-WRIT-BRANCH" {
		t.Errorf("with another branch: %v", err)
	}
}

func TestVerifiedIsGoodForOneUse(t *testing.T) {
	_, v, _ := used(t, writtest.New(house))
	if err := v.Take(); err != nil {
		t.Fatal(err)
	}
	if err := v.Take(); refusal.CodeOf(err) != "PW-VERIFIED-USED" {
		t.Errorf("a second use: %v", err)
	}
	var zero writ.Verified
	if refusal.CodeOf(zero.Take()) != "PW-VERIFIED-ZERO" || refusal.CodeOf(zero.Meets(change.Routine)) != "PW-VERIFIED-ZERO" ||
		zero.Changes() != nil || zero.Back() != nil || zero.Host() != "" || zero.Digest() != "" || zero.Plan() != "" || zero.Wave() != 0 || zero.Network() || zero.Undo() {
		t.Error("the zero value permits something")
	}
}

func TestMeetsJudgesTheClassOfTheBytes(t *testing.T) {
	c := writtest.New(house)
	c.Header.Author, c.Signers = house.People[1].ID, []int{0, 2} // owners only: enough for routine
	_, v, _ := used(t, c)
	if err := v.Meets(change.Routine); err != nil {
		t.Errorf("routine: %v", err)
	}
	for _, class := range []change.Class{change.Sensitive, change.Critical, "unheard-of"} {
		if err := v.Meets(class); refusal.CodeOf(err) != "PW-WRIT-CLASS" {
			t.Errorf("%s: %v", class, err)
		}
	}
	_, v, _ = used(t, granted())
	if err := v.Meets(change.Routine); err != nil {
		t.Errorf("routine under a grant: %v", err)
	}
	if err := v.Meets(change.Sensitive); refusal.CodeOf(err) != "PW-WRIT-CLASS" {
		t.Errorf("sensitive under a routine grant: %v", err)
	}
}

func TestMemoryOnlyMovesForward(t *testing.T) {
	m := writ.NewMemory(house.Hosts[0].ID, house.Root.ID)
	for _, v := range []string{"1.0", "2.0", "1.5"} {
		next, err := m.Had(version.Deb, map[string]string{"a:amd64": v})
		if err != nil {
			t.Fatal(err)
		}
		m = next
	}
	if len(m.Floors) != 1 || m.Floors[0].Version != "2.0" {
		t.Errorf("floors %+v", m.Floors)
	}
	if same, err := m.Had(version.Deb, map[string]string{"b:amd64": "no version"}); err == nil || len(same.Floors) != 1 {
		t.Errorf("an unreadable version: %v, %+v", err, same.Floors)
	}
	m = m.Released("debian-main", 100).Released("debian-main", 50).Released("debian-security", 7)
	if m.ReleaseFloor("debian-main") != 100 || m.ReleaseFloor("debian-security") != 7 || m.ReleaseFloor("else") != 0 {
		t.Errorf("releases %+v", m.Releases)
	}
}

func TestMemoryForgetsWhatCannotMatterAnyMore(t *testing.T) {
	c := granted()
	c.Memory.Consumed = []writ.Consumed{{Plan: house.Root.ID, Expires: c.Now}, {Plan: house.Pinned, Expires: c.Now + 1}}
	c.Memory.Spent = []writ.Spent{{Grant: house.Root.ID, At: c.Now - writ.BudgetSpan, Changes: 9}}
	c.Memory.Failures = []writ.Failure{{Writ: house.Root.ID, At: c.Now - writ.UndoWindow - 1}}
	_, _, mem := used(t, c)
	if len(mem.Consumed) != 2 || len(mem.Spent) != 1 || mem.Spent[0].Changes != 1 || len(mem.Failures) != 0 {
		t.Errorf("remembers %+v", mem)
	}
	if len(c.Memory.Spent) != 1 || c.Memory.Spent[0].Changes != 9 {
		t.Error("the memory that went in was changed")
	}
}

func FuzzVerify(f *testing.F) {
	c := writtest.New(house)
	raw := c.Raw()
	f.Add(raw.Writ, raw.Leases[0])
	f.Fuzz(func(t *testing.T, w, lease []byte) {
		v, _, err := writ.Verify(writ.Raw{Writ: w, Leases: [][]byte{lease, raw.Leases[1]}}, house.Root, c.Memory, at(c.Now))
		if err == nil && string(w) != string(raw.Writ) {
			t.Fatalf("other bytes permit %+v", v.Changes())
		}
	})
}

// TestEveryByteOfAWritMatters flips each byte; none of the flips may pass.
func TestEveryByteOfAWritMatters(t *testing.T) {
	c := writtest.New(house)
	raw := c.Raw()
	step := 1
	if testing.Short() {
		step = 97
	}
	for i := 0; i < len(raw.Writ); i += step {
		bad := writ.Raw{Writ: []byte(string(raw.Writ)), Leases: raw.Leases}
		bad.Writ[i] ^= 1
		if _, _, err := writ.Verify(bad, house.Root, c.Memory, at(c.Now)); err == nil {
			t.Errorf("byte %d (%q in %q) does not matter", i, raw.Writ[i], raw.Writ[max(0, i-30):min(len(raw.Writ), i+30)])
		}
	}
}

// BenchmarkVerify has two approvals and two witnesses, both of whom cosigned
// and leased.
func BenchmarkVerify(b *testing.B) {
	house := trusttest.Must(rand.NewChaCha8([32]byte{8}), trusttest.Options{Witnesses: 2})
	c := writtest.New(house)
	raw := c.Raw()
	began := cpu(b)
	for b.Loop() {
		if _, _, err := writ.Verify(raw, house.Root, c.Memory, at(c.Now)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-began)/float64(b.N), "cpu-ns/op") // wall time on a shared machine says little
	b.ReportMetric(float64(len(raw.Writ)), "bytes/writ")
}

// TestShownCoversEveryByteThatDecided ties the receipt to what the host saw:
// the writ's bytes, and each lease that counted.
func TestShownCoversEveryByteThatDecided(t *testing.T) {
	c := writtest.New(house)
	raw, v, mem := used(t, c)
	leases := []writ.Lease{}
	for _, b := range raw.Leases {
		var l writ.Lease
		if err := canon.Decode(b, &l); err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	if len(leases) != 3 || v.Shown() != writ.Shown(raw.Writ, leases) {
		t.Errorf("shown %s, want all of writ and %d leases", v.Shown(), len(leases))
	}
	undo, _, err := writ.VerifyUndo(raw, c.House.Root, mem.Failed(v.Digest(), c.Now), at(c.Now+1))
	if err != nil || undo.Shown() != writ.Shown(raw.Writ, nil) {
		t.Errorf("the rollback was shown %s: %v", undo.Shown(), err)
	}
	for name, other := range map[string]canon.Digest{"a lease less": writ.Shown(raw.Writ, leases[:2]),
		"another order": writ.Shown(raw.Writ, []writ.Lease{leases[1], leases[0], leases[2]}), "another writ": writ.Shown(raw.Writ[1:], leases)} {
		if other == v.Shown() {
			t.Errorf("%s: the same name", name)
		}
	}
	raw.Leases = append(raw.Leases, []byte("{}"))
	if w, _, err := writ.Verify(raw, c.House.Root, c.Memory, at(c.Now)); err != nil || w.Shown() != v.Shown() {
		t.Errorf("a lease that does not count is named: %v", err)
	}
	if (writ.Verified{}).Shown() != "" {
		t.Error("the zero value was shown something")
	}
}

// cpu is the processor time this process has used, in nanoseconds.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
