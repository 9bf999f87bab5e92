// Package controltest is a whole house for tests of the control plane, on disk
// and on loopback: a trust repository, a data directory with the log's key and
// the signed rules, three witnesses that really cosign, lease and halt, a
// vendor's release, people, and hosts that verify every writ as an agent does.
//
// Nothing is stubbed but the solver (Solve) and the package manager: a host's
// dpkg status is text that an applied writ changes. It is for tests only.
package controltest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/witness"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// Options shapes the house.
type Options struct {
	Hosts int // that the trust root names; they alternate between two fault domains
	Roles int // that they alternate between; zero: 1

	Labels []trust.Label // of every host, besides
}

// House is the world of a test.
type House struct {
	T     testing.TB
	World *evidencetest.World
	Dir   string // trust/ and data/ below it
	Keys  []ed25519.PrivateKey
	Note  string // of plans that people make
	names []trust.Host

	mu       sync.Mutex // guards what follows
	down     [witnesses]bool
	handlers [witnesses]http.Handler
	packages []string
	solves   int
}

const witnesses = 3

// New builds a house below a directory of its own.
func New(t testing.TB, o Options) *House {
	t.Helper()
	dir, err := os.MkdirTemp("", "pw-house-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &House{T: t, Dir: dir, Note: "made by a person", packages: []string{evidencetest.Package}}
	urls := []string{}
	for i := range witnesses {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			up := h.serving(i)
			if up == nil {
				http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
				return
			}
			up.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	h.World = evidencetest.Must(evidencetest.Options{Now: time.Now().Truncate(time.Second).UTC(), Edit: func(c *ceremony.Contents) { h.edit(c, o, urls) }})
	h.write()
	for i, w := range h.World.House.Witnesses {
		handler := h.witness(w, urls[i])
		h.mu.Lock()
		h.handlers[i] = handler
		h.mu.Unlock()
	}
	return h
}

// edit gives the witnesses their addresses and names the hosts.
func (h *House) edit(c *ceremony.Contents, o Options, urls []string) {
	for i, url := range urls {
		c.Witnesses = strings.ReplaceAll(c.Witnesses, fmt.Sprintf("https://w%d.example", i+1), url)
	}
	for i := range o.Hosts {
		public, key, err := ed25519.GenerateKey(nil)
		h.must(err)
		host := trust.Host{ID: trust.HostOf(public), Public: hex.EncodeToString(public), Domain: string(rune('a' + i%2)),
			Labels: append([]trust.Label{{Key: "autonomy", Value: "L4"}, {Key: "exposure", Value: "internal"}, {Key: "role", Value: fmt.Sprintf("role-%d", i%max(1, o.Roles))}}, o.Labels...)}
		h.Keys, h.names, c.Hosts = append(h.Keys, key), append(h.names, host), append(c.Hosts, host)
	}
}

func (h *House) must(err error) {
	h.T.Helper()
	if err != nil {
		h.T.Fatal(err)
	}
}

// Trust and Data are the directories.
func (h *House) Trust() string { return filepath.Join(h.Dir, "trust") }

// Data is the control plane's directory.
func (h *House) Data() string { return filepath.Join(h.Dir, "data") }

// write lays trust repository, log key, rules and pool out.
func (h *House) write() {
	files := map[string][]byte{"data/log.key": []byte(h.World.House.Log.SKey + "\n"), "data/policy.tar.gz": h.World.Rules}
	for name, raw := range h.World.House.Bundle() {
		files[filepath.Join("trust", name)] = raw
	}
	chain := h.fact().Chain
	for _, b := range h.World.Bundle.Blobs {
		raw, err := base64.StdEncoding.DecodeString(b.Data)
		h.must(err)
		switch b.Digest {
		case chain.Release:
			files["data/pool/releases/debian-security/InRelease"] = raw
		case chain.Packages:
			files["data/pool/releases/debian-security/"+chain.Path] = raw
		}
	}
	for d, raw := range h.World.Debs {
		files["data/pool/sha256/"+string(d)] = raw
	}
	for name, raw := range files {
		path := filepath.Join(h.Dir, name)
		h.must(errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, raw, 0o600)))
	}
}

func (h *House) witness(w trusttest.Witness, url string) http.Handler {
	dir := filepath.Join(h.Dir, w.Name)
	h.must(os.Mkdir(dir, 0o700))
	_, err := witness.NewKey(dir, w.Name, url, bytes.NewReader(w.Key.Seed()))
	h.must(err)
	running, err := witness.Open(witness.Config{Dir: dir, Trust: os.DirFS(h.Trust()), Root: h.World.House.Pinned})
	h.must(err)
	h.T.Cleanup(func() { running.Close() })
	return running.Handler()
}

// Down takes a witness down, or brings it back.
func (h *House) Down(i int, down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down[i] = down
}

// serving is the witness that answers now; nil when it is down.
func (h *House) serving(i int) http.Handler {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down[i] {
		return nil
	}
	return h.handlers[i]
}

// Root is the trust root.
func (h *House) Root() trust.Root { return h.World.House.Root }

// Person n of the roster signs a statement.
func (h *House) Person(n int, s approval.Statement) approval.Approval {
	return writtest.Sign(h.World.House.People[n], s, time.Now().Unix())
}

