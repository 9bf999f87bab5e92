package record_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/evidence/record"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
)

// world is the record of one plan's events, a grant and its revocation, as a
// control plane exports it.
type world struct {
	*evidencetest.World
	rows []record.Row
	seal record.Seal
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{World: evidencetest.Must(evidencetest.Options{Now: time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)})}
	b, n := w.Bundle, 0
	found := []match.Finding{{Advisory: "CVE-2026-0001", Package: "hello", Sources: []match.Source{{Raw: canon.SumFile([]byte("feed"))}}}, {Advisory: "CVE-2026-0002"}}
	basis := proposal.NewBasis(proposal.NewFile(b.Header, b.Branches, b.Dossier), canon.SumFile(nil), found, 1)
	if len(basis.Findings) != 1 {
		t.Fatalf("the basis keeps %d findings, want the one that the plan answers", len(basis.Findings))
	}
	w.add(basis, basis.Entry())
	next := func(v any) {
		w.add(v, b.Events()[n])
		n++
	}
	next(b.Header)
	for _, a := range b.Approvals {
		next(a)
	}
	next(b.Verdict)
	for _, u := range b.Writs {
		next(u.Writ.Body)
		next(u.Receipts[0])
	}
	g := approval.Grant{Type: approval.TypeGrant, Nonce: strings.Repeat("ab", 32), Author: "p-003", Created: 10, Expires: 20,
		Scope: trust.Scope{All: true, Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{}}, Packages: []string{"*"},
		Origins: []change.Origin{"debian-main"}, Ceiling: change.Routine, Slots: []approval.Slot{{Domain: "a"}}, Budget: 1}
	w.add(g, tlog.NewEntry("grant", g.Statement(approval.Allow).Digest(), g.Created))
	w.add(g, tlog.NewEntry("revoke", g.Statement(approval.Revoke).Digest(), 15))
	w.prove(t)
	return w
}

func (w *world) add(v any, e tlog.Entry) {
	w.rows = append(w.rows, record.Row{Type: record.TypeRow, Index: int64(len(w.rows)), Entry: e, Body: base64.StdEncoding.EncodeToString(canon.MustEncode(v))})
}

func (w *world) leaves(n int) (out [][]byte) {
	for _, r := range w.rows[:n] {
		out = append(out, r.Entry.Bytes())
	}
	return out
}

func (w *world) times() []int64 {
	return slices.Repeat([]int64{w.House.Now.Unix()}, len(w.House.Witnesses))
}

// prove gives each row its proof from the moment when it was the newest, and
// seals the record.
func (w *world) prove(t testing.TB) {
	t.Helper()
	for i := range w.rows {
		p, err := w.House.Prove(w.leaves(i+1), i, w.times()...)
		if err != nil {
			t.Fatal(err)
		}
		w.rows[i].Proof = p
	}
	w.seal = record.Seal{Type: record.TypeSeal, Root: w.House.Root.ID, Rows: int64(len(w.rows)), Checkpoint: w.checkpoint(t, len(w.rows), w.times())}
}

func (w *world) checkpoint(t testing.TB, n int, times []int64) string {
	t.Helper()
	signed, err := w.House.Witnessed(w.leaves(n), times...)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signed)
}

func (w *world) seen(t testing.TB, who string, n int) record.Seen {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(w.checkpoint(t, n, w.times()))
	if err != nil {
		t.Fatal(err)
	}
	p, err := tlog.ParsePolicy(w.House.Root.Witnesses)
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.Checkpoint(raw)
	if err != nil {
		t.Fatal(err)
	}
	return record.Seen{Who: who, Checkpoint: v.Checkpoint}
}

func (w *world) lines() [][]byte {
	out := [][]byte{}
	for _, r := range w.rows {
		out = append(out, canon.MustEncode(r))
	}
	return append(out, canon.MustEncode(w.seal))
}

func (w *world) check(lines [][]byte, seen ...record.Seen) record.Report {
	return record.Check(slices.Values(lines), w.House.Root, seen)
}

func (w *world) clone() *world {
	c := *w
	c.rows = slices.Clone(w.rows)
	return &c
}

func TestAWholeRecordHolds(t *testing.T) {
	w := newWorld(t)
	n := len(w.rows)
	r := w.check(w.lines(), w.seen(t, "w1", n), w.seen(t, "earlier", 3))
	if !r.OK || r.Rows != int64(n) || r.Size != int64(n) || r.Time != w.House.Now.Unix() || len(r.Seen) != 2 {
		t.Fatalf("%+v", r)
	}
	if r := w.check(w.lines()); !strings.Contains(strings.Join(r.NotProved, " "), "nobody was asked") {
		t.Errorf("nobody was asked, and the report does not say so: %q", r.NotProved)
	}
	w.rows = append(w.rows, w.rows[2]) // one event that happened twice
	w.seal.Rows++
	if r := w.check(w.lines()); !r.OK {
		t.Errorf("an event that happened twice: %+v", r.Findings)
	}
}

// find wants one finding with the code about the leaf (-1: any).
func find(t *testing.T, r record.Report, code refusal.Code, index int64) {
	t.Helper()
	if r.OK || !slices.ContainsFunc(r.Findings, func(f record.Finding) bool { return f.Code == code && (index < 0 || f.Index == index) }) {
		t.Errorf("no %s about leaf %d: ok %t, %+v", code, index, r.OK, r.Findings)
	}
}

