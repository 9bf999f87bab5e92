package messenger

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/unpack"
	"github.com/patchwrit/patchwrit/wire"
)

// listsDir is where apt keeps what it has fetched of its sources.
const listsDir = "var/lib/apt/lists"

// Limits of apt's lists.
const (
	maxLists   = 4096
	maxRelease = 4 << 20
	maxIndex   = 512 << 20 // Debian's main has 50 MB
	maxOrigins = 20_000
	maxLine    = 1 << 20
)

// origins tells where apt's own lists say that the installed versions came from.
// What no list names has no entry: it is unknown, not "from nowhere".
func origins(root fs.FS, packages []inventory.Package) ([]wire.PackageOrigin, error) {
	wanted := map[string]string{}
	for _, p := range packages {
		if p.Status.Present() {
			wanted[p.Key()] = p.Version
		}
	}
	entries, err := fs.ReadDir(root, listsDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []wire.PackageOrigin{}, nil
	case err == nil && len(entries) > maxLists:
		err = fmt.Errorf("%s holds more than %d files", listsDir, maxLists)
	}
	if err != nil {
		return []wire.PackageOrigin{}, err
	}
	found := map[wire.PackageOrigin]bool{}
	var problem error
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), "_InRelease")
		if !ok {
			if base, ok = strings.CutSuffix(e.Name(), "_Release"); !ok {
				continue
			}
		}
		origin, suite, err := release(root, e.Name())
		problem = errors.Join(problem, err)
		for _, f := range entries {
			if !strings.HasPrefix(f.Name(), base+"_") || !strings.Contains(f.Name(), "_Packages") {
				continue
			}
			keys, err := published(root, f.Name(), wanted)
			problem = errors.Join(problem, err)
			for _, key := range keys {
				found[wire.PackageOrigin{Package: key, Origin: canon.NoteOf(origin), Suite: canon.NoteOf(suite)}] = true
			}
		}
	}
	return sorted(found), problem
}

func sorted(found map[wire.PackageOrigin]bool) []wire.PackageOrigin {
	out := make([]wire.PackageOrigin, 0, len(found))
	for o := range found {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b wire.PackageOrigin) int {
		return cmp.Or(strings.Compare(a.Package, b.Package), strings.Compare(string(a.Origin), string(b.Origin)), strings.Compare(string(a.Suite), string(b.Suite)))
	})
	return out[:min(len(out), maxOrigins)]
}

// release reads Origin and Suite (else Codename) of a Release file. The
// signature is not looked at: this is what the host believes, told to people.
func release(root fs.FS, name string) (origin, suite string, err error) {
	f, err := root.Open(path.Join(listsDir, name))
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	codename := ""
	err = fields(io.LimitReader(f, maxRelease), func(key, value string) {
		switch key {
		case "Origin":
			origin = value
		case "Suite":
			suite = value
		case "Codename":
			codename = value
		}
	})
	return origin, cmp.Or(suite, codename), err
}

// fields calls with each "Key: value" line; at a line that is empty the key is "".
func fields(r io.Reader, with func(key, value string)) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 16<<10), maxLine)
	for in.Scan() {
		line := in.Bytes()
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			continue
		}
		key, value, _ := bytes.Cut(line, []byte(":"))
		with(string(key), string(bytes.TrimSpace(value)))
	}
	return in.Err()
}

// published lists the wanted packages that a Packages file names in the
// installed version.
func published(root fs.FS, name string, wanted map[string]string) ([]string, error) {
	in, err := index(root, name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var keys []string
	var pkg, arch, version string
	end := func() {
		if v, ok := wanted[pkg+":"+arch]; ok && v == version {
			keys = append(keys, pkg+":"+arch)
		}
		pkg, arch, version = "", "", ""
	}
	err = fields(in, func(key, value string) {
		switch key {
		case "":
			end()
		case "Package":
			pkg = value
		case "Architecture":
			arch = value
		case "Version":
			version = value
		}
	})
	end()
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return keys, err
}

// index opens a Packages file in the compression that its name tells.
func index(root fs.FS, name string) (io.ReadCloser, error) {
	plain, packed := strings.CutSuffix(name, ".lz4")
	base, format := unpack.FormatOf(plain)
	if !strings.HasSuffix(base, "_Packages") {
		return nil, fmt.Errorf("%s: this compression is not known", name)
	}
	f, err := root.Open(path.Join(listsDir, name))
	if err != nil {
		return nil, err
	}
	in, err := opened(f, format, packed)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return both{in, f}, nil
}

func opened(f fs.File, format unpack.Format, packed bool) (io.ReadCloser, error) {
	if packed {
		l, err := newLZ4(f)
		return io.NopCloser(io.LimitReader(l, maxIndex)), err
	}
	at, ok := f.(io.ReaderAt)
	st, err := f.Stat()
	if err != nil || !ok {
		return nil, fmt.Errorf("it cannot be read from anywhere: %v", err)
	}
	return unpack.Open(format, at, st.Size(), maxIndex)
}

// both closes a decompressor and its file.
type both struct {
	io.ReadCloser
	file io.Closer
}

func (b both) Close() error { return errors.Join(b.ReadCloser.Close(), b.file.Close()) }

// serviceTime bounds the question to the service manager.
const serviceTime = 5 * time.Second

// maxServices bounds the answer.
const maxServices = 2000

// services asks systemd which services run and which have failed. Where there is
// none, or it does not answer, there are no entries.
func services(ctx context.Context) []wire.Service {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return []wire.Service{}
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/systemctl", "list-units", "--type=service", "--state=active,failed", "--plain", "--no-legend", "--no-pager", "--full")
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin", "SYSTEMD_COLORS=0"}
	out, err := cmd.Output()
	if err != nil {
		return []wire.Service{}
	}
	return units(string(out))
}

// units reads systemctl's lines: unit, load, active, sub, description.
func units(text string) []wire.Service {
	out := []wire.Service{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || len(out) == maxServices {
			continue
		}
		out = append(out, wire.Service{Name: canon.NoteOf(f[0]), State: canon.NoteOf(f[2])})
	}
	slices.SortFunc(out, func(a, b wire.Service) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out
}
