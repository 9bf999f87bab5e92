package artefact

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/version"
)

// Reason is one reason for a class. A reason of class Routine raises nothing
// and is there for the reader.
type Reason struct {
	Code   string       `json:"code"`
	Class  change.Class `json:"class"`
	Detail canon.Note   `json:"detail"` // the first few things it is about
}

// Floor is what is Critical whatever the trust root's list says: the boot
// chain, libc, ssh, sudo, pam, the package manager and Patchwrit itself. The
// list in critical.json can add to it and never take away.
func Floor() change.List {
	return change.List{
		Packages: []string{
			"patchwrit*",
			"linux-image-*", "linux-modules-*", "grub*", "shim*", "systemd-boot*", "initramfs-tools*", "dracut*",
			"intel-microcode", "amd64-microcode", "systemd", "systemd-sysv", "init", "udev", "kmod",
			"libc6", "libc6-*", "libc-bin", "musl",
			"openssh-server", "openssh-sftp-server", "sudo", "sudo-ldap", "libpam0g", "libpam-*",
			"dpkg", "apt", "libapt-pkg*", "gpgv", "debian-archive-keyring", "ubuntu-keyring",
		},
		Paths: []string{
			"/boot/", "/efi/", "/lib/modules/", "/usr/lib/grub", "/usr/lib/shim", "/usr/lib/systemd/boot/",
			"/etc/pam.d/", "/etc/security/", "/etc/sudoers", "/etc/ld.so.preload", "/etc/ssh/sshd",
			"/usr/lib/patchwrit", "/usr/bin/patchwrit", "/usr/sbin/patchwrit", "/etc/patchwrit", "/var/lib/patchwrit",
		},
	}
}

// Class computes how dangerous a change is from what it changes (d, which must
// be Compare's answer for new) and the trust root's list. The rules:
//
//   - critical: a package or path of Floor or of the list is touched (a path is
//     touched when a file there comes, goes or changes); essential packages;
//     pam modules; a downgrade; a version that cannot be ordered; d and new
//     that do not belong together; more files removed than d can list.
//   - sensitive: a first installation; a new right (setuid, setgid,
//     world-writable, device); a new or changed maintainer script; new interest
//     in triggers; a lost symbol, a library gone, a new SONAME; a new major
//     version; another maintainer's domain, source or package name; a new file
//     in a place the system acts upon by itself, and a changed one where it is
//     configuration of trust or rights; other bytes under the same version; an
//     ELF file that cannot be read; a list of d that was cut.
//   - routine: everything else.
//
// A changed script counts like a new one: it runs as root just the same, and
// Debian's security updates rarely change one, so it is worth a person's look.
//
// Reasons come most dangerous first, then by code, each code once.
func Class(d Diff, new Contents, critical change.List) (change.Class, []Reason) {
	j := judgement{}
	j.identity(d, new, critical)
	j.paths(d, new, critical)
	j.version(d)
	j.rights(d)
	j.abi(d)
	j.hooks(d)
	j.fields(d)
	j.unlisted(d)
	return j.answer()
}

// judgement gathers reasons: what they are about, by code and class.
type judgement map[judged][]string

type judged struct {
	code  string
	class change.Class
}

func (j judgement) add(code string, class change.Class, about string) {
	j[judged{code, class}] = append(j[judged{code, class}], about)
}

// shown is how many things a reason names.
const shown = 5

func (j judgement) answer() (change.Class, []Reason) {
	top, reasons := change.Routine, []Reason{}
	for k, about := range j {
		top = change.Max(top, k.class)
		slices.Sort(about)
		about = slices.Compact(about)
		detail := strings.Join(about[:min(len(about), shown)], ", ")
		if more := len(about) - shown; more > 0 {
			detail += fmt.Sprintf(" and %d more", more)
		}
		reasons = append(reasons, Reason{k.code, k.class, canon.NoteOf(detail)})
	}
	slices.SortFunc(reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Class.Rank(), a.Class.Rank()), cmp.Compare(a.Code, b.Code))
	})
	return top, reasons
}

// identity judges which package it is.
func (j judgement) identity(d Diff, new Contents, critical change.List) {
	if d.Package != new.Package || d.To != new.Version || d.Arch != new.Arch {
		j.add("other-artefact", change.Critical, new.Package+" "+new.Version+" "+new.Arch)
	}
	if critical.HasPackage(new.Package) || Floor().HasPackage(new.Package) {
		j.add("critical-package", change.Critical, new.Package)
	}
	if new.Essential {
		j.add("essential", change.Critical, new.Package)
	}
	if d.First {
		j.add("install", change.Sensitive, new.Package)
	}
}

// paths judges where files come, go or change. Lists of d that were cut are
// made up for by looking at everything the package has.
func (j judgement) paths(d Diff, new Contents, critical change.List) {
	floor := Floor()
	touch := func(p string) {
		if listed(floor, p) || listed(critical, p) || strings.Contains(p, "/security/pam_") {
			j.add("critical-path", change.Critical, p)
		}
	}
	for _, list := range [][]canon.Note{d.Added, d.Removed, d.Changed} {
		for _, note := range list {
			touch(note.Text())
		}
	}
	for _, m := range d.Modes {
		touch(m.Path.Text())
	}
	if slices.Contains(d.Cut, "added") || slices.Contains(d.Cut, "changed") || slices.Contains(d.Cut, "modes") {
		for _, f := range new.Files {
			touch(f.Path)
		}
	}
}

