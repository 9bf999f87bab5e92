package whole_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
)

// sample is a plan for n hosts in two waves (one when n is 1).
func sample(n int) (plan.Header, []plan.Branch) {
	digest := canon.SumFile([]byte("x"))
	forth := change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: "openssl", Arch: "amd64", From: "1", To: "2",
		Artefact: digest, Size: 3, Origin: "debian-security", Class: change.Routine}
	back := forth
	back.Op, back.From, back.To = change.Downgrade, "2", "1"
	h := plan.Header{Type: plan.TypeHeader, Nonce: strings.Repeat("ab", 32), Author: "p-1", Created: 1000, Expires: 2000, Generation: 1,
		Dossier: digest, Class: change.Routine, Waves: []plan.Wave{{NotBefore: 1000, Hosts: 1, Good: 1}}, Leaves: n}
	if n > 1 {
		h.Waves = append(h.Waves, plan.Wave{NotBefore: 1100, Hosts: n - 1, Good: 1})
	}
	branches := []plan.Branch{}
	for i := range n {
		branches = append(branches, plan.Branch{Type: plan.TypeBranch, Host: trust.HostOf(fmt.Appendf(nil, "%d", i)),
			Changes: []change.Change{forth}, Rollback: []change.Change{back}})
	}
	slices.SortFunc(branches, func(a, b plan.Branch) int { return strings.Compare(string(a.Host), string(b.Host)) })
	for i := range branches {
		branches[i].Wave = min(i, 1)
	}
	return seal(h, branches), branches
}

// seal writes the tree of the branches into the header.
func seal(h plan.Header, branches []plan.Branch) plan.Header {
	leaves := [][]byte{}
	for _, b := range branches {
		leaves = append(leaves, b.Bytes())
	}
	tree, err := whole.Tree(leaves)
	if err != nil {
		panic(err)
	}
	h.Tree = tree
	return h
}

