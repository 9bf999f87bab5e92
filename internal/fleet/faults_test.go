package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A fault point is a place in a program where it stops until it is told to go
// on, so that something can be killed exactly then. Points exist only in
// programs that tests build with an overlay; nothing that is shipped has one.
// Each is a name and an anchor: the line before which the program stops. The
// anchor must stand exactly once in its file.
type faultPoint struct {
	name, file, anchor string
}

// consumed is the point at which the journal holds the writ as used and dpkg has
// not begun. A helper that dies there has done nothing and may not begin again,
// so this is no step of a loop that goes on: it has a test of its own.
const consumed = "consumed"

// faultPoints are the steps of the loop, each before and after it has happened.
var faultPoints = []faultPoint{
	{"before-inventory", "agent/messenger/snapshot.go", "	q := wire.InventoryRequest{Digest: d, Gone: []string{}, Rest: blank()}\n"},
	{"after-inventory", "agent/messenger/snapshot.go", "	m.told = d\n"},
	{"before-plan", "control/look.go", "	return c.commit(ctx, \"plan/\"+string(p.Digest), \"plan\""},
	{"before-log", "control/record.go", "	places, err := c.Log.AppendAll(ctx, entries)\n"},
	{"after-log", "control/record.go", "	errs, work := make([]error, len(events)), make(chan int)\n"},
	{"after-plan", "control/step.go", "	in := policy.NewInput("},
	{"before-approval", "control/step.go", "	if err := c.commit(ctx, \"plan/\"+string(plan), string(a.Kind)"},
	{"after-approval", "control/step.go", "	c.Kick()\n	return c.state(ctx, p, Running, \"approved\")\n"},
	{"before-writ", "control/advance.go", "		events = append(events, store.Event{Kind: \"writ\", At: now"},
	{"after-writ", "control/advance.go", "		w.State, w.File = Ready, file\n"},
	{"before-fetch", "agent/messenger/offer.go", "	if err := m.fetch(ctx, o.Writ, -1); err != nil {\n"},
	{"after-fetch", "agent/messenger/offer.go", "	return m.settle(poolDir)\n"},
	{"before-lease", "agent/messenger/offer.go", "	a, err := ask[wire.LeaseAnswer]("},
	{"after-lease", "agent/messenger/offer.go", "	return parley.Answer{Leases: a.Leases, Consistency: a.Consistency, Why: a.Why}\n"},
	{"before-dpkg", "pkgmgr/apt/apply.go", "	a := &attempt{m: m, v: v}\n"},
	{consumed, "pkgmgr/apt/apply.go", "	name := a.run + \"/apply\"\n"},
	{"after-dpkg", "pkgmgr/apt/apply.go", "	return m.conclude(a.own, a.begun, a.before.Packages, a.complaint(end, name))\n"},
	{"before-receipt", "agent/messenger/offer.go", "		_, err := ask[wire.ReceiptAnswer](ctx, m.Wire, wire.Done, q)\n"},
	{"after-receipt", "agent/messenger/offer.go", "		if refusal.CodeOf(err) == wire.CodeDown {\n"},
}

// adviceFaults are the steps of an asking, after the adviser has answered.
var adviceFaults = []faultPoint{
	{"before-kept", "control/advised.go", "	if bad := c.keepExchange(j, request, h); bad != nil {\n"},
	{"after-kept", "control/advised.go", "	c.mu.Lock()\n	defer c.mu.Unlock()\n	if bad := c.advise(ctx, j)"},
	{"after-advice", "control/advised.go", "	if o := j.Exchange.Outcome; o == advice.Off"},
}

// FaultsEnv names the directory in which programs with fault points look.
const FaultsEnv = "PATCHWRIT_FAULTS"

// faultSource is added to each package that has points. A point stops once in a
// directory that has a file "armed": it makes NAME.at, and waits for NAME.go.
const faultSource = `package %s

import (
	"os"
	"path/filepath"
	"time"
)

func faultPoint(name string) {
	dir := os.Getenv("` + FaultsEnv + `")
	if dir == "" {
		return
	}
	if _, err := os.Stat(filepath.Join(dir, "armed")); err != nil {
		return
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".at"), os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return
	}
	f.Close()
	for {
		if _, err := os.Stat(filepath.Join(dir, name+".go")); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}
`