func TestEveryChangeIsFoundAndNamed(t *testing.T) {
	whole := newWorld(t)
	n := len(whole.rows)
	for _, c := range []struct {
		what  string
		code  refusal.Code
		index int64
		spoil func(w *world)
	}{
		{"entry edited", record.CodeEdited, 2, func(w *world) { w.rows[2].Entry.At++ }},
		{"row taken out", record.CodeDeleted, 2, func(w *world) { w.rows = slices.Delete(w.rows, 2, 3); w.seal.Rows-- }},
		{"row taken out, seal as before", record.CodeDeleted, -1, func(w *world) { w.rows = slices.Delete(w.rows, 2, 3) }},
		{"rows exchanged", record.CodeOrder, 2, func(w *world) { w.rows[2], w.rows[3] = w.rows[3], w.rows[2] }},
		{"rows renumbered", record.CodeOrder, 2, func(w *world) {
			w.rows[2], w.rows[3] = w.rows[3], w.rows[2]
			w.rows[2].Index, w.rows[3].Index = 2, 3
		}},
		{"another event at a place", record.CodeOrder, 2, func(w *world) {
			w.rows = append(w.rows, w.rows[3])
			w.rows[n].Index = 2
			w.seal.Rows++
		}},
		{"end cut off", record.CodeTruncated, int64(n - 1), func(w *world) { w.rows = w.rows[:n-1]; w.seal.Rows-- }},
		{"checkpoint without witnesses", record.CodeResigned, -1, func(w *world) { w.seal.Checkpoint = w.checkpoint(t, n, nil) }},
		{"row added", record.CodeForm, -1, func(w *world) {
			w.rows = append(w.rows, w.rows[0])
			w.rows[n].Index = 1 << 40
			w.seal.Rows++
		}},
		{"event added behind the checkpoint, unproved", record.CodeEdited, int64(n), func(w *world) {
			g := w.rows[n-2]
			g.Index, g.Entry.At = int64(n), 11
			w.rows = append(w.rows, g)
			w.seal.Rows++
		}},
		{"another house", record.CodeForm, -1, func(w *world) { w.seal.Root = canon.SumFile(nil) }},
		{"body no base64", record.CodeForm, 1, func(w *world) { w.rows[1].Body += "=" }},
		{"checkpoint no base64", record.CodeForm, -1, func(w *world) { w.seal.Checkpoint += "=" }},
		{"proof without witnesses", record.CodeResigned, 2, func(w *world) {
			p, err := w.House.Prove(w.leaves(3), 2)
			if err != nil {
				t.Fatal(err)
			}
			w.rows[2].Proof = p
			w.seal.Checkpoint = w.checkpoint(t, n, nil)
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := whole.clone()
			c.spoil(w)
			find(t, w.check(w.lines()), c.code, c.index)
		})
	}
	for i, r := range whole.rows {
		t.Run(fmt.Sprintf("body of leaf %d, a %s", i, r.Entry.Kind), func(t *testing.T) {
			w := whole.clone()
			raw, _ := base64.StdEncoding.DecodeString(r.Body)
			for at := i % 7; at < len(raw); at += max(1, len(raw)/24) {
				raw[at] ^= 1
				w.rows[i].Body = base64.StdEncoding.EncodeToString(raw)
				if got := w.check(w.lines()); got.OK || got.Findings[0].Index != int64(i) {
					t.Fatalf("byte %d changed in %s: %+v", at, raw, got.Findings)
				}
				raw[at] ^= 1
			}
		})
	}
}

func TestWhatOthersHaveSeenIsHeldAgainstIt(t *testing.T) {
	w := newWorld(t)
	n := len(w.rows)
	older := w.clone()
	older.rows, older.seal.Rows = w.rows[:n-2], int64(n-2)
	older.seal.Checkpoint = w.checkpoint(t, n-2, w.times())
	if r := older.check(older.lines()); !r.OK {
		t.Fatalf("an older record holds by itself: %+v", r.Findings)
	}
	find(t, older.check(older.lines(), w.seen(t, "w1", n)), record.CodeTruncated, int64(n-2))
	fork := w.clone()
	fork.rows[1].Entry.At++
	find(t, w.check(w.lines(), fork.seen(t, "w1", n)), record.CodeFork, -1)
	find(t, w.check(w.lines(), fork.seen(t, "w1", 3)), record.CodeFork, -1)
}

func TestLinesThatAreNone(t *testing.T) {
	w := newWorld(t)
	lines := w.lines()
	find(t, w.check(lines[:len(lines)-1]), record.CodeTruncated, -1)
	find(t, w.check(nil), record.CodeTruncated, -1)
	find(t, w.check(append(slices.Clone(lines), lines[0])), record.CodeForm, -1)
	spoilt := slices.Clone(lines)
	spoilt[1] = append([]byte(" "), lines[1]...)
	find(t, w.check(spoilt), record.CodeForm, -1)
	many := slices.Repeat([][]byte{[]byte("x")}, 500)
	if r := w.check(many); r.OK || len(r.Findings) != 100 || r.More < 400 {
		t.Errorf("%d findings, %d more", len(r.Findings), r.More)
	}
}

func FuzzCheck(f *testing.F) {
	w := newWorld(f)
	lines := w.lines()
	for i := range lines {
		f.Add(i, lines[i])
	}
	f.Add(1, []byte(`{"type":"patchwrit/row/v1"}`))
	f.Fuzz(func(t *testing.T, at int, line []byte) {
		spoilt := slices.Clone(lines)
		at = (at%len(lines) + len(lines)) % len(lines)
		spoilt[at] = line
		if r := w.check(spoilt); r.OK && string(line) != string(lines[at]) && !sameEvent(line, lines[at]) {
			t.Errorf("line %d may be %q", at, line)
		}
	})
}

// sameEvent: a row whose proof alone differs says the same; the tree proves it.
func sameEvent(a, b []byte) bool {
	var x, y record.Row
	if canon.Decode(a, &x) != nil || canon.Decode(b, &y) != nil {
		return false
	}
	x.Proof = y.Proof
	return x == y
}
