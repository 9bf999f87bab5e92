// Package world keeps which versions of source packages trusted repositories
// were ever seen to carry.
//
// The parties: who has verified a signed index (a scan with --source, the control
// plane's look), and the quarantine's judge, who asks whether a version in a
// record can be. The objects: a file for each ecosystem, and the Archive, one
// reading of one verified release.
//
// The promise: the file only grows, is replaced whole and durably or not at all,
// and says when its indexes were last seen. What an archive carries when it is
// first seen, or seen again after a week without a look, is marked: what is
// older may have come and gone while nobody looked.
//
// It verifies nothing: only versions from indexes under a checked signature may
// be handed over. Who can write its directory can make any version known.
package world

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/version"
)

// CodeWorld says that a file of the world is damaged.
const CodeWorld refusal.Code = "PW-FEED-WORLD"

// Limits. Debian 12 with all its archives has 36,000 source packages in 1.5 MB.
const (
	MaxFile = 256 << 20 // bytes
	maxLine = 1 << 20
)

const (
	magic  = "patchwrit/world/v1"
	footer = "sha256"
	week   = 7 * 24 * 3600
	hour   = 3600
	none   = "-" // no version
)

// Archive is what a verified release carries.
type Archive struct {
	Ecosystem string                    // as in advisories: "Debian:12"
	Name      string                    // of the archive and its suite: "debian-security/bookworm-security"
	Release   canon.Digest              // of the signed release; one that is known is not read again within the hour
	Versions  iter.Seq2[string, string] // source package, source version; in any order, as often as they stand there
}

// known is what was seen of one package.
type known struct {
	before   string // the newest when nobody had looked before; "" none
	versions map[string]bool
}

// file is one ecosystem.
type file struct {
	ecosystem string
	seen      int64                   // last look, Unix seconds
	archives  map[string]canon.Digest // the newest release of each, by name
	packages  map[string]*known
}

// Learn adds what archives carry at now, Unix seconds. It says whether anything
// was new.
func Learn(dir string, list []Archive, now int64) (grew bool, err error) {
	if len(list) == 0 {
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return false, err
	}
	by := map[string][]Archive{}
	for _, a := range list {
		by[a.Ecosystem] = append(by[a.Ecosystem], a)
	}
	for _, ecosystem := range slices.Sorted(maps.Keys(by)) {
		more, err := learn(dir, ecosystem, by[ecosystem], now)
		if err != nil {
			return grew, err
		}
		grew = grew || more
	}
	return grew, nil
}

func learn(dir, ecosystem string, list []Archive, now int64) (bool, error) {
	path := filepath.Join(dir, url.PathEscape(ecosystem))
	if current(path, list, now) {
		return false, nil
	}
	f, err := open(path)
	if errors.Is(err, os.ErrNotExist) {
		f, err = file{ecosystem: ecosystem, archives: map[string]canon.Digest{}, packages: map[string]*known{}}, nil
	}
	if err != nil {
		return false, err
	}
	s, ok := advisory.SchemeOf(ecosystem)
	if !ok {
		return false, fmt.Errorf("versions of %q cannot be ordered", ecosystem)
	}
	grew := false
	for _, a := range list {
		_, met := f.archives[a.Name]
		first := !met || now-f.seen > week
		grew = f.add(s, a, first) || grew
	}
	if !grew && now-f.seen < hour {
		return false, nil // not worth a megabyte
	}
	f.seen = max(f.seen, now)
	return grew, f.store(path)
}

