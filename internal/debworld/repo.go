package debworld

import (
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// RepoConfig names a repository as its Release file does.
type RepoConfig struct {
	Origin, Label   string
	Suite, Codename string   // Codename is also the directory below dists/
	Component       string   // default "main"
	Archs           []string // default amd64
}

// Repo is a signed APT repository in a directory: the vendor. Packages are added
// and dropped, then [Repo.Publish] makes the state visible. One goroutine at a
// time; readers of the directory may run at any time.
type Repo struct {
	Dir    string
	Config RepoConfig
	items  []item
}

// item is one package in the index. Its digests are taken when it is added: what
// happens to the pool afterwards does not change the index.
type item struct {
	pkg    Package
	stanza string
}

// NewRepo makes an empty repository in dir, which it creates.
func NewRepo(dir string, c RepoConfig) (*Repo, error) {
	if c.Codename == "" {
		return nil, fmt.Errorf("a repository needs a codename: its files live below dists/CODENAME")
	}
	if c.Suite == "" {
		c.Suite = c.Codename
	}
	if c.Component == "" {
		c.Component = "main"
	}
	if len(c.Archs) == 0 {
		c.Archs = []string{"amd64"}
	}
	return &Repo{Dir: dir, Config: c}, os.MkdirAll(dir, 0o755)
}

// Add builds the packages and puts them into the pool and into the next
// publication. A package with the same name, version and architecture is
// replaced.
func (r *Repo) Add(pkgs ...Package) error {
	for _, p := range pkgs {
		raw, err := p.Build()
		if err != nil {
			return err
		}
		if err := r.AddRaw(p, raw); err != nil {
			return err
		}
	}
	return nil
}

// AddRaw is Add for bytes made elsewhere: the index says what p says, the pool
// holds raw, whatever it is.
func (r *Repo) AddRaw(p Package, raw []byte) error {
	p = p.filled()
	r.Drop(p.Name, p.Version, p.Arch)
	path := r.poolPath(p)
	stanza, err := p.stanza(path, raw)
	if err != nil {
		return err
	}
	r.items = append(r.items, item{p, stanza})
	return r.write(path, raw)
}

// Drop takes a package out of the next publication; its file stays in the pool.
func (r *Repo) Drop(name, version, arch string) {
	r.items = slices.DeleteFunc(r.items, func(it item) bool {
		return it.pkg.Name == name && it.pkg.Version == version && it.pkg.Arch == arch
	})
}

// Swap puts the bytes of p into the pool in place of the package with the same
// name, version and architecture, and leaves the signed index as it is: what a
// hostile mirror does.
func (r *Repo) Swap(p Package) error {
	raw, err := p.Build()
	if err != nil {
		return err
	}
	return r.write(r.poolPath(p.filled()), raw)
}

// PoolFile is the full path of a package's file in the pool.
func (r *Repo) PoolFile(p Package) string { return filepath.Join(r.Dir, r.poolPath(p.filled())) }

func (r *Repo) poolPath(p Package) string {
	src := p.sourceName()
	prefix := src[:1]
	if strings.HasPrefix(src, "lib") && len(src) > 3 {
		prefix = src[:4]
	}
	return filepath.Join("pool", r.Config.Component, prefix, src, p.FileName())
}

func (p Package) sourceName() string {
	if f := strings.Fields(p.Source); len(f) > 0 {
		return f[0]
	}
	return p.Name
}

// stanza is the package's paragraph in Packages.
func (p Package) stanza(path string, raw []byte) (string, error) {
	files, err := p.contents()
	if err != nil {
		return "", err
	}
	return p.paragraph(installedKiB(files)) + fmt.Sprintf("Filename: %s\nSize: %d\nMD5sum: %x\nSHA256: %x\n",
		path, len(raw), md5.Sum(raw), sha256.Sum256(raw)), nil
}

// Publication says how a state of the repository is dated and signed. Its knobs
// make the honest case and every kind of wrong one.
type Publication struct {
	At       time.Time     // Date in Release, and of signatures that name no time
	ValidFor time.Duration // Valid-Until is At plus this; 0: no Valid-Until, as in Debian main
	Signers  []Signer      // one packet each, in this order; none: only an unsigned Release

	Edit func(release string) string   // changes the text before it is signed
	Harm func(inRelease []byte) []byte // changes the bytes after they are signed
}

// SetField returns an Edit that sets one field of the Release file.
func SetField(name, value string) func(string) string {
	return func(release string) string {
		var out strings.Builder
		found := false
		for line := range strings.Lines(release) {
			if strings.HasPrefix(line, name+":") {
				line, found = name+": "+value+"\n", true
			}
			out.WriteString(line)
		}
		if !found {
			return name + ": " + value + "\n" + out.String()
		}
		return out.String()
	}
}

// Publish writes Packages (plain, .gz, .xz, each also by hash), Release and
// InRelease, the last by one rename when all it names is there. It returns the
// InRelease as written, nil when nobody signs.
func (r *Repo) Publish(p Publication) ([]byte, error) {
	indexes := map[string][]byte{}
	for _, arch := range r.Config.Archs {
		if err := r.packIndex(arch, indexes); err != nil {
			return nil, err
		}
	}
	dist := filepath.Join("dists", r.Config.Codename)
	for path, raw := range indexes {
		byHash := filepath.Join(dist, filepath.Dir(path), "by-hash", "SHA256", fmt.Sprintf("%x", sha256.Sum256(raw)))
		if err := errors.Join(r.write(byHash, raw), r.write(filepath.Join(dist, path), raw)); err != nil {
			return nil, err
		}
	}
	release := r.release(p, indexes)
	if p.Edit != nil {
		release = p.Edit(release)
	}
	if err := r.write(filepath.Join(dist, "Release"), []byte(release)); err != nil {
		return nil, err
	}
	signed := filepath.Join(dist, "InRelease")
	if len(p.Signers) == 0 {
		if err := os.Remove(filepath.Join(r.Dir, signed)); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		return nil, nil
	}
	raw, err := Clearsign(release, p.At, p.Signers...)
	if err != nil {
		return nil, err
	}
	if p.Harm != nil {
		raw = p.Harm(raw)
	}
	return raw, r.write(signed, raw)
}

// packIndex adds one architecture's Packages in all its forms to indexes.
func (r *Repo) packIndex(arch string, indexes map[string][]byte) error {
	var stanzas []string
	for _, it := range r.items {
		if it.pkg.Arch == arch || it.pkg.Arch == "all" {
			stanzas = append(stanzas, it.stanza)
		}
	}
	slices.Sort(stanzas)
	path := filepath.Join(r.Config.Component, "binary-"+arch, "Packages")
	plain := []byte(strings.Join(stanzas, "\n"))
	indexes[path] = plain
	for _, c := range []Compression{XZ, Gzip} {
		packed, err := pack(c, plain)
		if err != nil {
			return err
		}
		indexes[path+"."+string(c)] = packed
	}
	return nil
}

// release is the text of the Release file, in Debian's order of fields.
func (r *Repo) release(p Publication, indexes map[string][]byte) string {
	const layout = "Mon, 02 Jan 2006 15:04:05 UTC"
	var b strings.Builder
	put := func(field, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", field, value)
		}
	}
	c := r.Config
	put("Origin", c.Origin)
	put("Label", c.Label)
	put("Suite", c.Suite)
	put("Codename", c.Codename)
	put("Date", p.At.UTC().Format(layout))
	if p.ValidFor != 0 {
		put("Valid-Until", p.At.Add(p.ValidFor).UTC().Format(layout))
	}
	put("Acquire-By-Hash", "yes")
	put("Architectures", strings.Join(c.Archs, " "))
	put("Components", c.Component)
	put("Description", strings.TrimSpace(c.Label+" "+c.Suite))
	var paths []string
	for path := range indexes {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	b.WriteString("MD5Sum:\n")
	for _, path := range paths {
		fmt.Fprintf(&b, " %x %8d %s\n", md5.Sum(indexes[path]), len(indexes[path]), path)
	}
	b.WriteString("SHA256:\n")
	for _, path := range paths {
		fmt.Fprintf(&b, " %x %8d %s\n", sha256.Sum256(indexes[path]), len(indexes[path]), path)
	}
	return b.String()
}

// write puts a file below Dir by rename, so that a reader sees the old bytes or
// the new ones.
func (r *Repo) write(path string, raw []byte) error {
	full := filepath.Join(r.Dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(full+".new", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(full+".new", full)
}