// faultOverlay writes an overlay for the go tool that puts the points in, and
// returns the flag for it. root is the module's directory.
func faultOverlay(root, dir string, points []faultPoint) (string, error) {
	replace, text := map[string]string{}, map[string]string{}
	for _, p := range points {
		file := filepath.Join(root, p.file)
		if text[file] == "" {
			raw, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			text[file] = string(raw)
		}
		if n := strings.Count(text[file], p.anchor); n != 1 {
			return "", fmt.Errorf("the anchor of fault point %s stands %d times in %s; move it in faults.go", p.name, n, p.file)
		}
		indent := p.anchor[:len(p.anchor)-len(strings.TrimLeft(p.anchor, "\t"))]
		text[file] = strings.Replace(text[file], p.anchor, fmt.Sprintf("%sfaultPoint(%q)\n%s", indent, p.name, p.anchor), 1)
		pkg := filepath.Dir(file)
		text[filepath.Join(pkg, "zz_fault.go")] = fmt.Sprintf(faultSource, filepath.Base(pkg))
	}
	var errs []error
	for file, content := range text {
		to := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(file, root), "/", "_"))
		replace[file] = to
		errs = append(errs, os.WriteFile(to, []byte(content), 0o644))
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	overlay := filepath.Join(dir, "overlay.json")
	return "-overlay=" + overlay, errors.Join(append(errs, err, os.WriteFile(overlay, raw, 0o644))...)
}

// moduleRoot is the directory of this module, as it was compiled or as the tests
// run in it.
func moduleRoot() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	if !filepath.IsAbs(here) { // -trimpath
		wd, err := os.Getwd()
		return filepath.Dir(filepath.Dir(wd)), err
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(here))), nil
}

// faults is what a round of the matrix watches: the directories of the programs
// with points.
type faults struct {
	dirs []string
	seen []string // points that were reached, in their order
}

// arm makes the points ready for one round, but for those that are passed by.
func (x *faults) arm(pass ...string) error {
	x.seen = nil
	for _, dir := range x.dirs {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
			return err
		}
		for _, name := range pass {
			at := filepath.Join(dir, name+".at")
			x.seen = append(x.seen, at)
			if err := errors.Join(os.WriteFile(at, nil, 0o644), release(at)); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "armed"), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// disarm lets everything through that stands at a point, and stops no more.
func (x *faults) disarm() error {
	var errs []error
	for _, dir := range x.dirs {
		errs = append(errs, os.Remove(filepath.Join(dir, "armed")))
		held, err := filepath.Glob(filepath.Join(dir, "*.at"))
		errs = append(errs, err)
		for _, at := range held {
			errs = append(errs, release(at))
		}
	}
	return errors.Join(errs...)
}

// stop stops at a point of this process itself, as faultSource does in others.
func (x *faults) stop(ctx context.Context, name string) {
	at := filepath.Join(x.dirs[0], name+".at")
	if _, err := os.Stat(filepath.Join(x.dirs[0], "armed")); err != nil {
		return
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return
	}
	f.Close()
	<-ctx.Done() // who asked is dead
}

// reached gives the points at which somebody has stopped since the last call.
func (x *faults) reached() []string {
	var out []string
	for _, dir := range x.dirs {
		held, _ := filepath.Glob(filepath.Join(dir, "*.at")) // the pattern is right
		for _, at := range held {
			if !slices.Contains(x.seen, at) {
				x.seen = append(x.seen, at)
				out = append(out, at)
			}
		}
	}
	return out
}

// release lets who stands at a point go on.
func release(at string) error {
	return os.WriteFile(strings.TrimSuffix(at, ".at")+".go", nil, 0o644)
}

// outage is how long a cable stays cut.
const outage = time.Second
