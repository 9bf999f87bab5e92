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
	processes string // why processes may run on old files; "": they do not
	kernel    string // why the kernel may be an old one; "": it is the newest
	images    []string
}

// runsOf reads it off a snapshot and its inventory.
func runsOf(s wire.Snapshot, inv inventory.Inventory) runs {
	out := runs{kernel: oldKernel(s, inv)}
	why, ok := s.Listed()
	switch {
	case !ok:
		out.processes = why
	case len(s.Mapped) > 0:
		out.processes = fmt.Sprintf("%d deleted files are still in use, the first: %s", len(s.Mapped), s.Mapped[0].Path)
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
	return r.processes
}
