package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

// planWorld is a real host, a vendor with a signed archive, and the house.
type planWorld struct {
	host  debworld.Root
	repo  *debworld.Repo
	house trusttest.House
	args  []string // flags of plan new that are always the same
}

func newPlanWorld(t *testing.T) *planWorld {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: real Debian roots, minutes")
	}
	w := &planWorld{host: debworld.NewHost(t)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := debworld.NewKey(debworld.KeyConfig{Name: "Vendor", Created: time.Now().Add(-24 * time.Hour)})
	must(err)
	ring, err := debworld.Keyring(key)
	must(err)
	w.repo, err = debworld.NewRepo(filepath.Join(t.TempDir(), "repo"), debworld.RepoConfig{Origin: "Vendor", Label: "Vendor", Suite: "stable", Codename: "pwtest"})
	must(err)
	old, fixed := tool("1.0-1"), tool("1.1-1")
	fixed.Changelog = append([]debworld.Change{{Version: "1.1-1", Lines: []string{"Fix CVE-2026-1001."}, At: time.Now()}}, fixed.Changelog...)
	fixed.Files["/usr/bin/pw-\x1b[2Jroot"] = debworld.File{Content: "x", Mode: 0o4755}
	raw, err := old.Build()
	must(err)
	must(w.host.Write("/tmp/old.deb", raw, 0o644))
	_, err = w.host.Run(t.Context(), "dpkg", "-i", "/tmp/old.deb")
	must(err)
	must(w.repo.Add(old, fixed))
	_, err = w.repo.Publish(debworld.Publication{At: time.Now().Add(-time.Minute), Signers: []debworld.Signer{{Key: key}}})
	must(err)
	w.house = trusttest.Must(nil, trusttest.Options{Now: time.Now(), Keyrings: map[string][]byte{"vendor.gpg": ring},
		Origins: []trust.Origin{{ID: "vendor", Keyring: "vendor.gpg", Signers: 1, Origin: "Vendor", Label: "Vendor",
			Codename: "pwtest", Suites: []string{"stable"}, Sections: []string{"main"}}}})
	dir := t.TempDir()
	for name, b := range w.house.Bundle() {
		place(t, dir, name, string(b))
	}
	w.args = []string{"plan", "new", "--root", w.host.Dir, "--host", string(w.house.Hosts[0].ID), "--author", string(w.house.People[0].ID),
		"--trust", dir, "--root-sha256", string(w.house.Pinned), "--pool", t.TempDir(), "--source", "vendor=file://" + w.repo.Dir + ",pwtest", "--generation", "0"}
	return w
}

func tool(version string) debworld.Package {
	return debworld.Package{Name: "pw-tool", Version: version, Files: map[string]debworld.File{"/usr/bin/pw-tool": {Content: version, Mode: 0o755}},
		Changelog: []debworld.Change{{Version: "1.0-1", Lines: []string{"New upstream release."}, At: time.Now().Add(-time.Hour)}}}
}

func TestAPlanForARealHost(t *testing.T) {
	w := newPlanWorld(t)
	out := filepath.Join(t.TempDir(), "plan.json")
	r := call(t, append(w.args, "--note", "urgent\x1b]0;gotcha\a", "--out", out)...)
	if r.code != exitOK {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	raw, err := readFile(out)
	if err != nil {
		t.Fatal(err)
	}
	f, err := proposal.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	show := call(t, "plan", "show", out)
	for _, want := range []string{string(f.Header.Digest()), "from 1.0-1 to 1.1-1", "CVE-2026-1001", "sensitive", "setuid", "downgrade to 1.0-1",
		string(w.house.Hosts[0].ID), string(f.Branches[0].Changes[0].Artefact), `\x1b]0;gotcha\a`, "have no network"} {
		if !strings.Contains(show.out, want) {
			t.Errorf("%q is not shown:\n%s", want, show.out)
		}
	}
	if strings.ContainsAny(show.out, "\x1b\a") {
		t.Errorf("a terminal would take this for a command: %q", show.out)
	}
	t.Log(show.out)
	refused(t, f, out)
	author := append([]string{}, w.args...)
	if r := call(t, append(author, "--author", "p-nobody")...); r.code != exitUsage {
		t.Errorf("a plan by nobody: exit %d: %s", r.code, r.err)
	}
	if r := call(t, append(author, "--only", "pw-absent")...); r.code != exitFindings || !strings.Contains(r.err, "not installed") {
		t.Errorf("a plan for what is not there: exit %d: %s", r.code, r.err)
	}
}

// refused changes a plan file in every way that matters; none is shown.
func refused(t *testing.T, f proposal.File, path string) {
	t.Helper()
	for name, edit := range map[string]func(f *proposal.File) []byte{
		"another version": func(f *proposal.File) []byte { f.Branches[0].Changes[0].To = "1.2-1"; return f.Bytes() },
		"another class":   func(f *proposal.File) []byte { f.Dossier.Artefacts[0].Class = "routine"; return f.Bytes() },
		"another cause": func(f *proposal.File) []byte {
			f.Dossier.Hosts[0].Causes[0].Advisories[0] = "CVE-2026-9"
			return f.Bytes()
		},
		"network":         func(f *proposal.File) []byte { f.Branches[0].Network = true; return f.Bytes() },
		"another dossier": func(f *proposal.File) []byte { f.Dossier.Hosts = f.Dossier.Hosts[:0]; return f.Bytes() },
		"white space":     func(f *proposal.File) []byte { return append([]byte(" "), f.Bytes()...) },
		"an escape, raw": func(f *proposal.File) []byte {
			return []byte(strings.Replace(string(f.Bytes()), "urgent", "urge\x1bnt", 1))
		},
		"an escape, quoted": func(f *proposal.File) []byte {
			return []byte(strings.Replace(string(f.Bytes()), "urgent", `urge\u001bnt`, 1))
		},
	} {
		var copied proposal.File
		if err := canon.Decode(f.Bytes(), &copied); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, edit(&copied), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := call(t, "plan", "show", path); r.code != exitIntegrity || r.out != "" {
			t.Errorf("%s: exit %d, shown %q", name, r.code, r.out)
		}
	}
}
