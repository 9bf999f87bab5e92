package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// Heading begins the part of docs/BENCHMARKS.md that this program owns; make
// bench keeps it.
const heading = "## Peers on one host\n"

// write puts the part in its place and leaves the rest alone.
func (w *world) write(path string, results []result, found []difference) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, _ := strings.Cut(string(old), heading)
	text := w.text(results, found)
	os.Stdout.Write(text)
	return os.WriteFile(path, append([]byte(strings.TrimRight(before, "\n")+"\n\n"), text...), 0o644)
}

func (w *world) text(results []result, found []difference) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nWritten by `make bench-peers` on %s; do not edit.\n\n", heading, time.Now().UTC().Format("2006-01-02"))
	zip, _ := os.Stat(w.zip)
	index, _ := os.Stat(w.index)
	fmt.Fprintf(&b, "Machine: %d cores, %s, shared with other work (load %s at the end), so processor time counts and wall clock says little. "+
		"Host: a dpkg status of %d packages, Debian 12. Records: %d with %d rows, made from it with a fixed seed (the official zip cannot be had here, so their number and size are a guess): "+
		"a zip of %.1f MiB for osv-scanner and us, grype's v6 database by its own writer, our index of %.1f MiB. Whole processes in turns, one run that does not count and %d that do; median, least and most.\n\n",
		runtime.NumCPU(), runtime.Version(), load(), w.packages, w.made, w.rows, mib(zip), mib(index), len(results[0].cpu))
	fmt.Fprintf(&b, "| | CPU s | wall s | peak MiB | output MiB | findings |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		ignored := 0
		for _, i := range r.found {
			if i {
				ignored++
			}
		}
		count := fmt.Sprint(len(r.found) - ignored)
		if ignored > 0 {
			count += fmt.Sprintf(" (and %d that it ignores)", ignored)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.1f | %.1f | %s |\n", r.name, spread(r.cpu), spread(r.wall), float64(r.peak)/1024, float64(r.out)/(1<<20), count)
	}
	b.WriteString("\n")
	for _, p := range [][2]string{{osv, oursZip}, {grype, oursIdx}} {
		if x, y := named(results, p[0]), named(results, p[1]); x != nil && y != nil {
			fmt.Fprintf(&b, "* %s takes **%.0f times** the CPU of %s.\n", p[0], float64(x.median())/float64(y.median()), p[1])
		}
	}
	for _, m := range w.missing {
		fmt.Fprintf(&b, "* Left out: %s.\n", m)
	}
	b.WriteString("\nThe sets of (CVE, binary package, version) are compared; both of our ways find the same. Differences:\n\n")
	for _, d := range found {
		fmt.Fprintf(&b, "* %s: %s.\n", d.peer, d)
	}
	if len(found) == 0 {
		b.WriteString("* none.\n")
	}
	b.WriteString("\nNot equal work: grype also catalogues the root's files, and both peers write richer JSON. Compiling the index is paid once for each snapshot and stands in neither row.\n")
	return b.Bytes()
}

func named(results []result, name string) *result {
	for i := range results {
		if results[i].name == name {
			return &results[i]
		}
	}
	return nil
}

func mib(info os.FileInfo) float64 {
	if info == nil {
		return 0
	}
	return float64(info.Size()) / (1 << 20)
}

func spread(d []time.Duration) string {
	return fmt.Sprintf("%.3f [%.3f-%.3f]", d[len(d)/2].Seconds(), d[0].Seconds(), d[len(d)-1].Seconds())
}

func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(raw))[0]
}
