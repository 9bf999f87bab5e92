package control

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/wire"
)

// runs says of a host whether what is installed is what runs. What cannot be
// told is not taken for it: then a clock goes on.
type runs struct {
	list      string             // why it is not known which processes run on deleted files, or ""
	nobodys   *inventory.Mapping // a deleted file in use of which it is not known whose it was
	byPackage map[string]use     // the first deleted file in use of each package and of each source
	bySource  map[string]use
	sources   map[string]map[string]bool // of the installed packages, by name
	kernel    string                     // why the kernel may be an old one; "": it is the newest
	images    []string
}

// use is a deleted file in use, of one of its owners.
type use struct {
	at int // in the snapshot
	inventory.Mapping
	of inventory.Owner
}

func (u use) before(v use) bool {
	return u.at < v.at || u.at == v.at && u.of.Package < v.of.Package
}

// runsOf reads it off a snapshot and its inventory.
func runsOf(s wire.Snapshot, inv inventory.Inventory) runs {
	out := runs{kernel: oldKernel(s, inv), byPackage: map[string]use{}, bySource: map[string]use{}, sources: map[string]map[string]bool{}}
	if why, ok := s.Listed(); !ok {
		out.list = why
	}
	for i, m := range slices.Backward(s.Mapped) {
		if !m.Owned() {
			out.nobodys = &s.Mapped[i]
			continue
		}
		for _, o := range slices.Backward(m.Owners) {
			name, _, _ := strings.Cut(o.Package, ":")
			out.byPackage[name], out.bySource[o.Source] = use{i, m, o}, use{i, m, o}
		}
	}
	for _, p := range inv.Packages {
		if out.sources[p.Name] == nil {
			out.sources[p.Name] = map[string]bool{}
		}
		out.sources[p.Name][p.Source] = true
	}
	for _, i := range inv.Kernel.Installed {
		out.images = append(out.images, i.Package)
	}
	return out
}

// unreadable is a snapshot that speaks of nothing.
func unreadable(err error) wire.Snapshot {
	return wire.Snapshot{MappedWhy: canon.NoteOf("the host's inventory cannot be read: " + err.Error())}
}

// oldKernel says why what runs may not be the newest installed kernel. The name
// of a release tells builds apart only where it changes with each: one may be
// replaced under its name, and the old build runs until the machine boots.
func oldKernel(s wire.Snapshot, inv inventory.Inventory) string {
	newest := inventory.Kernel{Running: s.Kernel, Installed: inv.Kernel.Installed}.Newest()
	switch {
	case newest.Release == "":
		return "no kernel of its own is installed"
	case s.Kernel != newest.Release:
		return fmt.Sprintf("kernel %+q runs, %s is installed", s.Kernel, newest.Release)
	case s.Booted == 0 || s.KernelAt == 0:
		return "it is not known whether kernel " + s.Kernel + " was replaced since it was booted"
	case s.KernelAt >= s.Booted:
		return "kernel " + s.Kernel + " was replaced under its name and not booted since"
	case newest.Scheme == "" || newest.Scheme == version.Deb:
		if build := inventory.DebianBuild(s.KernelBuild.Text()); build != "" {
			if order, err := version.Compare(version.Deb, build, newest.Version); err != nil || order < 0 {
				return fmt.Sprintf("build %+q of kernel %s runs, %s is installed", build, s.Kernel, newest.Version)
			}
		}
	}
	return ""
}

// not says why what was affected may still run, though fixed versions are
// installed; "": it does not.
func (r runs) not(v spotted) string {
	kernel := slices.ContainsFunc(v.On, func(on cure) bool {
		return strings.HasPrefix(on.Package, "linux-image-") || strings.HasPrefix(on.Package, "linux-modules-") || slices.Contains(r.images, on.Package)
	})
	if kernel && r.kernel != "" {
		return r.kernel
	}
	if r.list != "" {
		return r.list
	}
	if m := r.nobodys; m != nil {
		return fmt.Sprintf("%s still uses the deleted file %s, of which it is not known whose it was: that holds every clock of the host", user(*m), m.Path)
	}
	for _, on := range v.On {
		if u, ok := r.uses(on); ok {
			return fmt.Sprintf("%s still uses the deleted file %s of %s (source %s)", user(u.Mapping), u.Path, u.of.Package, u.of.Source)
		}
		if on.Source != "" || len(r.sources[on.Package]) > 0 {
			continue
		}
		if first, any := r.first(); any {
			return fmt.Sprintf("%s still uses the deleted file %s of %s, and it is not known from which source %s was built, which is gone", user(first.Mapping), first.Path, first.of.Package, on.Package)
		}
	}
	return ""
}

// uses finds the first deleted file in use that may be code of a package that was
// affected, or of another one that was built from the same source.
func (r runs) uses(on cure) (first use, ok bool) {
	take := func(u use, there bool) {
		if there && (!ok || u.before(first)) {
			first, ok = u, true
		}
	}
	u, there := r.byPackage[on.Package]
	take(u, there)
	u, there = r.bySource[on.Source]
	take(u, there)
	for source := range r.sources[on.Package] {
		u, there = r.bySource[source]
		take(u, there)
	}
	return first, ok
}

// first is the first deleted file in use.
func (r runs) first() (first use, any bool) {
	for _, u := range r.bySource {
		if !any || u.before(first) {
			first, any = u, true
		}
	}
	return first, any
}

// user is the process that uses a deleted file.
func user(m inventory.Mapping) string {
	if m.Process == "" {
		return "a process"
	}
	return "process " + m.Process.Text()
}
