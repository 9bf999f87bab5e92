package solve

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// world is one real Debian root and one vendor with a signed archive.
type world struct {
	t    *testing.T
	host debworld.Root
	key  *debworld.Key
	repo *debworld.Repo
	said bytes.Buffer
	o    Options
}

// origin is the vendor as a trust root would name it.
func origin() trust.Origin {
	return trust.Origin{ID: "vendor", Keyring: "vendor.gpg", Signers: 1, Origin: "Vendor", Label: "Vendor",
		Codename: "pwtest", Suites: []string{"stable"}, Sections: []string{"main"}}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: real Debian roots, minutes")
	}
	w := &world{t: t, host: debworld.NewHost(t)}
	var err error
	w.key, err = debworld.NewKey(debworld.KeyConfig{Name: "Vendor", Created: time.Now().Add(-24 * time.Hour)})
	w.must(err)
	w.repo, err = debworld.NewRepo(filepath.Join(t.TempDir(), "repo"), debworld.RepoConfig{Origin: "Vendor", Label: "Vendor", Suite: "stable", Codename: "pwtest"})
	w.must(err)
	ring, err := debworld.Keyring(w.key)
	w.must(err)
	w.o = Options{Root: w.host.Dir, Pool: t.TempDir(), Now: time.Now(), Progress: &w.said,
		Sources: []Source{{Origin: origin(), Keyring: ring, URL: "file://" + w.repo.Dir, Suite: "pwtest"}}}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// install puts packages on the host by plain dpkg, as if from before.
func (w *world) install(packages ...debworld.Package) {
	w.t.Helper()
	for _, p := range packages {
		raw, err := p.Build()
		w.must(err)
		w.must(w.host.Write("/tmp/"+p.FileName(), raw, 0o644))
		_, err = w.host.Run(w.t.Context(), "dpkg", "-i", "/tmp/"+p.FileName())
		w.must(err)
	}
}

func (w *world) offer(packages ...debworld.Package) {
	w.t.Helper()
	w.must(w.repo.Add(packages...))
	_, err := w.repo.Publish(debworld.Publication{At: time.Now().Add(-time.Minute), Signers: []debworld.Signer{{Key: w.key}}})
	w.must(err)
}

// tool is a package whose version fixes the CVE, when one is given.
func tool(name, version, cve string) debworld.Package {
	p := debworld.Package{Name: name, Version: version, Files: map[string]debworld.File{"/usr/bin/" + name: {Content: "#!/bin/sh\necho " + version + "\n", Mode: 0o755}}}
	if cve != "" {
		p.Changelog = append(p.Changelog, debworld.Change{Version: version, Lines: []string{"Fix " + cve + "."}, At: time.Now()})
	}
	p.Changelog = append(p.Changelog, debworld.Change{Version: "1.0-1", Lines: []string{"New upstream release."}, At: time.Now().Add(-time.Hour)})
	return p
}

func TestAptSolvesARealRoot(t *testing.T) {
	w := newWorld(t)
	old, fixed := tool("pw-tool", "1.0-1", ""), tool("pw-tool", "1.1-1", "CVE-2026-1001")
	needs := tool("pw-needs", "1.1-1", "CVE-2026-1002")
	needs.Depends = "pw-nowhere"
	pulls, helper := tool("pw-pulls", "1.1-1", "CVE-2026-1003"), debworld.Package{Name: "pw-helper", Version: "3.0-1"}
	pulls.Depends = "pw-helper (>= 3)"
	held, lonely, quiet := tool("pw-held", "1.1-1", "CVE-2026-1004"), tool("pw-lonely", "1.1-1", "CVE-2026-1005"), tool("pw-quiet", "1.1-1", "")
	w.install(old, tool("pw-needs", "1.0-1", ""), tool("pw-pulls", "1.0-1", ""), tool("pw-held", "1.0-1", ""), tool("pw-lonely", "1.0-1", ""), tool("pw-quiet", "1.0-1", ""))
	_, err := w.host.Run(t.Context(), "apt-mark", "hold", "pw-held")
	w.must(err)
	w.offer(old, fixed, tool("pw-needs", "1.0-1", ""), needs, tool("pw-pulls", "1.0-1", ""), pulls, helper,
		tool("pw-held", "1.0-1", ""), held, lonely, tool("pw-quiet", "1.0-1", ""), quiet)
	before, err := w.host.Changed()
	w.must(err)

	s, err := Solve(t.Context(), w.o)
	w.must(err)

	got := []string{}
	for _, c := range s.Changes {
		got = append(got, string(c.Op)+" "+c.Key()+" "+c.From+" "+c.To)
		if _, err := os.Stat(filepath.Join(w.o.Pool, "sha256", string(c.Artefact))); err != nil {
			t.Error(err)
		}
	}
	want := []string{"install pw-helper:amd64  3.0-1", "upgrade pw-pulls:amd64 1.0-1 1.1-1", "upgrade pw-tool:amd64 1.0-1 1.1-1"}
	if !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q", got, want)
	}
	w.must(change.ValidSet(s.Changes))
	w.must(change.ValidSet(s.Back))
	if len(s.Back) == 3 {
		if b := s.Back[2]; b.Op != change.Downgrade || b.To != "1.0-1" || b.Class != change.Critical {
			t.Errorf("the way back of pw-tool is %+v", b)
		}
	}
	for key, why := range map[string]string{"pw-needs:amd64": "pw-nowhere", "pw-held:amd64": "on hold", "pw-lonely:amd64": "no way back"} {
		i := slices.IndexFunc(s.Held, func(h proposal.Held) bool { return h.Package == key })
		if i < 0 || !strings.Contains(string(s.Held[i].Why), why) {
			t.Errorf("%s is not held for %q: %v", key, why, s.Held)
		}
	}
	if len(s.Held) != 3 {
		t.Errorf("held %v, want three", s.Held)
	}
	after, err := w.host.Changed()
	w.must(err)
	if !slices.Equal(before, after) {
		t.Errorf("the root was changed: before %v, after %v", before, after)
	}
	if !slices.ContainsFunc(s.Findings, func(f match.Finding) bool {
		return f.Package == "pw-tool" && f.State == match.Affected && f.Fixed == "1.1-1"
	}) {
		t.Error("no finding on pw-tool")
	}
}

func TestALostSymbolNamesWhoBreaks(t *testing.T) {
	w := newWorld(t)
	abi, err := debworld.BuildABIBreak(t.Context(), "")
	debworld.Need(t, err)
	abi.New.Changelog = []debworld.Change{{Version: abi.New.Version, Lines: []string{"Fix CVE-2026-2001."}, At: time.Now()}}
	w.install(abi.Old, abi.Consumer)
	w.offer(abi.Old, abi.New, abi.Consumer)
	s, err := Solve(t.Context(), w.o)
	w.must(err)
	if len(s.Facts) != 1 || len(s.Facts[0].Breaks) != 1 {
		t.Fatalf("facts %+v, want one with one break; held %v", s.Facts, s.Held)
	}
	if b := s.Facts[0].Breaks[0]; !b.Certain || string(b.Consumer) != debworld.ConsumerPath || len(b.Missing) != 1 || !strings.HasPrefix(string(b.Missing[0]), debworld.RemovedSymbol) {
		t.Errorf("break %+v", b)
	}
}
