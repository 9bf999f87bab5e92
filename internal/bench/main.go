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

// line is one row: a package, a benchmark, what it measures, and the benchmark
// of the same package that it is compared with.
type line struct{ pkg, name, what, peer string }

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
		if len(f) == 4 && !strings.HasPrefix(l, "#") {
			lines = append(lines, line{f[0], f[1], f[2], f[3]})
		}
	}
	results := map[string]map[string]best{}
	for _, l := range lines {
		if results[l.pkg] != nil {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", l.pkg)
		out, err := exec.Command("go", "test", "-run", "^$", "-bench", ".", "-benchmem", "-count", "6", "-benchtime", "300ms", "-timeout", "20m", "./"+l.pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", l.pkg, err, out)
		}
		results[l.pkg] = read(out)
	}
	return os.WriteFile("docs/BENCHMARKS.md", table(lines, results), 0o644)
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
	fmt.Fprintf(&b, "Machine: %s, %d cores, %s, load %s at the end. Method: `go test -bench -count 6 -benchtime 300ms`, the fastest of six runs, wall clock; the machine is shared, so slower runs say more about its neighbours.\n\n", cpu(), runtime.NumCPU(), runtime.Version(), load())
	fmt.Fprintf(&b, "| what | time | memory and other figures | compared with |\n|---|---|---|---|\n")
	for _, l := range lines {
		r, ok := results[l.pkg][l.name]
		if !ok {
			fmt.Fprintf(&b, "| %s | not measured: %s has no %s | | |\n", l.what, l.pkg, l.name)
			continue
		}
		peer := ""
		if p, ok := results[l.pkg][l.peer]; ok {
			peer = fmt.Sprintf("%s: %s, ratio %.1f", l.peer, human(p.ns), p.ns/r.ns)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", l.what, human(r.ns), r.extra, peer)
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
