package solve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr/apt"
	"github.com/patchwrit/patchwrit/provenance"
)

// Bounds of one run of apt.
const (
	aptTime   = 5 * time.Minute // a dry run takes seconds
	maxOutput = 16 << 20        // a dry run over 3,000 packages prints about 500 KB
	maxWords  = 600             // of apt's, in the reason for a package that is held
)

// solver is the root's own apt in a directory of its own below the root; for a
// snapshot it is this machine's apt over the snapshot's package database.
type solver struct {
	root     string // directory on this side
	rel      string // the solver's own directory, below root
	dir      string // the same as apt sees it
	snapshot bool
	own      *os.Root
	s        Seen
	to       map[string]string // version asked for, by inventory key
	down     bool              // it is a way back
}

// newSolver lays the verified releases and an own configuration out in the
// root. close takes everything away again.
func (p *planner) newSolver(s Seen, c *chosen) (*solver, error) {
	root, err := os.OpenRoot(p.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dir, err := freshDir(root)
	if err != nil {
		return nil, fmt.Errorf("apt needs a directory of its own in %s: %w", p.Root, err)
	}
	v := &solver{root: p.Root, rel: dir, dir: "/" + dir, snapshot: p.Snapshot, s: s, to: c.to, down: c.down}
	if v.snapshot {
		if v.root, err = filepath.Abs(p.Root); err != nil {
			return nil, err
		}
		v.dir = filepath.Join(v.root, dir)
	}
	if v.own, err = root.OpenRoot(dir); err != nil {
		return nil, errors.Join(err, root.RemoveAll(dir))
	}
	if err := v.layOut(p.pool); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

// freshDir makes a directory with a name that nobody used.
func freshDir(root *os.Root) (string, error) {
	for i := range 1000 {
		dir := fmt.Sprintf("var/lib/patchwrit-plan-%d-%d", os.Getpid(), i)
		if err := root.Mkdir(dir, 0o700); err == nil || !errors.Is(err, os.ErrExist) {
			return dir, err
		}
	}
	return "", errors.New("a thousand of them are there already: remove var/lib/patchwrit-plan-*")
}

func (v *solver) close() error {
	root, err := os.OpenRoot(v.root)
	if err != nil {
		return errors.Join(err, v.own.Close())
	}
	return errors.Join(v.own.Close(), root.RemoveAll(v.rel), root.Close())
}

func (v *solver) layOut(pool pool) error {
	for _, dir := range []string{"empty", "lists/partial", "archives/partial", "cache"} {
		if err := v.own.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	var sources strings.Builder
	for i, vendor := range v.s.vendors {
		archive, keyring := fmt.Sprintf("archive/%d", i), fmt.Sprintf("keyring-%d.gpg", i)
		for _, name := range append([]string{"InRelease"}, vendor.files...) {
			if err := v.copy(pool, releaseName(vendor.source, name), path.Join(archive, "dists", vendor.source.Suite, name)); err != nil {
				return err
			}
		}
		if err := v.own.WriteFile(keyring, vendor.source.Keyring, 0o600); err != nil {
			return err
		}
		fmt.Fprintf(&sources, "Types: deb\nURIs: file:%s/%s\nSuites: %s\nComponents: %s\nArchitectures: %s\nSigned-By: %s/%s\nBy-Hash: no\n\n",
			v.dir, archive, vendor.source.Suite, components(vendor.files), v.s.Inventory.Arch, v.dir, keyring)
	}
	if err := v.own.WriteFile("patchwrit.sources", []byte(sources.String()), 0o600); err != nil {
		return err
	}
	return v.own.WriteFile("apt.conf", []byte(v.configuration()), 0o600)
}

// components are the first parts of "main/binary-amd64/Packages.xz".
func components(files []string) string {
	out := []string{}
	for _, f := range files {
		out = append(out, path.Dir(path.Dir(f)))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " ")
}

func (v *solver) copy(pool pool, from, to string) error {
	in, err := pool.open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := v.own.MkdirAll(path.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := v.own.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// configuration is all of apt's: no source, preference, list or hook of the root
// takes part. Dates were judged when the releases were verified.
func (v *solver) configuration() string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"Dir::Etc::main", "/dev/null"},
		{"Dir::Etc::parts", v.dir + "/empty"},
		{"Dir::Etc::sourcelist", v.dir + "/patchwrit.sources"},
		{"Dir::Etc::sourceparts", v.dir + "/empty"},
		{"Dir::Etc::preferences", "/dev/null"},
		{"Dir::Etc::preferencesparts", v.dir + "/empty"},
		{"Dir::Etc::trusted", "/dev/null"},
		{"Dir::Etc::trustedparts", v.dir + "/empty"},
		{"Dir::Etc::netrc", "/dev/null"},
		{"Dir::Etc::netrcparts", v.dir + "/empty"},
		{"Dir::State::lists", v.dir + "/lists"},
		{"Dir::State::extended_states", v.dir + "/extended_states"},
		{"Dir::Cache", v.dir + "/cache"},
		{"Dir::Cache::archives", v.dir + "/archives"},
		{"Dir::Log", v.dir + "/cache"},
		{"APT::Sandbox::User", "root"}, // nothing is downloaded; _apt cannot enter the directory
		{"APT::Install-Recommends", "false"},
		{"APT::Install-Suggests", "false"},
		{"APT::Get::AutomaticRemove", "false"},
		{"Acquire::Languages", "none"},
		{"Acquire::Check-Valid-Until", "false"},
		{"Acquire::Check-Date", "false"},
		{"Acquire::AllowInsecureRepositories", "false"},
	} {
		fmt.Fprintf(&b, "%s %q;\n", kv[0], kv[1])
	}
	if v.snapshot {
		fmt.Fprintf(&b, "Dir::State::status %q;\nAPT::Architecture %q;\nAPT::Architectures { %q; };\n",
			filepath.Join(v.root, "var/lib/dpkg/status"), v.s.Inventory.Arch, v.s.Inventory.Arch)
	}
	return b.String()
}

// run runs apt-get in the root: in namespaces of its own, without network, with
// /proc, a clean environment and no shell. It returns what apt printed.
func (v *solver) run(ctx context.Context, args ...string) (string, error) {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return "", fmt.Errorf("apt runs in namespaces of its own, made by unshare: install util-linux: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, aptTime)
	defer cancel()
	var out bounded
	where := []string{"--mount-proc", "--root=" + v.root, "--wd=/"}
	if v.snapshot {
		where = []string{"--mount-proc", "--wd=/"}
	}
	cmd := exec.CommandContext(ctx, unshare, slices.Concat(where, []string{"--", "/usr/bin/apt-get", "-q", "-y"}, args)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TERM=dumb",
		"DEBIAN_FRONTEND=noninteractive", "APT_CONFIG=" + v.dir + "/apt.conf"}
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second // the pipes close with the namespace
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET,
		Unshareflags: unix.CLONE_NEWNS, // makes every mount private first
	}
	err = cmd.Run()
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("apt did not end in time: %w", ctx.Err())
	case err != nil && !errors.As(err, &ended):
		return "", fmt.Errorf("apt cannot be run in %s (it takes root): %w", v.root, err)
	case out.full:
		return "", fmt.Errorf("apt printed more than %d bytes", maxOutput)
	case err != nil:
		return "", refused(words(out.String()))
	}
	return out.String(), nil
}

// refused is apt's own no, in its words.
type refused string

func (r refused) Error() string { return "the package manager says: " + string(r) }

// words are the lines of apt's that tell why, in one line.
func words(output string) string {
	var why []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "E:") || strings.HasPrefix(line, "Err:") || strings.Contains(line, " : ") {
			why = append(why, line)
		}
	}
	if len(why) == 0 {
		why = strings.Fields(output)
	}
	text := strings.Join(why, " ")
	if len(text) > maxWords {
		text = text[:maxWords] + "..."
	}
	return text
}

