package solve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/version"
)

// maxWalked bounds the files that are looked at for programs that need a
// library: a large server has about 300,000 below /usr.
const maxWalked = 1_000_000

// describe brings the bytes of both ends of every change, and computes what is
// to be known about them.
func (p *planner) describe(ctx context.Context, s *Solved, pairs []pair) error {
	var jobs []job
	for _, c := range pairs {
		jobs = append(jobs, job{s.base(c.new), c.new})
		if c.from != "" {
			jobs = append(jobs, job{s.base(c.old), c.old})
		}
	}
	if err := p.fetchAll(ctx, jobs); err != nil {
		return err
	}
	ends := make([]contents, len(pairs))
	for i, c := range pairs {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.say.line("compare %d of %d: %s", i+1, len(pairs), c.pack)
		var err error
		if ends[i], err = p.open(c); err != nil {
			return fmt.Errorf("%s: %w", c.key(), err)
		}
		s.add(c, ends[i], p.Critical)
	}
	return p.breaks(s, ends)
}

// contents is what is inside both ends of a change; old is nil for an
// installation.
type contents struct {
	old *artefact.Contents
	new artefact.Contents
}

func (p *planner) open(c pair) (both contents, err error) {
	if both.new, err = p.inside(c.new); err != nil || c.from == "" {
		return both, err
	}
	old, err := p.inside(c.old)
	both.old = &old
	return both, err
}

func (p *planner) inside(e provenance.Entry) (artefact.Contents, error) {
	f, err := p.pool.open(artefactName(e))
	if err != nil {
		return artefact.Contents{}, err
	}
	defer f.Close()
	in, err := artefact.Open(f, e.Size())
	if err == nil && (in.Package != e.Package() || in.Version != e.Version() || in.Arch != e.Arch()) {
		err = fmt.Errorf("its index names %s %s %s, inside is %s %s %s", e.Package(), e.Version(), e.Arch(), in.Package, in.Version, in.Arch)
	}
	return in, err
}

// add computes one change with its class, its way back and its fact.
func (s *Solved) add(c pair, in contents, critical change.List) {
	diff := artefact.Compare(in.old, in.new)
	class, reasons := artefact.Class(diff, in.new, critical)
	forth := change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: c.pack, Arch: c.arch, From: c.from, To: c.to,
		Artefact: c.new.Artefact(), Size: c.new.Size(), Origin: c.new.Origin(), Class: class}
	back := change.Change{Op: change.Downgrade, Scheme: version.Deb, Package: c.pack, Arch: c.arch, From: c.to, To: c.from,
		Artefact: c.old.Artefact(), Size: c.old.Size(), Origin: c.old.Origin(), Class: change.Critical}
	if in.old != nil && above(c.from, c.to) {
		forth.Op, back.Op = change.Downgrade, change.Upgrade
	}
	if in.old == nil {
		forth.Op = change.Install
		back = change.Change{Op: change.Remove, Scheme: version.Deb, Package: c.pack, Arch: c.arch, From: c.to, Class: change.Critical}
	}
	source, sourceVersion := c.new.Source()
	s.Changes, s.Back = append(s.Changes, forth), append(s.Back, back)
	s.Facts = append(s.Facts, proposal.Fact{Package: c.pack, Arch: c.arch, From: c.from, To: c.to, Source: source, SourceVersion: sourceVersion,
		Class: class, Reasons: reasons, Diff: diff, Breaks: []artefact.Break{}, Chain: c.new.Chain(), Back: c.old.Chain()})
}

// breaks finds the root's programs that would miss a symbol, when a library
// loses any.
func (p *planner) breaks(s *Solved, ends []contents) error {
	lost := map[string]bool{}
	for _, f := range s.Facts {
		for _, l := range f.Diff.Libraries {
			if l.LostCount > 0 || l.Change == "removed" {
				lost[l.Soname.Text()] = true
			}
		}
	}
	if len(lost) == 0 || p.Snapshot {
		return nil
	}
	p.say.line("look for programs in %s that need what %d libraries lose", p.Root, len(lost))
	consumers, err := p.consumers(ends, lost)
	if err != nil {
		return err
	}
	for i, f := range s.Facts {
		s.Facts[i].Breaks = artefact.Breaks(f.Diff, consumers)
	}
	return nil
}

// consumers are the root's programs and libraries that need one of the lost
// libraries, those of the changed packages as they will be.
func (p *planner) consumers(ends []contents, lost map[string]bool) ([]artefact.Consumer, error) {
	replaced, out := map[string]bool{}, []artefact.Consumer{}
	needs := func(c artefact.Consumer) bool {
		return slices.ContainsFunc(c.Needed, func(soname string) bool { return lost[soname] })
	}
	for _, e := range ends {
		if e.old != nil {
			for _, f := range e.old.Files {
				replaced[merged(f.Path)] = true
			}
		}
		for _, c := range e.new.Consumers() {
			if needs(c) {
				out = append(out, c)
			}
		}
	}
	root, err := os.OpenRoot(p.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	walked := 0
	for _, top := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/libexec", "usr/local", "opt", "bin", "sbin", "lib"} {
		if st, err := root.Lstat(top); err != nil || !st.IsDir() {
			continue // not there, or a link into /usr
		}
		err := fs.WalkDir(root.FS(), top, func(name string, d fs.DirEntry, err error) error {
			if walked++; walked > maxWalked {
				return fmt.Errorf("more than %d files in the root", maxWalked)
			}
			if err != nil || !d.Type().IsRegular() || replaced[merged("/"+name)] {
				return skipMissing(err)
			}
			if c, ok := consumer(root, name); ok && needs(c) {
				out = append(out, c)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// skipMissing lets go of what vanished meanwhile.
func skipMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// consumer reads what a file needs. One that cannot be read as ELF runs nothing.
func consumer(root *os.Root, name string) (artefact.Consumer, bool) {
	f, err := root.Open(name)
	if err != nil {
		return artefact.Consumer{}, false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return artefact.Consumer{}, false
	}
	c, err := artefact.ReadConsumer("/"+name, f, st.Size())
	return c, err == nil
}

// merged is a path as a system with merged /usr has it.
func merged(p string) string {
	for _, dir := range []string{"/bin/", "/sbin/", "/lib/", "/lib64/", "/lib32/"} {
		if strings.HasPrefix(p, dir) {
			return path.Join("/usr", p)
		}
	}
	return p
}
