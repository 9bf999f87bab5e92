package inventory

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Limits of dpkg's file lists and diversions. The longest list in Debian 12 has
// 66,000 paths; a path has at most 4 KB.
const (
	maxListLines = 2_000_000
	maxListLine  = 64 << 10
)

const diversionsFile = dpkgDir + "/diversions"

// OwnersOf says of paths ("/usr/lib/libone.so.1", as a process maps them) which
// packages of dpkg's own database list them; a path that none lists is left out.
// The lists are dpkg's info/NAME.list (deb-md5sums(5) names its neighbours;
// dpkg-query(1), --search, reads the same), with dpkg's diversions
// (dpkg-divert(1)), and /lib, /bin and /sbin count as those below /usr.
//
// The error means that it is not known of any path: a package may be half
// unpacked, a list is missing or cannot be read to its end.
func OwnersOf(fsys fs.FS, inv Inventory, paths []string) (map[string][]Owner, error) {
	for _, g := range inv.Partial {
		if g.What == AreaPackages {
			return nil, fmt.Errorf("the package database is not whole: %s", g.Why)
		}
	}
	by, err := diversions(fsys)
	if err != nil {
		return nil, err
	}
	wanted := map[string][]string{}
	for _, p := range paths {
		wanted[MergedUsr(p)] = append(wanted[MergedUsr(p)], p)
	}
	out := map[string][]Owner{}
	for _, p := range inv.Packages {
		switch {
		case !p.Status.Present():
			continue
		case !p.Status.Settled():
			return nil, fmt.Errorf("package %s is %s", p.Key(), p.Status.State)
		}
		err := listed(fsys, p, func(path string) {
			for _, at := range by.where(path, p.Name) {
				for _, w := range wanted[MergedUsr(at)] {
					out[w] = append(out[w], Owner{p.Key(), p.Source})
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	for w := range out {
		slices.SortFunc(out[w], Owner.compare)
		out[w] = slices.Compact(out[w])
	}
	return out, nil
}

func (o Owner) compare(p Owner) int {
	return cmp.Or(strings.Compare(o.Package, p.Package), strings.Compare(o.Source, p.Source))
}

// MergedUsr is a path as a system with merged /usr has it, so that /lib and
// /usr/lib are one.
func MergedUsr(p string) string {
	for _, dir := range []string{"/lib", "/bin", "/sbin", "/lib64", "/lib32", "/libx32"} {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return "/usr" + p
		}
	}
	return p
}

// listed calls do for each line of a package's file list. Lists of packages of
// which several architectures may be there bear the architecture's name.
func listed(fsys fs.FS, p Package, do func(path string)) error {
	var err error
	for _, name := range []string{p.Key(), p.Name} {
		var f fs.File
		if f, err = Open(fsys, infoDir+"/"+name+".list"); err == nil {
			err = eachLine(f, do)
			f.Close()
			break
		}
	}
	if err != nil {
		return fmt.Errorf("the file list of package %s: %w", p.Key(), err)
	}
	return nil
}

// eachLine reads a text that ends with a newline: one that does not was cut, and
// so was one of no line, for a list has "/." at least.
func eachLine(r io.Reader, do func(string)) error {
	in := bufio.NewReaderSize(r, maxListLine)
	for n := 0; ; n++ {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0 && n == 0:
			return errors.New("it is empty")
		case err == io.EOF && len(line) == 0:
			return nil
		case err == io.EOF:
			return fmt.Errorf("it ends within line %d", n+1)
		case err != nil:
			return fmt.Errorf("line %d: %w", n+1, err)
		case n == maxListLines:
			return fmt.Errorf("it has more than %d lines", maxListLines)
		}
		do(string(line[:len(line)-1]))
	}
}

// diverted is where dpkg puts files of all packages but one.
type diverted struct {
	exact  map[string]diversion // by the path as lists have it
	merged map[string]diversion // by MergedUsr of it
}

type diversion struct{ to, by string }

// diversions reads dpkg's diversions: from, to, and by whom, a line each. That of
// the local administrator is by ":", and holds for every package.
func diversions(fsys fs.FS) (diverted, error) {
	out := diverted{map[string]diversion{}, map[string]diversion{}}
	f, err := Open(fsys, diversionsFile)
	if err != nil {
		if _, err := fs.Stat(fsys, infoDir); err != nil {
			return out, fmt.Errorf("dpkg's file lists: %w", err)
		}
		return out, nil // dpkg makes it with the first one
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() == 0 {
		return out, nil // the last one was taken away
	}
	var lines []string
	if err := eachLine(f, func(line string) { lines = append(lines, line) }); err != nil {
		return out, fmt.Errorf("dpkg's diversions: %w", err)
	}
	if len(lines)%3 != 0 {
		return out, fmt.Errorf("dpkg's diversions: %d lines are no whole entries", len(lines))
	}
	for i := 0; i < len(lines); i += 3 {
		out.exact[lines[i]] = diversion{lines[i+1], lines[i+2]}
		out.merged[MergedUsr(lines[i])] = diversion{lines[i+1], lines[i+2]}
	}
	return out, nil
}

// where are the places at which a path of a package's list may be. A diversion
// whose name is another one of the same place counts, and so does the place.
func (d diverted) where(path, name string) []string {
	if v, ok := d.exact[path]; ok && v.by != name {
		return []string{v.to}
	}
	if v, ok := d.merged[MergedUsr(path)]; ok && v.by != name {
		return []string{path, v.to}
	}
	return []string{path}
}
