package redteam

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSafeguardsAreLoadBearing builds the agent with one safeguard taken out,
// by an overlay of one source file, and expects the row that it stops to turn
// red: by another check's code, or because the host was changed.
func TestSafeguardsAreLoadBearing(t *testing.T) {
	bin := built(t)
	first, second := []act{opening()}, []act{opening(), approvedPlan()}
	for _, c := range []struct {
		row, file, check, without string
		acts                      []act
		outcome                   Outcome
	}{
		{"replayed-writ", "writ/verify.go", "return used.Plan == c.w.Body.Plan", "return false", first, Wrong},             // the package manager still sees that the step was done
		{"one-person-twice", "approval/tally.go", "i > 0 && people[i-1].ID == p.ID", `i < 0 && p.ID == ""`, second, Wrong}, // the quorum wants different people besides
		{"older-generation", "writ/verify.go", "c.w.Header.Generation < c.mem.Generation", "false", second, Breached},
		{"trojaned-deb", "pkgmgr/apt/stage.go", "n != c.Size || sum != c.Artefact", `sum == ""`, second, Wrong}, // the copy ends at the approved size, so no package is left
		{"lease-for-another-nonce", "writ/lease.go", "l.Nonce != c.mem.Nonce", "false", second, Breached},
		{"package-swapped", "plan/plan.go", "err := tlog.CheckRecord(proof, int64(h.Leaves), tlog.Hash(h.Tree.Bytes()), int64(n), tlog.RecordHash(branch)); err != nil", "err := tlog.CheckRecord(proof, int64(h.Leaves), tlog.Hash(h.Tree.Bytes()), int64(n), tlog.RecordHash(branch)); err == nil && n < 0", second, Wrong}, // the swapped bytes are not the vendor's
	} {
		t.Run(c.row, func(t *testing.T) {
			bin := bin
			bin.agent = build(t, t.TempDir(), "patchwrit-agent", "-overlay", overlay(t, c.file, c.check, c.without))
			results, err := perform(context.WithoutCancel(t.Context()), newStage(t, bin).scene, c.acts, c.row)
			if len(results) != 1 {
				t.Fatalf("%d results, %v", len(results), err)
			}
			if r := results[0]; r.OK() || r.Outcome != c.outcome {
				t.Errorf("without %q: %s %s (%s), want %s", c.check, r.Outcome, r.Code, r.Detail, c.outcome)
			}
		})
	}
}

// overlay writes a build overlay in which one check of one file is another.
func overlay(t *testing.T, file, check, without string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(raw), check) != 1 {
		t.Fatalf("%s does not hold %q once: the safeguard has moved", file, check)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(file))
	doc, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	for name, body := range map[string][]byte{changed: []byte(strings.Replace(string(raw), check, without, 1)), list: doc} {
		if err := os.WriteFile(name, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return list
}
