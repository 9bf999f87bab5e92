package apt

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/writ"
)

// effective fills in how far the changes have reached: what the database and
// the files say, and what the processes still use. A file that is not the
// artefact's turns a good outcome into a partial one. Re-scan, health and
// attestation are other people's to tell.
func (m *Manager) effective(o *own, changes []change.Change, inv inventory.Inventory, r *writ.Receipt) {
	replaced := map[string]bool{}
	r.Effective.Installed = writ.Yes
	if r.Outcome != writ.Done && r.Outcome != writ.RolledBack {
		r.Effective.Installed = writ.No
	}
	v := m.newVerifier(inv)
	for _, c := range changes {
		contents, err := o.kept(c)
		if err != nil {
			if r.Effective.Installed == writ.Yes && c.Op != change.Remove {
				r.Effective.Installed = writ.Unknown
			}
			continue
		}
		for _, f := range contents.Files {
			replaced[inventory.MergedUsr(f.Path)] = true
		}
		if c.Op == change.Remove || r.Effective.Installed == writ.No {
			continue
		}
		fact, why := v.package_(c, contents)
		if fact == writ.Yes {
			continue
		}
		fmt.Fprintf(m.Progress, "%s: %s\n", c.Key(), why)
		r.Effective.Installed = fact
		if fact == writ.No {
			r.Outcome, r.Code = writ.Partial, string(pkgmgr.CodeFiles)
		}
	}
	m.running(inv, replaced, r)
}

// kept opens the artefact of a change that the store still has: the new one, or
// for a removal nothing.
func (o *own) kept(c change.Change) (artefact.Contents, error) {
	if c.Op == change.Remove {
		return artefact.Contents{}, nil
	}
	f, err := o.root.Open(o.rel(stored(c)))
	if err != nil {
		return artefact.Contents{}, err
	}
	sum, err := sumReader(f)
	f.Close()
	if err != nil || sum != c.Artefact {
		return artefact.Contents{}, fmt.Errorf("the stored artefact of %s is damaged: %v", c.Key(), err)
	}
	return o.contents(c)
}

// verifier compares the files on the disk with those of an artefact, as dpkg
// would have put them there.
type verifier struct {
	sys       *system
	packages  []inventory.Package
	diverted  map[string]diversion
	overrides map[string]bool
	excluded  []pattern
}

type diversion struct{ to, by string }

type pattern struct {
	glob    string
	include bool
}

func (m *Manager) newVerifier(inv inventory.Inventory) *verifier {
	v := &verifier{sys: m.sys, packages: inv.Packages, diverted: map[string]diversion{}, overrides: map[string]bool{}}
	lines := v.lines("/var/lib/dpkg/diversions")
	for i := 0; i+2 < len(lines); i += 3 { // from, to, by: three lines each (dpkg-divert(1))
		v.diverted[lines[i]] = diversion{to: lines[i+1], by: lines[i+2]}
	}
	for _, line := range v.lines("/var/lib/dpkg/statoverride") { // user group mode path
		if f := strings.SplitN(line, " ", 4); len(f) == 4 {
			v.overrides[f[3]] = true
		}
	}
	for _, file := range append([]string{"/etc/dpkg/dpkg.cfg"}, v.names("/etc/dpkg/dpkg.cfg.d")...) {
		for _, line := range v.lines(file) {
			for option, include := range map[string]bool{"path-exclude": false, "path-include": true} {
				rest, ok := strings.CutPrefix(strings.TrimSpace(line), option)
				if rest = strings.TrimLeft(rest, "= \t"); ok && rest != "" {
					v.excluded = append(v.excluded, pattern{rest, include})
				}
			}
		}
	}
	return v
}

// maxLines bounds dpkg's small files; the largest is a package's file list.
const maxLines = 64 << 20

// lines reads a small file of the system; one that is missing has none.
func (v *verifier) lines(p string) []string {
	f, err := v.sys.open(p, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []string
	in := bufio.NewScanner(io.LimitReader(f, maxLines))
	in.Buffer(make([]byte, 0, 4096), 1<<16)
	for in.Scan() {
		all = append(all, in.Text())
	}
	return all
}

func (v *verifier) names(dir string) []string {
	f, err := v.sys.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil
	}
	slices.Sort(names)
	for i := range names {
		names[i] = dir + "/" + names[i]
	}
	return names
}

