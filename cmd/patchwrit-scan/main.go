// Command patchwrit-scan says what is affected on one system, from an index that
// was compiled elsewhere (patchwrit feed compile).
//
// The parties: whoever compiles and carries the index, the system that is looked
// at, and who reads the answer. The promise: it finds what patchwrit scan finds
// over the same index and says as that does which kernel runs, reads nothing but
// the index and the system's own files (and, of this machine, uname), and links
// neither feeds, nor network, nor anything that changes a system, so
// that it costs a host little: see docs/BENCHMARKS.md.
//
// It gives no deadlines and fetches nothing: patchwrit scan does.
//
// Exit codes: 3 something is affected, 6 part of the answer is unknown, 0
// neither; 1 failure, 2 usage, 5 the index is refused.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/match/flat"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
)

// Exit codes, as those of patchwrit.
const (
	exitFailure   = 1
	exitUsage     = 2
	exitFindings  = 3
	exitIntegrity = 5
	exitPartial   = 6
)

func main() {
	// It lives for less than a tenth of a second, and most hosts' answers take
	// less than 8 MiB: to look for garbage before that costs more than it frees.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, time.Now()))
}

// options are the flags.
type options struct {
	root, index, format, failOn, kernel string
	maxAge                              time.Duration
}

func run(args []string, stdout, stderr io.Writer, now time.Time) int {
	var o options
	f := flag.NewFlagSet("patchwrit-scan", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.root, "root", "/", "top directory of the system to look at")
	f.StringVar(&o.index, "index", "", "compiled feeds (patchwrit feed compile)")
	f.StringVar(&o.kernel, "kernel", "", "the kernel that runs there, as uname -r prints it (default: this machine's with -root /, else not known)")
	f.StringVar(&o.format, "o", "table", "table or json")
	f.StringVar(&o.failOn, "fail-on", "affected", "what ends with exit code 3: affected or none")
	f.DurationVar(&o.maxAge, "max-age", 14*24*time.Hour, "a feed whose newest record is older cannot say that a system is clean")
	if err := f.Parse(args); err != nil {
		return exitUsage
	}
	if f.NArg() > 0 || o.index == "" || o.format != "table" && o.format != "json" || o.failOn != "affected" && o.failOn != "none" {
		fmt.Fprintln(stderr, "patchwrit-scan: say what to match with: --index FILE [--root DIR] [--kernel RELEASE] [-o table|json] [--fail-on affected|none]")
		return exitUsage
	}
	if o.maxAge < 0 {
		fmt.Fprintln(stderr, "patchwrit-scan: --max-age takes a length of time like 336h, not", o.maxAge)
		return exitUsage
	}
	code, err := scan(o, stdout, now)
	if err != nil {
		fmt.Fprintln(stderr, "patchwrit-scan:", explain.Error(err))
		if code = exitFailure; refusal.CodeOf(err) != "" {
			code = exitIntegrity
		}
	}
	return code
}

// scan looks at one root and writes the answer.
func scan(o options, out io.Writer, now time.Time) (int, error) {
	root, err := os.OpenRoot(o.root)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	inv, err := inventory.Read(root.FS())
	if err != nil {
		return 0, err
	}
	release, build, err := running(o)
	if err != nil {
		return 0, err
	}
	inv.Kernel.Running = release
	file, err := os.Open(o.index)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no regular file", o.index)
	}
	records, err := flat.Open(file, info.Size(), now.Unix())
	if err != nil {
		return 0, err
	}
	ix := match.Over(match.Aged(records, now.Unix(), int64(o.maxAge/time.Second)))
	r := answer{os: inv.OS, found: match.Search(inv, ix), snapshots: ix.Snapshots(),
		kernel: match.KernelOf(inv.Kernel, build, inventory.Owns(root.FS(), release))}
	if err := ix.Err(); err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(out, 1<<16)
	if o.format == "json" {
		err = r.json(w)
	} else {
		r.table(w)
	}
	return r.code(o.failOn), errors.Join(err, w.Flush())
}

// answer is a scan's report; gaps are the findings about the question as a whole.
type answer struct {
	os                      inventory.OS
	found                   match.Answers
	snapshots               []advisory.Snapshot
	kernel                  *match.Kernel
	affected, unknown, gaps int
}

func gap(f *match.Finding) bool { return f.Advisory == "" && f.Package == "" }

// count takes note of a finding that is being written.
func (r *answer) count(f *match.Finding) {
	switch {
	case gap(f):
		r.gaps++
	case f.State == match.Affected:
		r.affected++
	default:
		r.unknown++
	}
}

func (r *answer) code(failOn string) int {
	switch {
	case r.affected > 0 && failOn == "affected":
		return exitFindings
	case r.unknown > 0 || r.gaps > 0:
		return exitPartial
	}
	return 0
}

func (r *answer) table(w io.Writer) {
	unknown := func(g match.Reason) { fmt.Fprintf(w, "unknown: %s (%s)\n", g.Text, g.Code) }
	if g, ok := r.kernel.Gap(); ok {
		r.gaps++
		unknown(g)
	}
	for f := range r.found.All {
		r.count(&f)
		fixed := f.Fixed
		switch {
		case gap(&f):
			unknown(f.Reason)
			continue
		case fixed == "":
			fixed = "-"
		}
		fmt.Fprintf(w, "%s\t%s:%s\t%s\t%s\t%s\t%s\n", f.Advisory, f.Package, f.Arch, f.Version, fixed, f.State, f.Why(r.kernel.Runs(&f)))
	}
	if text := r.kernel.Sentence(); text != "" {
		fmt.Fprintln(w, text)
	}
	fmt.Fprintf(w, "%s %s: %d affected, %d unknown, %d gaps, %d feeds\n", r.os.ID, r.os.VersionID, r.affected, r.unknown, r.gaps, len(r.snapshots))
}

// json writes the document of patchwrit scan -o json, a finding at a time, so
// that it never stands in memory whole.
func (r *answer) json(w *bufio.Writer) error {
	var bad error
	rest := func(b []byte, v any) []byte {
		raw, err := json.Marshal(v)
		bad = errors.Join(bad, err)
		return append(b, raw...)
	}
	b := append(rest([]byte(`{"os":`), r.os), `,"findings":[`...)
	gaps := []match.Reason{}
	if g, ok := r.kernel.Gap(); ok {
		r.gaps, gaps = 1, append(gaps, g)
	}
	for f := range r.found.All {
		if r.count(&f); gap(&f) {
			gaps = append(gaps, f.Reason)
			continue
		}
		if r.affected+r.unknown > 1 {
			b = append(b, ",\n"...)
		}
		b = finding(b, &f, r.kernel.Runs(&f))
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = rest(append(b, `],"gaps":`...), gaps)
	b = rest(append(b, `,"snapshots":`...), r.snapshots)
	if r.kernel != nil {
		b = rest(append(b, `,"kernel":`...), r.kernel)
	}
	b = fmt.Appendf(b, `,"affected":%d,"unknown":%d}`+"\n", r.affected, r.unknown)
	_, err := w.Write(b)
	return errors.Join(bad, err)
}