// bounded keeps at most maxOutput bytes, and notes that there were more.
type bounded struct {
	bytes.Buffer
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxOutput {
		b.full = true
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// ask finds the largest set of wanted packages that apt will bring to the
// versions asked for, and holds the others with the reason.
func (p *planner) ask(ctx context.Context, s Seen, c *chosen) ([]pair, error) {
	if len(c.want) == 0 {
		return nil, nil
	}
	v, err := p.newSolver(s, c)
	if err != nil {
		return nil, err
	}
	p.say.line("ask apt in %s about %d packages", p.Root, len(c.want))
	pairs, err := v.solve(ctx, c)
	return pairs, errors.Join(err, v.close())
}

func (v *solver) solve(ctx context.Context, c *chosen) ([]pair, error) {
	if _, err := v.run(ctx, "update"); err != nil {
		return nil, fmt.Errorf("reading the verified indexes: %w", err)
	}
	taken, err := grow(nil, c.want, func(set []inventory.Package) error {
		_, err := v.simulate(ctx, set)
		return err
	}, c.held)
	if err != nil || len(taken) == 0 {
		return nil, err
	}
	return v.simulate(ctx, taken)
}

// grow adds wanted packages to those taken, all at once when try allows it, else
// by halves. A package that cannot be added alone is held with try's reason.
// Errors that are no reason to hold a package end it.
func grow(taken, want []inventory.Package, try func([]inventory.Package) error, held map[string]string) ([]inventory.Package, error) {
	if len(want) == 0 {
		return taken, nil
	}
	all := append(slices.Clone(taken), want...)
	err := try(all)
	var no refused
	switch {
	case err == nil:
		return all, nil
	case !errors.As(err, &no):
		return nil, err
	case len(want) == 1:
		held[want[0].Key()] = err.Error()
		return taken, nil
	}
	half := len(want) / 2
	if taken, err = grow(taken, want[:half], try, held); err != nil {
		return nil, err
	}
	return grow(taken, want[half:], try, held)
}

// simulate asks apt to bring packages to the versions asked for.
func (v *solver) simulate(ctx context.Context, set []inventory.Package) ([]pair, error) {
	args := []string{"--simulate", "--no-download", "--no-install-recommends", "--no-remove", "install"}
	if v.down {
		args = slices.Insert(args, 1, "--allow-downgrades")
	}
	for _, p := range set {
		args = append(args, v.target(p))
	}
	out, err := v.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	steps, err := apt.ReadSimulation(out)
	if err != nil {
		return nil, err
	}
	return v.s.pairs(steps, v.down)
}

// target is apt's spelling of a package in the version asked for. apt knows
// packages of all architectures under the native name.
func (v *solver) target(p inventory.Package) string {
	name := p.Name
	if p.Arch != "all" {
		name += ":" + p.Arch
	}
	return name + "=" + v.to[p.Key()]
}

// pairs turns apt's steps into exact changes. What cannot be one, or has no way
// back, is refused.
func (s Seen) pairs(steps []apt.Step, down bool) ([]pair, error) {
	is := map[string]inventory.Package{}
	for _, p := range s.Inventory.Packages {
		if p.Status.Present() {
			is[p.Key()] = p
		}
	}
	var out []pair
	for _, step := range steps {
		switch step.Verb {
		case "Conf":
			continue
		case "Inst":
		default:
			return nil, refused("it would remove " + step.Package)
		}
		c := pair{pack: step.Package, arch: step.Arch, to: step.Version}
		had, ok := is[c.key()]
		if c.from = had.Version; c.from != step.Old {
			return nil, refused(fmt.Sprintf("%s goes from %q to %q with another architecture than is installed", c.key(), step.Old, c.to))
		}
		var err error
		if c.new, c.old, err = s.ends(c, ok, down); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b pair) int { return strings.Compare(a.key(), b.key()) })
	return out, nil
}

// ends finds the artefacts of both ends of a change, which leads up, or down
// when that was asked for.
func (s Seen) ends(c pair, had, down bool) (to, from provenance.Entry, err error) {
	to, ok := s.exact(c.pack, c.arch, c.to)
	switch {
	case !ok:
		return to, from, refused(fmt.Sprintf("it wants %s %s, which no verified index holds", c.key(), c.to))
	case down && !above(c.from, c.to):
		return to, from, refused(fmt.Sprintf("%s would go from %q to %s, which is not down", c.key(), c.from, c.to))
	case !down && had && !above(c.to, c.from):
		return to, from, refused(fmt.Sprintf("%s would go from %s to %s, which is not up", c.key(), c.from, c.to))
	case !had:
		return to, from, nil
	}
	if from, ok = s.exact(c.pack, c.arch, c.from); !ok {
		return to, from, refused(noWayBack(c.pack, c.from) + ", and it would have to change as well")
	}
	return to, from, nil
}