// package_ compares every file of a package, and says why the first that
// differs does.
func (v *verifier) package_(c change.Change, contents artefact.Contents) (writ.Fact, string) {
	for _, f := range contents.Files {
		if slices.Contains(contents.Conffiles, f.Path) {
			continue // the administrator's, not the vendor's
		}
		at := f.Path
		if d, ok := v.diverted[at]; ok && d.by != c.Package {
			at = d.to
		}
		why, err := v.file(at, f)
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist) && v.excludes(f.Path):
		case (err != nil || why != "") && v.claimed(c, f.Path): // another package has taken the file over
		case err != nil && errors.Is(err, fs.ErrNotExist):
			return writ.No, fmt.Sprintf("%+q is missing", at)
		case err != nil:
			return writ.Unknown, err.Error()
		case why != "":
			return writ.No, fmt.Sprintf("%+q %s", at, why)
		}
	}
	return writ.Yes, ""
}

// file says how a path differs from what the artefact has there, or "".
func (v *verifier) file(at string, want artefact.File) (string, error) {
	f, err := v.sys.openLast(at)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	kind := st.Mode & unix.S_IFMT
	switch want.Kind {
	case artefact.Dir:
		if kind != unix.S_IFDIR && kind != unix.S_IFLNK { // a directory may have been made a link to one
			return "is no directory", nil
		}
	case artefact.Symlink:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(f.Fd()), "", buf)
		if err != nil || string(buf[:n]) != want.Link {
			return fmt.Sprintf("is no link to %+q", want.Link), nil
		}
	case artefact.Regular, artefact.Hardlink:
		if kind != unix.S_IFREG || st.Size != want.Size {
			return "is another file", nil
		}
		if mode := st.Mode & 0o7777; mode != want.Mode && !v.overrides[want.Path] {
			return fmt.Sprintf("has mode %04o, not %04o", mode, want.Mode), nil
		}
		return v.bytes(at, want.Digest)
	}
	return "", nil
}

func (v *verifier) bytes(at string, want canon.Digest) (string, error) {
	f, err := v.sys.open(at, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if sum := canon.Digest(hex.EncodeToString(h.Sum(nil))); sum != want {
		return fmt.Sprintf("has digest %s, not %s", sum.Short(), want.Short()), nil
	}
	return "", nil
}

// excludes reports whether dpkg was told to leave the path out (dpkg(1),
// --path-exclude; the last pattern that matches decides).
func (v *verifier) excludes(p string) bool {
	out := false
	for _, e := range v.excluded {
		if glob(e.glob, p) {
			out = !e.include
		}
	}
	return out
}

// glob matches as fnmatch(3) without flags does: * and ? also match a slash.
func glob(pattern, s string) bool {
	swap := strings.NewReplacer("/", "\x01")
	ok, err := path.Match(swap.Replace(pattern), swap.Replace(s))
	return err == nil && ok
}

// claimed reports whether another installed package lists the path as its own.
func (v *verifier) claimed(c change.Change, p string) bool {
	for _, other := range v.packages {
		if other.Name == c.Package || !other.Status.Present() {
			continue
		}
		for _, list := range []string{other.Name, other.Name + ":" + other.Arch} {
			if slices.Contains(v.lines("/var/lib/dpkg/info/"+list+".list"), p) {
				return true
			}
		}
	}
	return false
}

// bootsAnew reports whether the changes brought a kernel: then it runs only
// after a reboot. A kernel that somebody else has installed is no reason to call
// other changes ineffective; the host's inventory shows it.
func bootsAnew(replaced map[string]bool) bool {
	for p := range replaced {
		if strings.HasPrefix(p, "/boot/vmlinuz-") {
			return true
		}
	}
	return false
}

// running fills in whether the system runs what the changes have installed.
func (m *Manager) running(inv inventory.Inventory, replaced map[string]bool, r *writ.Receipt) {
	stale, err := m.stale(replaced)
	r.Effective.Running = writ.Yes
	switch {
	case len(stale) > 0:
		r.Effective.Running = writ.No
	case err != nil:
		fmt.Fprintf(m.Progress, "processes: %v\n", err)
		r.Effective.Running = writ.Unknown
	}
	if line, fact := m.kernel(inv, replaced); fact != writ.Yes && bootsAnew(replaced) {
		if fact == writ.No {
			stale = append(stale, line)
		}
		if r.Effective.Running != writ.No {
			r.Effective.Running = fact
		}
	}
	slices.Sort(stale)
	r.Effective.Stale = append([]string{}, stale...)
}
