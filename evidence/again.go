package evidence

import (
	"bytes"
	"fmt"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/refusal"
)

// verdict gathers the rules' input again and evaluates the pinned bundle.
func (c *checker) verdict() (string, error) {
	v, pinned := c.b.Verdict, c.root.Policy.Bundle
	if v.Bundle != pinned {
		return "", refusal.New(codeVerdict, "it was given by rules %s, your trust root (version %d) pins %s: check under the trust repository of that time", v.Bundle.Short(), c.root.Versions.Root, pinned.Short())
	}
	file, ok := c.file(pinned)
	if !ok {
		return "", refusal.New(codeVerdict, "the policy bundle %s that the trust root pins is not there", pinned.Short())
	}
	in := policy.NewInput(c.root, c.b.Header, c.b.Branches, c.b.Dossier, c.b.Facts, c.b.Grant, v.At).Bytes()
	d, err := c.decide(file, in)
	if err != nil {
		return "", refusal.New(codeVerdict, "%v", err)
	}
	again := policy.Bind(d, c.b.Header.Digest(), c.b.Header.Class, v.At, pinned, policy.InputDigest(in))
	if again.Input != v.Input && len(c.b.Facts.Hosts)+len(c.b.Facts.Artefacts) == 0 {
		return "", refusal.New(codeVerdict, "it was given over input %s, which is not %s, what the bundle comes to; the bundle tells no facts: one that was made before facts were recorded is checked with the version that made it, in any other they were taken out",
			v.Input.Short(), again.Input.Short())
	}
	if again.Digest() != v.Digest() {
		return "", refusal.New(codeVerdict, "the rules say %s over this input, the record says %s over input %s", again.Outcome, v.Outcome, v.Input.Short())
	}
	for _, u := range c.b.Writs {
		allowed := policy.Quorum
		if u.Writ.Body.Grant != "" {
			allowed = policy.Allow
		}
		if again.Outcome.Rank() > allowed.Rank() {
			return "", refusal.New(codeVerdict, "the rules said %s, and host %s got a writ all the same", again.Outcome, u.Writ.Body.Host.Short())
		}
	}
	return fmt.Sprintf("the rules, evaluated again, say the same: %s (%d reasons)", again.Outcome, len(again.Reasons)), nil
}

// published is one index of one release, as chains name it.
type published struct {
	origin   string
	release  canon.Digest
	path     string
	packages canon.Digest
}

// provenance walks from the vendor's signatures to every artefact again.
func (c *checker) provenance() (string, error) {
	read, n := map[published]provenance.Index{}, 0
	for _, f := range c.b.Dossier.Artefacts {
		for _, want := range []provenance.Chain{f.Chain, f.Back} {
			if bytes.Equal(canon.MustEncode(want), canon.MustEncode(provenance.Entry{}.Chain())) {
				continue // nothing comes: an installation's way back, a removal's way forth
			}
			if err := c.walk(read, want); err != nil {
				return "", err
			}
			n++
		}
	}
	c.uncovered()
	return fmt.Sprintf("%d artefacts lead back to their vendor's signatures", n), nil
}

// walk derives one chain again and compares.
func (c *checker) walk(read map[published]provenance.Index, want provenance.Chain) error {
	at := published{string(want.Origin), want.Release, want.Path, want.Packages}
	x, ok := read[at]
	if !ok {
		var err error
		if x, err = c.index(want); err != nil {
			return refusal.New(codeProvenance, "%s %s: %v", want.Package, want.Version, err)
		}
		read[at] = x
	}
	e, err := x.Find(want.Package, want.Arch, want.Version)
	if err != nil {
		return refusal.New(codeProvenance, "%v", err)
	}
	if !bytes.Equal(canon.MustEncode(e.Chain()), canon.MustEncode(want)) {
		return refusal.New(codeProvenance, "%s %s: the chain to %s is another when it is walked again", want.Package, want.Version, want.Origin)
	}
	return nil
}

// index verifies release and index as they were when the plan was made.
func (c *checker) index(want provenance.Chain) (provenance.Index, error) {
	o, known := c.root.Origin(want.Origin)
	if !known {
		return provenance.Index{}, fmt.Errorf("origin %s is not in the trust root", want.Origin)
	}
	raw, there := c.file(want.Release)
	packages, both := c.file(want.Packages)
	if !there || !both {
		return provenance.Index{}, fmt.Errorf("release or index of %s is not in the bundle", want.Origin)
	}
	release, err := provenance.ReadRelease(raw, o, c.root.Keyrings[o.Keyring], 0, time.Unix(c.b.Header.Created, 0))
	if err != nil {
		return provenance.Index{}, err
	}
	return release.ReadPackages(want.Path, bytes.NewReader(packages))
}

// uncovered notes what a way back would bring that no chain speaks of: only
// what a removal takes away (proposal.File.Open holds the rest).
func (c *checker) uncovered() {
	known := map[string]bool{}
	for _, f := range c.b.Dossier.Artefacts {
		known[string(f.Back.Artefact)] = true
	}
	for _, b := range c.b.Branches {
		c.bare = append(c.bare, bareOf(b, known)...)
	}
}

func bareOf(b plan.Branch, known map[string]bool) []string {
	out := []string{}
	for _, ch := range b.Rollback {
		if ch.Artefact != "" && !known[string(ch.Artefact)] {
			out = append(out, ch.Package+" "+ch.To)
		}
	}
	return out
}
