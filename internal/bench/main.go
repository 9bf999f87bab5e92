// Command bench measures and writes docs/BENCHMARKS.md: for each line of
// benchmarks.txt it runs Go benchmarks several times and keeps the fastest run,
// which is the one least disturbed by other work on the machine.
//
// Peers stand in the same run and on the same work; their line gives a ratio.
// Nothing here asserts a time: machines are shared.
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

//go:embed benchmarks.txt
var list string

// line is one row: a package, a benchmark, what it measures, the benchmark of
// the same package that it is compared with, and how often it runs: "once" for
// those that take minutes, because they start processes and make hosts.
type line struct{ pkg, name, what, peer, often string }

// top is the line's Go benchmark without the part after a slash.
func top(name string) string { return strings.Split(name, "/")[0] }

// best is the fastest of several runs.
type best struct {
	ns    float64
	extra string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var lines []line
	for l := range strings.Lines(list) {
		f := strings.Split(strings.TrimSpace(l), " | ")
		switch {
		case strings.HasPrefix(l, "#"):
		case len(f) != 5:
			return fmt.Errorf("benchmarks.txt: no five fields: %s", l)
		default:
			lines = append(lines, line{f[0], f[1], f[2], f[3], f[4]})
		}
	}
	results := map[string]map[string]best{}
	for _, l := range lines {
		for _, name := range []string{top(l.name), top(l.peer)} {
			if name == "-" || results[l.pkg][name] != (best{}) {
				continue
			}
			fmt.Fprintln(os.Stderr, "bench:", l.pkg, name)
			if err := measure(l.pkg, name, l.often, results); err != nil {
				return err
			}
		}
	}
	return write("docs/BENCHMARKS.md", table(lines, results))
}

// write replaces the table and keeps what make bench-peers wrote below it.
func write(path string, table []byte) error {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if i := bytes.Index(old, []byte("\n## ")); i >= 0 {
		table = append(table, old[i:]...)
	}
	return os.WriteFile(path, table, 0o644)
}

// measure runs one Go benchmark and keeps what it and its parts say.
func measure(pkg, name, often string, results map[string]map[string]best) error {
	argv := []string{"test", "-run", "^$", "-bench", "^Benchmark" + name + "$", "-benchmem", "-timeout", "2h"}
	if often == "once" {
		argv = append(argv, "-benchtime", "1x")
	} else {
		argv = append(argv, "-count", "6", "-benchtime", "300ms")
	}
	cmd := exec.Command("go", append(argv, "./"+pkg)...)
	cmd.Env = append(os.Environ(), "PATCHWRIT_E2E=1", "PATCHWRIT_LONG=1") // those that need hosts make them
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", pkg, err, out)
	}
	if results[pkg] == nil {
		results[pkg] = map[string]best{}
	}
	found := read(out)
	if len(found) == 0 {
		return fmt.Errorf("%s has no benchmark %s\n%s", pkg, name, out)
	}
	maps.Copy(results[pkg], found)
	if results[pkg][name] == (best{}) {
		results[pkg][name] = best{extra: "see its parts"}
	}
	return nil
}

var row = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(.*)$`)

// read keeps the fastest run of every benchmark.
func read(out []byte) map[string]best {
	all := map[string]best{}
	for l := range strings.Lines(string(out)) {
		m := row.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil {
			continue
		}
		ns, err := strconv.ParseFloat(m[2], 64)
		if old, seen := all[m[1]]; err != nil || (seen && old.ns <= ns) {
			continue
		}
		all[m[1]] = best{ns: ns, extra: strings.Join(strings.Fields(m[3]), " ")}
	}
	return all
}

func table(lines []line, results map[string]map[string]best) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench` on %s; do not edit.\n\n", time.Now().UTC().Format("2006-01-02"))
	fmt.Fprintf(&b, "Machine: %s, %d cores, %s, load %s at the end. Method: `go test -bench -count 6 -benchtime 300ms`, the fastest of six runs, wall clock; rows marked *once* are one run, because they start processes and make hosts; the machine is shared, so slower runs say more about its neighbours.\n\n", cpu(), runtime.NumCPU(), runtime.Version(), load())
	fmt.Fprintf(&b, "| what | time | memory and other figures | compared with |\n|---|---|---|---|\n")
	for _, l := range lines {
		r, ok := results[l.pkg][l.name]
		if !ok || r.ns == 0 {
			fmt.Fprintf(&b, "| %s | not measured: %s has no %s | | |\n", l.what, l.pkg, l.name)
			continue
		}
		peer := ""
		if p, ok := results[l.pkg][l.peer]; ok {
			peer = fmt.Sprintf("%s: %s, ratio %.1f", l.peer, human(p.ns), p.ns/r.ns)
		}
		what := l.what
		if l.often == "once" {
			what += " (*once*)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", what, human(r.ns), r.extra, peer)
	}
	return b.Bytes()
}

func human(ns float64) string { return time.Duration(ns).Round(time.Nanosecond).String() }

func cpu() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for l := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "unknown processor"
}

func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(raw))[0]
}
