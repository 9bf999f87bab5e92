package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bench runs one room's tests, built once with the overlay.
type bench struct {
	ctx    context.Context
	room   room
	dir    string
	binary []byte
	tests  []tried // targeted rooms: cheapest first
}

// tried is a test with what it takes and the conditions that it makes true.
type tried struct {
	name  string
	took  time.Duration
	fires map[int]bool
}

func (b *bench) build(overlay string) error {
	out := filepath.Join(b.dir, "room.test")
	cmd := exec.CommandContext(b.ctx, "go", "test", "-c", "-overlay", overlay, "-o", out, "./"+b.room.tests)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building with the overlay: %w\n%s", err, said)
	}
	var err error
	b.binary, err = os.ReadFile(out)
	return err
}

// green runs everything with every check in place; in a targeted room each test
// by itself, to learn which conditions it makes true.
func (b *bench) green() error {
	if !b.room.targeted {
		red, out, err := b.run(0, "", b.room.args...)
		if err == nil && red {
			err = fmt.Errorf("the tests are red with every check in place:\n%s", out)
		}
		return err
	}
	_, list, err := b.run(0, "", "-test.list=.*")
	if err != nil {
		return err
	}
	for name := range strings.Lines(list) {
		name = strings.TrimSpace(name)
		if !strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "Fuzz") {
			continue
		}
		if err := b.learn(name); err != nil {
			return err
		}
	}
	slices.SortFunc(b.tests, func(x, y tried) int { return int(x.took - y.took) })
	return nil
}

// learn runs one test with every check in place.
func (b *bench) learn(name string) error {
	seen, began := filepath.Join(b.dir, "seen-"+name), time.Now()
	red, out, err := b.run(0, seen, "-test.run=^"+name+"$")
	if err != nil {
		return err
	}
	if red {
		return fmt.Errorf("%s is red with every check in place:\n%s", name, out)
	}
	t := tried{name: name, took: time.Since(began), fires: map[int]bool{}}
	raw, err := os.ReadFile(seen)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for line := range strings.Lines(string(raw)) {
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			t.fires[n] = true
		}
	}
	b.tests = append(b.tests, t)
	return nil
}

// again is how often a test must turn red before an excuse is called stale: on a
// machine that is busy with a guest one can turn red by chance.
const again = 3

// judged reports whether the removal of a check is noticed. One with an excuse
// must be noticed each time; a red that does not come again is told, with what
// the tests said, for it is a test to mend.
func (b *bench) judged(m mutant, excused bool) (bool, error) {
	red, out, err := b.noticed(m.number)
	for n := 1; excused && red && err == nil && n < again; n++ {
		said := out
		if red, out, err = b.noticed(m.number); !red {
			fmt.Printf("  CHANCE   %s: a test was red once, not again; it said:\n%s\n", m.name(), said)
		}
	}
	return red, err
}

// noticed reports whether any test turns red with one check taken out, and what
// it said.
func (b *bench) noticed(number int) (red bool, out string, err error) {
	if !b.room.targeted {
		return b.run(number, "", b.room.args...)
	}
	for _, t := range b.tests {
		if !t.fires[number] {
			continue
		}
		if red, out, err = b.run(number, "", "-test.run=^"+t.name+"$"); red || err != nil {
			return red, out, err
		}
	}
	return false, "", nil
}

// met is how many tests make a condition true; -1 in a room that is not targeted.
func (b *bench) met(number int) int {
	if !b.room.targeted {
		return -1
	}
	n := 0
	for _, t := range b.tests {
		if t.fires[number] {
			n++
		}
	}
	return n
}

// run runs tests with one check taken out; the error says that they could not
// be run.
func (b *bench) run(number int, seen string, args ...string) (red bool, out string, err error) {
	dir, err := open(os.MkdirTemp(b.dir, "run-"))
	if err != nil {
		return false, "", err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, filepath.Base(b.room.tests)+".test")
	if err := patch(b.binary, binary, number, seen); err != nil {
		return false, "", err
	}
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	args = append([]string{"-test.failfast"}, args...)
	if !b.room.e2e {
		args = append(args, "-test.short")
	}
	for {
		said, err := b.command(ctx, binary, args).CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil, errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay), ctx.Err() != nil && b.ctx.Err() == nil:
			return err != nil, string(said), nil
		case !errors.Is(err, unix.ETXTBSY):
			return false, "", err
		}
		// The other worker forked while the program was written, and its child
		// held it open until its exec (golang.org/issue/22315): nothing has run.
	}
}

// open lets others pass through a new directory: a box starts the test's own
// program as nobody.
func open(dir string, err error) (string, error) {
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	return dir, err
}

func (b *bench) command(ctx context.Context, binary string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.WaitDelay = b.room.tests, 10*time.Second
	cmd.Env = os.Environ()
	if b.room.e2e {
		cmd.Env = append(cmd.Env, "PATCHWRIT_E2E=1")
	}
	return cmd
}