func TestOpenRefusesEveryContradiction(t *testing.T) {
	for name, c := range map[string]struct {
		says  string
		spoil func(*plan.Header, *[]plan.Branch)
	}{
		"type":                  {"type", func(h *plan.Header, _ *[]plan.Branch) { h.Type = "patchwrit/grant/v1" }},
		"nonce":                 {"nonce", func(h *plan.Header, _ *[]plan.Branch) { h.Nonce = "ab" }},
		"dossier":               {"dossier", func(h *plan.Header, _ *[]plan.Branch) { h.Dossier = "" }},
		"tree":                  {"tree", func(h *plan.Header, _ *[]plan.Branch) { h.Tree = "xx" }},
		"parent":                {"parent", func(h *plan.Header, _ *[]plan.Branch) { h.Parent = "xx" }},
		"author":                {"no author", func(h *plan.Header, _ *[]plan.Branch) { h.Author = "" }},
		"ends before it began":  {"lives from", func(h *plan.Header, _ *[]plan.Branch) { h.Expires = h.Created }},
		"lives too long":        {"lives from", func(h *plan.Header, _ *[]plan.Branch) { h.Expires = h.Created + plan.MaxLife + 1 }},
		"class":                 {"unknown class", func(h *plan.Header, _ *[]plan.Branch) { h.Class = "mild" }},
		"no leaves":             {"branches", func(h *plan.Header, _ *[]plan.Branch) { h.Leaves = 0 }},
		"too many leaves":       {"branches", func(h *plan.Header, _ *[]plan.Branch) { h.Leaves = plan.MaxBranches + 1 }},
		"no waves":              {"0 waves", func(h *plan.Header, _ *[]plan.Branch) { h.Waves = []plan.Wave{} }},
		"too many waves":        {"65 waves", func(h *plan.Header, _ *[]plan.Branch) { h.Waves = make([]plan.Wave, plan.MaxWaves+1) }},
		"empty wave":            {"wave 0: 0 hosts", func(h *plan.Header, _ *[]plan.Branch) { h.Waves[0].Hosts = 0 }},
		"no gate":               {"0 good receipts", func(h *plan.Header, _ *[]plan.Branch) { h.Waves[0].Good = 0 }},
		"gate nobody passes":    {"wave 1: 2 hosts, 3", func(h *plan.Header, _ *[]plan.Branch) { h.Waves[1].Good = 3 }},
		"waves in disorder":     {"wave 1 begins before", func(h *plan.Header, _ *[]plan.Branch) { h.Waves[1].NotBefore = 999 }},
		"wave after the end":    {"after the plan has ended", func(h *plan.Header, _ *[]plan.Branch) { h.Waves[1].NotBefore = 2000 }},
		"waves do not add up":   {"waves hold", func(h *plan.Header, _ *[]plan.Branch) { h.Waves[1].Hosts = 3 }},
		"branch type":           {"type", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Type = "x" }},
		"branch host":           {"no fingerprint", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Host = "x" }},
		"negative wave":         {"wave -1", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Wave = -1 }},
		"no such wave":          {"wave 2 of 2", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Wave = 2 }},
		"too many changes":      {"changes", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Changes = make([]change.Change, plan.MaxChanges+1) }},
		"class above header":    {"the plan says", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Changes[0].Class = change.Critical }},
		"broken change":         {"artefact", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Changes[0].Size = 0 }},
		"no way back":           {"0 back", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Rollback = []change.Change{} }},
		"broken way back":       {"rollback", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Rollback[0].Size = 0 }},
		"back to elsewhere":     {"another way", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Rollback[0].To = "0" }},
		"back from elsewhere":   {"another way", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Rollback[0].From = "3" }},
		"other package back":    {"another way", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Rollback[0].Package = "bash" }},
		"host twice":            {"strictly ascending", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Host = (*b)[0].Host }},
		"hosts in disorder":     {"strictly ascending", func(_ *plan.Header, b *[]plan.Branch) { slices.Reverse((*b)[1:]) }},
		"wave count":            {"wave 0 holds 2", func(_ *plan.Header, b *[]plan.Branch) { (*b)[1].Wave = 0 }},
		"header class too high": {"the highest class is", func(h *plan.Header, _ *[]plan.Branch) { h.Class = change.Critical }},
	} {
		h, branches := sample(3)
		if err := whole.Open(h, branches); err != nil {
			t.Fatalf("the control does not open: %v", err)
		}
		c.spoil(&h, &branches)
		if err := whole.Open(h, branches); !errors.Is(err, plan.ErrForm) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want plan.ErrForm that says %q", name, err, c.says)
		}
	}
}

func TestOpenWantsExactlyTheTreesBranches(t *testing.T) {
	h, branches := sample(3)
	swapped := slices.Clone(branches)
	swapped[1].Network = true
	if err := whole.Open(h, swapped); !errors.Is(err, plan.ErrForm) || !strings.Contains(err.Error(), "not the header's tree") {
		t.Errorf("a swapped branch: %v", err)
	}
	if err := whole.Open(h, branches[:2]); !errors.Is(err, plan.ErrForm) {
		t.Errorf("a hidden branch: %v", err)
	}
	if err := whole.Open(h, nil); !errors.Is(err, plan.ErrForm) {
		t.Errorf("no branch: %v", err)
	}
}

// TestPathProvesOneBranchAtOnePlace: for any plan, a branch's path proves that
// branch at that place and nothing else.
func TestPathProvesOneBranchAtOnePlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, branches := sample(rapid.IntRange(1, 40).Draw(t, "hosts"))
		leaves := [][]byte{}
		for _, b := range branches {
			leaves = append(leaves, b.Bytes())
		}
		n := rapid.IntRange(0, len(leaves)-1).Draw(t, "branch")
		path, err := whole.Path(leaves, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Holds(leaves[n], n, path); err != nil {
			t.Fatalf("the control: %v", err)
		}
		for m := range leaves {
			if m != n && (h.Holds(leaves[m], n, path) == nil || h.Holds(leaves[n], m, path) == nil) {
				t.Fatalf("path of %d proves %d", n, m)
			}
		}
		bad := slices.Clone(leaves[n])
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "byte")] ^= 1
		if h.Holds(bad, n, path) == nil || h.Holds(leaves[n], n, append(path, h.Tree)) == nil {
			t.Fatal("other bytes or a longer path pass")
		}
	})
}