// Grant is a grant that two people signed, over all hosts and packages, with
// this soak.
func (h *House) Grant(soak int64) (approval.Grant, []approval.Approval) {
	now := time.Now().Unix()
	g := approval.Grant{Type: approval.TypeGrant, Nonce: nonce(), Author: h.World.House.People[2].ID, Created: now - 60, Expires: now + 30*24*3600,
		Scope: trust.Scope{All: true, Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{}}, Packages: []string{"*"},
		Origins: []change.Origin{"debian-security"}, Ceiling: change.Routine, Soak: soak, Slots: []approval.Slot{{Domain: "a"}, {Domain: "b"}}, Budget: 20}
	s := g.Statement(approval.Allow)
	return g, []approval.Approval{h.Person(0, s), h.Person(1, s)}
}

func nonce() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func (h *House) fact() proposal.Fact { return h.World.Bundle.Dossier.Artefacts[0] }

// Allow sets what the solver can fix for the control plane.
func (h *House) Allow(packages ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.packages = packages
}

// Solved counts the solver's calls.
func (h *House) Solved() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.solves
}

// Solve stands in for apt: every allowed package that is installed in the old
// version goes to the new one.
func (h *House) Solve(_ context.Context, o solve.Options) (solve.Solved, error) {
	h.mu.Lock()
	h.solves++
	packages := slices.Sorted(slices.Values(h.packages))
	h.mu.Unlock()
	return h.solved(o, packages)
}

func (h *House) solved(o solve.Options, packages []string) (solve.Solved, error) {
	inv, err := inventory.Read(os.DirFS(o.Root))
	if err != nil {
		return solve.Solved{}, err
	}
	out := solve.Solved{Seen: solve.Seen{Inventory: inv}}
	if out.Digest, err = inv.Digest(); err != nil {
		return out, err
	}
	for _, p := range inv.Packages {
		if p.Version != evidencetest.Old || !slices.Contains(packages, p.Name) || len(o.Only) > 0 && !slices.Contains(o.Only, p.Name) {
			continue
		}
		f := h.fact()
		f.Package, f.Class = p.Name, ClassOf(p.Name)
		forth := change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: f.Package, Arch: f.Arch, From: f.From, To: f.To,
			Artefact: f.Chain.Artefact, Size: f.Chain.Size, Origin: f.Chain.Origin, Class: f.Class}
		out.Changes = append(out.Changes, forth)
		out.Back = append(out.Back, change.Change{Op: change.Downgrade, Scheme: version.Deb, Package: f.Package, Arch: f.Arch, From: f.To, To: f.From,
			Artefact: f.Back.Artefact, Size: f.Back.Size, Origin: f.Back.Origin, Class: change.Critical})
		out.Facts = append(out.Facts, f)
		out.Findings = append(out.Findings, match.Finding{Advisory: "CVE-2026-0001", Package: f.Package, Arch: f.Arch, Source: f.Source, Fixed: f.To, State: match.Affected,
			Sources: []match.Source{{State: match.Affected, Authority: advisory.Distribution}}})
	}
	return out, nil
}

// ClassOf is the class of a package's change here: routine for the one that is
// really built, sensitive for all others.
func ClassOf(name string) change.Class {
	if name == evidencetest.Package {
		return change.Routine
	}
	return change.Sensitive
}

// Statement is what people sign to say yes to a plan.
func Statement(h plan.Header, k approval.Kind) approval.Statement {
	return approval.Statement{Kind: k, Bytes: h.Bytes()}
}

// Digest names a plan file's plan.
func Digest(f proposal.File) canon.Digest { return f.Header.Digest() }

// Plan is a plan that a person makes for hosts that have the old version of the
// one package: the first of them is the canary. What the solver is allowed to fix
// has no part in it, so that the control plane need not be allowed to propose the same.
func (h *House) Plan(hosts ...*Host) proposal.File {
	h.T.Helper()
	now := time.Now().Unix()
	r := proposal.Request{Nonce: nonce(), Author: h.World.House.People[2].ID, Created: now, Expires: now + 24*3600, Generation: 0, Note: h.Note,
		Waves: []plan.Wave{{NotBefore: now, Good: 1}}}
	for i, a := range hosts {
		dir, err := os.MkdirTemp(h.Dir, "root-")
		h.must(err)
		h.must(lay(dir, a.Snapshot()))
		s, err := h.solved(solve.Options{Root: dir}, []string{evidencetest.Package})
		h.must(err)
		if i == 1 {
			r.Waves = append(r.Waves, plan.Wave{NotBefore: now, Good: 1})
		}
		r.Facts = s.Facts
		r.Hosts = append(r.Hosts, proposal.HostRequest{ID: a.Known.ID, Wave: min(i, 1), Inventory: s.Digest, Findings: s.Findings, Changes: s.Changes, Back: s.Back})
	}
	header, branches, dossier, err := proposal.New(r)
	h.must(err)
	return proposal.NewFile(header, branches, dossier)
}

// lay writes what inventory.Read wants.
func lay(dir string, s wire.Snapshot) error {
	status := []string{}
	for _, p := range s.Status {
		status = append(status, p.Text())
	}
	for name, text := range map[string]string{"etc/os-release": s.OSRelease.Text(), "var/lib/dpkg/status": strings.Join(status, "\n"), "var/lib/dpkg/arch": s.Arch + "\n"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			return err
		}
	}
	return nil
}
