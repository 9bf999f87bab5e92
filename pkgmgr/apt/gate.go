package apt

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
)

// Limits of what apt tells a hook (apt.conf(5), DPkg::Pre-Install-Pkgs). The
// configuration dump of Debian 12 has about 300 lines.
const (
	maxHookBytes = 16 << 20 // the longest line is a path; two lines a package, 3,000 packages
	maxHookLine  = 16 << 10
)

// typeExpectation is the type of an expectation.
const typeExpectation = "patchwrit/expectation/v1"

// expectation is the sealed list of everything dpkg may be asked to do in one
// run. The seal is its digest, which stands in the run's own configuration.
type expectation struct {
	Type       string       `json:"type"`
	Writ       canon.Digest `json:"writ"`
	Operations []operation  `json:"operations"` // ascending by package and architecture
}

// operation is one package's part of the run.
type operation struct {
	Package string       `json:"package"`
	Arch    string       `json:"arch"`
	Old     string       `json:"old"`    // version before, "" when it was not there
	New     string       `json:"new"`    // version after, "" when it goes
	Path    string       `json:"path"`   // of the .deb inside the root, "" when it goes
	Digest  canon.Digest `json:"digest"` // of the .deb, "" when it goes
}

func (e expectation) bytes() []byte { return canon.MustEncode(e) }

func (e expectation) seal() canon.Digest { return canon.Sum(typeExpectation, e.bytes()) }

// expect makes the expectation of a run whose artefacts lie in dir (inside the
// root).
func expect(writ canon.Digest, changes []change.Change, dir string) expectation {
	e := expectation{Type: typeExpectation, Writ: writ, Operations: []operation{}}
	for _, c := range changes {
		o := operation{Package: c.Package, Arch: c.Arch, Old: c.From, New: c.To, Digest: c.Artefact}
		if c.Op != change.Remove {
			o.Path = dir + "/" + fileName(c)
		}
		e.Operations = append(e.Operations, o)
	}
	return e
}

// lines are what apt must write for the expectation: one line for each thing
// unpacked or removed, one more for each thing configured.
func (e expectation) lines() []string {
	var all []string
	for _, o := range e.Operations {
		if o.New == "" {
			all = append(all, fmt.Sprintf("%s %s %s > - - **REMOVE**", o.Package, o.Old, o.Arch))
			continue
		}
		old, oldArch := o.Old, o.Arch
		if old == "" {
			old, oldArch = "-", "-"
		}
		head := fmt.Sprintf("%s %s %s %s %s %s ", o.Package, old, oldArch, order(o.Old, o.New), o.New, o.Arch)
		all = append(all, head+o.Path, head+"**CONFIGURE**")
	}
	slices.Sort(all)
	return all
}

// readHook reads apt's description of a run, protocol version 3, and returns
// its operations as lines of the form "package old arch order new arch action",
// ascending. The fields that name Multi-Arch are left out.
func readHook(r io.Reader) ([]string, error) {
	in := bufio.NewScanner(io.LimitReader(r, maxHookBytes))
	in.Buffer(make([]byte, 0, 4096), maxHookLine)
	if !in.Scan() || in.Text() != "VERSION 3" {
		return nil, fmt.Errorf("apt speaks another hook protocol: %.60q", in.Text())
	}
	for in.Scan() && in.Text() != "" { // the configuration
	}
	all := []string{}
	for in.Scan() {
		f := strings.Split(in.Text(), " ")
		if len(f) != 9 {
			return nil, fmt.Errorf("a line of %d fields: %.120q", len(f), in.Text())
		}
		all = append(all, strings.Join([]string{f[0], f[1], f[2], f[4], f[5], f[6], f[8]}, " "))
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	slices.Sort(all)
	return all, nil
}

// compare says how what was seen differs from what was wanted, or "".
func compare(want, got []string) string {
	count := map[string]int{}
	for _, w := range want {
		count[w]++
	}
	var diff []string
	for _, g := range got {
		if count[g]--; count[g] < 0 {
			diff = append(diff, "not in the writ: "+g)
		}
	}
	for _, w := range want {
		if count[w] > 0 {
			diff = append(diff, "missing: "+w)
		}
	}
	if more := len(diff) - maxDiff; more > 0 {
		diff = append(diff[:maxDiff], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(diff, "; ")
}

// maxDiff is how many differences a person is shown.
const maxDiff = 10

// check compares what apt is about to do with the expectation, and the bytes of
// every artefact with its digest.
func (e expectation) check(hook io.Reader, sum func(path string) (canon.Digest, error)) error {
	got, err := readHook(hook)
	if err != nil {
		return refusal.New(pkgmgr.CodeGate, "%v", err)
	}
	if diff := compare(e.lines(), got); diff != "" {
		return refusal.New(pkgmgr.CodeGate, "%s", diff)
	}
	for _, o := range e.Operations {
		if o.Path == "" {
			continue
		}
		d, err := sum(o.Path)
		if err != nil {
			return refusal.New(pkgmgr.CodeGate, "%v", err)
		}
		if d != o.Digest {
			return refusal.New(pkgmgr.CodeGate, "%s is %s, the writ names %s", o.Path, d.Short(), o.Digest.Short())
		}
	}
	return nil
}

// seen is what the gate leaves behind: the answer to its one question.
type seen struct {
	Writ   canon.Digest `json:"writ"`
	Code   refusal.Code `json:"code"` // "" when the gate let it pass
	Detail canon.Note   `json:"detail"`
}

// Gate is the hook that apt calls before dpkg starts (`patchwrit-agent gate`):
// hook is what apt tells, file the expectation of the run and seal its digest.
// It answers once for each expectation. Without an expectation there is no
// writ, and the gate is closed: that is the lockdown.
func Gate(hook io.Reader, file string, seal canon.Digest) error {
	if file == "" {
		return refusal.New(pkgmgr.CodeLockdown, "apt was started without a writ")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return refusal.New(pkgmgr.CodeGate, "%v", err)
	}
	var e expectation
	if err := canon.Decode(raw, &e); err != nil || e.Type != typeExpectation || e.seal() != seal {
		return refusal.New(pkgmgr.CodeGate, "the expectation in %s is not the one that was sealed", file)
	}
	verdict := e.check(hook, sumOf)
	s := seen{Writ: e.Writ, Code: refusal.CodeOf(verdict)}
	if verdict != nil {
		s.Detail = canon.NoteOf(verdict.Error())
	}
	if err := writeNew(file+seenSuffix, canon.MustEncode(s)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return refusal.New(pkgmgr.CodeGate, "apt asked a second time; one writ is one run")
		}
		return refusal.New(pkgmgr.CodeGate, "the gate could not write down its answer: %v", err)
	}
	return verdict
}

// GateMain is the verb gate: "--expect FILE --seal DIGEST" from a run's own
// configuration, no arguments from the lockdown's. What apt is about to do comes
// on the descriptor that it names in the environment.
func GateMain(args []string, getenv func(string) string) error {
	flags := flag.NewFlagSet("gate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file, seal := flags.String("expect", "", ""), flags.String("seal", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return refusal.New(pkgmgr.CodeGate, "the gate was called with other arguments than its own: %q", args)
	}
	fd, err := strconv.Atoi(getenv("APT_HOOK_INFO_FD"))
	if err != nil || fd < 3 {
		fd = 0 // not called by apt; the lockdown does not read it
	}
	hook := os.NewFile(uintptr(fd), "hook")
	defer hook.Close()
	return Gate(hook, *file, canon.Digest(*seal))
}

// seenSuffix marks the gate's answer beside the expectation.
const seenSuffix = ".seen"