// current reports whether these very releases were learned within the hour, by
// the head of the file alone.
func current(path string, list []Archive, now int64) bool {
	in, err := os.Open(path)
	if err != nil {
		return false
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	f := file{archives: map[string]canon.Digest{}}
	if !lines.Scan() || f.line(1, strings.Split(lines.Text(), "\t")) != nil || now-f.seen >= hour {
		return false
	}
	return !slices.ContainsFunc(list, func(a Archive) bool { return a.Release == "" || f.archives[a.Name] != a.Release })
}

// add takes an archive in; first: nobody looked at it before.
func (f *file) add(s version.Scheme, a Archive, first bool) (grew bool) {
	if at, met := f.archives[a.Name]; !met || at != a.Release {
		f.archives[a.Name], grew = a.Release, true
	}
	for name, v := range a.Versions {
		if strings.ContainsAny(name+v, "\t\n") || name == "" || version.Valid(s, v) != nil {
			continue
		}
		k := f.packages[name]
		if k == nil {
			k = &known{versions: map[string]bool{}}
			f.packages[name] = k
		}
		if !k.versions[v] {
			k.versions[v], grew = true, true
		}
		if first && v != k.before {
			if c, err := version.Compare(s, v, k.before); k.before == "" || err == nil && c > 0 {
				k.before, grew = v, true
			}
		}
	}
	return grew
}

// store replaces the file.
func (f file) store(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(f.bytes())
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bytes is the file: a head line, a line for each package (name, newest at first
// sight, versions), and the digest of all that stands before it.
func (f file) bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\t%s\t%d", magic, f.ecosystem, f.seen)
	for _, a := range slices.Sorted(maps.Keys(f.archives)) {
		b.WriteString("\t" + a + "=" + string(f.archives[a]))
	}
	b.WriteByte('\n')
	for _, name := range slices.Sorted(maps.Keys(f.packages)) {
		k := f.packages[name]
		b.WriteString(name + "\t" + cmp.Or(k.before, none))
		for _, v := range slices.Sorted(maps.Keys(k.versions)) {
			b.WriteString("\t" + v)
		}
		b.WriteByte('\n')
	}
	sum := sha256.Sum256(b.Bytes())
	fmt.Fprintf(&b, "%s\t%s\n", footer, hex.EncodeToString(sum[:]))
	return b.Bytes()
}

func open(path string) (file, error) {
	in, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer in.Close()
	f, err := parse(io.LimitReader(in, MaxFile))
	if err != nil {
		return f, refusal.New(CodeWorld, "%s: %v", path, err)
	}
	return f, nil
}

// parse reads a file. Nothing of one that is damaged counts.
func parse(in io.Reader) (file, error) {
	f := file{archives: map[string]canon.Digest{}, packages: map[string]*known{}}
	sum := sha256.New()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		parts := strings.Split(text, "\t")
		if parts[0] == footer && len(parts) == 2 {
			if parts[1] != hex.EncodeToString(sum.Sum(nil)) {
				return file{}, errors.New("it does not have its digest")
			}
			if n == 1 || lines.Scan() {
				return file{}, fmt.Errorf("line %d: the digest is not the last line", n)
			}
			return f, lines.Err()
		}
		io.WriteString(sum, text+"\n")
		if err := f.line(n, parts); err != nil {
			return file{}, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return file{}, cmp.Or(lines.Err(), errors.New("it is cut short"))
}

func (f *file) line(n int, parts []string) (err error) {
	if n == 1 {
		if len(parts) < 3 || parts[0] != magic {
			return errors.New("it is no such file")
		}
		for _, a := range parts[3:] {
			i := strings.LastIndexByte(a, '=')
			if i < 0 || a[i+1:] != "" && !canon.Digest(a[i+1:]).Valid() {
				return errors.New("an archive has no release")
			}
			f.archives[a[:i]] = canon.Digest(a[i+1:])
		}
		f.ecosystem = parts[1]
		f.seen, err = strconv.ParseInt(parts[2], 10, 64)
		return err
	}
	if len(parts) < 3 || parts[0] == "" || f.packages[parts[0]] != nil {
		return errors.New("it is no package with versions, each once")
	}
	k := &known{versions: map[string]bool{}}
	if parts[1] != none {
		k.before = parts[1]
	}
	for _, v := range parts[2:] {
		k.versions[v] = true
	}
	f.packages[parts[0]] = k
	return nil
}

// Read gives all that is known in a directory, and a digest that changes with it.
func Read(dir string) (quarantine.World, canon.Digest, error) {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return quarantine.World{}, "", err
	}
	var all []quarantine.Version
	seen, sum := map[string]int64{}, sha256.New()
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		f, err := open(filepath.Join(dir, e.Name()))
		if err != nil {
			return quarantine.World{}, "", err
		}
		sum.Write(f.bytes())
		seen[f.ecosystem] = f.seen
		all = f.list(all)
	}
	return quarantine.NewWorld(all, seen), canon.Digest(hex.EncodeToString(sum.Sum(nil))), nil
}

func (f file) list(all []quarantine.Version) []quarantine.Version {
	for name, k := range f.packages {
		for v := range k.versions {
			all = append(all, quarantine.Version{Ecosystem: f.ecosystem, Package: name, Version: v, First: v == k.before})
		}
	}
	return all
}
