package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
)

// showPlan writes for a person exactly what is signed. f comes from
// proposal.ReadFile, so every text in it is printable ASCII and no terminal
// takes any of it for a command; Notes are shown as they are signed, escaped.
func showPlan(w io.Writer, f proposal.File) error {
	s := &shower{w: w, f: f, facts: map[string]proposal.Fact{}}
	for _, fact := range f.Dossier.Artefacts {
		s.facts[fact.Package+":"+fact.Arch+" "+fact.From+" "+fact.To] = fact
	}
	s.header()
	for i, b := range f.Branches {
		s.branch(b, f.Dossier.Hosts[i])
	}
	return s.err
}

// shower writes lines and remembers the first error.
type shower struct {
	w     io.Writer
	f     proposal.File
	facts map[string]proposal.Fact
	err   error
}

func (s *shower) line(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format+"\n", args...)
	}
}

func at(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05 UTC") }

func (s *shower) header() {
	h := s.f.Header
	s.line("plan        %s", h.Digest())
	s.line("author      %s (cannot approve it)", h.Author)
	s.line("class       %s", h.Class)
	s.line("created     %s", at(h.Created))
	s.line("expires     %s", at(h.Expires))
	s.line("generation  %d", h.Generation)
	if h.Parent != "" {
		s.line("replaces    %s", h.Parent)
	}
	s.line("nonce       %s", h.Nonce)
	s.line("dossier     %s", h.Dossier)
	s.line("tree        %s over %d hosts", h.Tree, h.Leaves)
	s.line("note        %s", h.Note)
	if s.f.Dossier.Reason != "" {
		s.line("ROLLBACK    %s", s.f.Dossier.Reason)
		s.line("            it needs the quorum named rollback besides that of class %s; no grant covers it", h.Class)
	}
	for i, wave := range h.Waves {
		s.line("wave %-6d %d hosts, not before %s; a later wave needs %d good receipts of it", i, wave.Hosts, at(wave.NotBefore), wave.Good)
	}
}

func (s *shower) branch(b plan.Branch, h proposal.Host) {
	network := "maintainer scripts have no network"
	if b.Network {
		network = "MAINTAINER SCRIPTS MAY USE THE NETWORK"
	}
	s.line("\nhost %s", b.Host)
	s.line("  wave %d; %s; inventory %s", b.Wave, network, h.Inventory)
	for i, c := range b.Changes {
		s.change(c, b.Rollback[i], h.Causes[i])
	}
	for _, held := range h.Held {
		s.line("  stays affected: %s: %s", held.Package, held.Why)
	}
}

func (s *shower) change(c, back change.Change, cause proposal.Cause) {
	s.line("  %s %s  %s", c.Op, c.Key(), c.Class)
	s.line("    from %s to %s", none(c.From), none(c.To))
	if c.Artefact != "" {
		s.line("    bytes   %s, %d bytes, from %s", c.Artefact, c.Size, c.Origin)
	}
	switch {
	case len(cause.Advisories) > 0:
		s.line("    fixes   %s", strings.Join(cause.Advisories, " "))
	case len(cause.Reopens) > 0:
		s.line("    OPENS   %s: version %s fixes this, %s does not", strings.Join(cause.Reopens, " "), c.From, c.To)
	case c.Op == change.Downgrade:
		s.line("    opens   nothing that is known")
	default:
		s.line("    fixes   nothing itself: the package manager needs it for the others")
	}
	if fact, ok := s.facts[c.Key()+" "+c.From+" "+c.To]; ok {
		s.fact(fact)
	}
	if back.Op == change.Remove {
		s.line("    back    remove it")
	} else {
		s.line("    back    %s to %s: %s, %d bytes, from %s", back.Op, back.To, back.Artefact, back.Size, back.Origin)
	}
}

func (s *shower) fact(f proposal.Fact) {
	for _, r := range f.Reasons {
		s.line("    why     %s: %s: %s", r.Class, r.Code, r.Detail)
	}
	s.line("    source  %s %s; signed by %s, release of %s", f.Source, f.SourceVersion, strings.Join(f.Chain.Signers, " "), at(f.Chain.Date))
	s.line("    files   %d added, %d removed, %d changed, %d the same", f.Diff.Counts.Added, f.Diff.Counts.Removed, f.Diff.Counts.Changed, f.Diff.Counts.Same)
	s.breaks(f.Breaks)
}

func (s *shower) breaks(all []artefact.Break) {
	for _, b := range all {
		if !b.Certain {
			s.line("    may break %s: it uses %s, which loses more than is named", b.Consumer, b.Soname)
			continue
		}
		missing := []string{}
		for _, m := range b.Missing {
			missing = append(missing, string(m))
		}
		s.line("    BREAKS  %s: it would miss %s of %s", b.Consumer, strings.Join(missing, " "), b.Soname)
	}
}

func none(version string) string {
	if version == "" {
		return "(not installed)"
	}
	return version
}