func TestHoldsRefusesWhatIsNoPath(t *testing.T) {
	h, branches := sample(2)
	leaves := [][]byte{branches[0].Bytes(), branches[1].Bytes()}
	path, err := whole.Path(leaves, 1)
	if err != nil || h.Holds(leaves[1], 1, path) != nil {
		t.Fatal("the control", err)
	}
	for name, c := range map[string]struct {
		says string
		err  error
	}{
		"element": {"path element", h.Holds(leaves[1], 1, []canon.Digest{"xx"})},
		"minus":   {"branch -1", h.Holds(leaves[1], -1, path)},
		"beyond":  {"branch 2 of 2", h.Holds(leaves[1], 2, path)},
		"no tree": {"branch 1", plan.Header{Leaves: 2}.Holds(leaves[1], 1, path)},
	} {
		if !errors.Is(c.err, plan.ErrForm) || !strings.Contains(c.err.Error(), c.says) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if _, err := whole.Path(leaves, 2); err == nil {
		t.Error("a path for a branch that is not there")
	}
}

func TestDigestNamesEveryField(t *testing.T) {
	h, _ := sample(3)
	seen := map[canon.Digest]string{h.Digest(): "control"}
	for name, spoil := range map[string]func(*plan.Header){
		"nonce": func(h *plan.Header) { h.Nonce = strings.Repeat("cd", 32) }, "author": func(h *plan.Header) { h.Author = "p-2" },
		"created": func(h *plan.Header) { h.Created++ }, "expires": func(h *plan.Header) { h.Expires++ }, "generation": func(h *plan.Header) { h.Generation++ },
		"parent": func(h *plan.Header) { h.Parent = h.Tree }, "dossier": func(h *plan.Header) { h.Dossier = h.Tree }, "class": func(h *plan.Header) { h.Class = change.Critical },
		"waves": func(h *plan.Header) { h.Waves = slices.Clone(h.Waves); h.Waves[0].Good = 2 }, "leaves": func(h *plan.Header) { h.Leaves++ },
		"tree": func(h *plan.Header) { h.Tree = h.Dossier }, "note": func(h *plan.Header) { h.Note = "n" },
	} {
		other := h
		spoil(&other)
		if was, known := seen[other.Digest()]; known {
			t.Errorf("%s has the digest of %s", name, was)
		}
		seen[other.Digest()] = name
	}
}

func FuzzHeader(f *testing.F) {
	h, _ := sample(3)
	f.Add(h.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		var got plan.Header
		if canon.Decode(b, &got) == nil && got.Valid() == nil && string(got.Bytes()) != string(b) {
			t.Fatal("one header, two encodings")
		}
	})
}

func FuzzBranch(f *testing.F) {
	h, branches := sample(1)
	f.Add(branches[0].Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		var got plan.Branch
		if canon.Decode(b, &got) == nil && got.Valid(h) == nil && string(got.Bytes()) != string(b) {
			t.Fatal("one branch, two encodings")
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	h, branches := sample(1)
	for range 49 {
		branches[0].Changes = append(branches[0].Changes, branches[0].Changes[0])
	}
	b.Run("header", func(b *testing.B) {
		for b.Loop() {
			_ = h.Digest()
		}
	})
	b.Run("branch of 50 changes", func(b *testing.B) {
		b.SetBytes(int64(len(branches[0].Bytes())))
		for b.Loop() {
			_ = branches[0].Bytes()
		}
	})
}