// unlisted judges what a list could not hold. A critical path may be among
// files that go and are not named.
func (j judgement) unlisted(d Diff) {
	for _, name := range d.Cut {
		switch name {
		case "added", "changed", "modes", "needed", "conffiles": // made up for in paths, or without bearing
		case "removed":
			j.add("unlisted", change.Critical, name)
		default:
			j.add("unlisted", change.Sensitive, name)
		}
	}
}

// version judges the step from one version to the next.
func (j judgement) version(d Diff) {
	if d.First {
		return
	}
	step := d.From + " to " + d.To
	order, err := version.Compare(version.Deb, d.From, d.To)
	if err != nil {
		j.add("unordered-version", change.Critical, step)
		return
	}
	if order > 0 {
		j.add("downgrade", change.Critical, step)
	}
	if order == 0 && d.Counts.Added+d.Counts.Removed+d.Counts.Changed+len(d.Scripts) > 0 {
		j.add("same-version", change.Sensitive, step)
	}
	before, after := upstream(d.From), upstream(d.To)
	if before == after {
		return
	}
	if major(before) != major(after) {
		j.add("major-version", change.Sensitive, step)
		return
	}
	j.add("new-upstream", change.Routine, step)
}

// upstream cuts the Debian revision off a version; the epoch stays.
func upstream(v string) string {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i]
	}
	return v
}

// major gives what of an upstream version names its generation: epoch and the
// first number, or for 0.x the first two. A version that is a date (2024a,
// 20240203) has no generation.
func major(v string) string {
	epoch, rest, ok := strings.Cut(v, ":")
	if !ok {
		epoch, rest = "0", v
	}
	digits := func(s string) string {
		return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	}
	first := digits(rest) // every Debian version begins with one
	if len(first) >= 4 {
		if year, err := strconv.Atoi(first[:4]); err == nil && year >= 1990 && year < 2100 && (len(first) == 4 || len(first) == 8) {
			return epoch + ":date"
		}
	}
	if tail, ok := strings.CutPrefix(rest, "0."); ok {
		first += "." + digits(tail)
	}
	return epoch + ":" + first
}

// rights judges what runs as root or gives rights away.
func (j judgement) rights(d Diff) {
	for _, r := range d.Rights {
		j.add("new-"+r.Kind, change.Sensitive, r.Path.Text()+" "+r.Mode.Text())
	}
	for _, s := range d.Scripts {
		if s.Change != removed {
			about := s.Name
			if len(s.Mentions) > 0 {
				about += " (now mentions " + strings.Join(s.Mentions, " ") + ")"
			}
			code := map[string]string{added: "new-script", changed: "changed-script"}[s.Change]
			j.add(code, change.Sensitive, about)
		}
	}
	for _, line := range d.Triggers.Added {
		if strings.HasPrefix(string(line), "interest") {
			j.add("new-trigger", change.Sensitive, line.Text())
		}
	}
}

// abi judges what other programs rely on.
func (j judgement) abi(d Diff) {
	for _, l := range d.Libraries {
		name := l.Soname.Text()
		switch {
		case l.Change == removed:
			j.add("library-gone", change.Sensitive, name)
		case l.Change == added:
			j.add("new-soname", change.Sensitive, name)
		case l.LostCount > 0:
			j.add("abi-loss", change.Sensitive, fmt.Sprintf("%s loses %d symbols", name, l.LostCount))
		}
	}
	for _, u := range d.Unread {
		j.add("unread-elf", change.Sensitive, u.Text())
	}
}

// hooks judges files in places the system acts upon by itself.
func (j judgement) hooks(d Diff) {
	for _, h := range d.Hooks {
		p, ok := placeOf(merged(h.Path.Text()))
		class := change.Sensitive
		if ok && h.Change == changed {
			class = p.changed
		}
		about := h.Path.Text()
		if h.Enabled != "" && h.Enabled != "no" {
			about += " (enabled by " + h.Enabled + ")"
		}
		switch h.Change {
		case added:
			j.add("new-"+h.Kind, class, about)
		case changed:
			j.add("changed-"+h.Kind, class, about)
		}
	}
}

// fields judges who made it.
func (j judgement) fields(d Diff) {
	if d.First {
		return
	}
	for _, f := range d.Fields {
		from, to := f.From.Text(), f.To.Text()
		switch f.Name {
		case "maintainer":
			if from, to = domain(from), domain(to); from != to {
				j.add("new-vendor", change.Sensitive, from+" to "+to)
			}
		case "origin", "vendor":
			j.add("new-vendor", change.Sensitive, from+" to "+to)
		case "source":
			if from, to = sourceName(from, d.Package), sourceName(to, d.Package); from != to {
				j.add("new-source", change.Sensitive, from+" to "+to)
			}
		case "package":
			j.add("other-package", change.Sensitive, from+" to "+to)
		}
	}
}

// domain gives the part behind the last @ of "Name <local@domain>".
func domain(maintainer string) string {
	at := strings.LastIndexByte(maintainer, '@')
	return strings.ToLower(strings.TrimSuffix(maintainer[at+1:], ">"))
}

// sourceName gives the name in a Source field, "name" or "name (version)".
func sourceName(field, own string) string {
	name, _, _ := strings.Cut(field, " ")
	return cmp.Or(name, own)
}
