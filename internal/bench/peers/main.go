// Command peers measures patchwrit beside osv-scanner and grype: one Debian
// host, the same records, the same run. It writes its part of
// docs/BENCHMARKS.md, or says what could not be had.
//
// The parties: the peers, built here at pinned versions from the Go module proxy
// into a directory of their own; this machine's dpkg status; records that are
// made from it with a fixed seed, since the official zip cannot be had
// everywhere. Processor time is the kernel's (user and system, the whole
// process), memory that of time(1), so that this program's own does not count.
// What each finds is compared as a set, and every difference is put under a
// reason; one without a reason is an error.
//
// It asserts no time. It links to no binary.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("dir", filepath.Join(os.TempDir(), "patchwrit-peers"), "directory of the tools and the data; kept for the next run")
	runs := flag.Int("n", 5, "runs of each, after one that does not count")
	without := flag.String("without", "", "a peer to leave out: osv-scanner or grype")
	flag.Parse()
	if err := bench(*dir, *runs, *without); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func bench(dir string, runs int, without string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	w := world{dir: dir, without: without, root: filepath.Join(dir, "root"), zip: filepath.Join(dir, "osv", "osv-scalibr", "Debian", "all.zip"),
		index: filepath.Join(dir, "debian.index"), grype: filepath.Join(dir, "grype", "6")}
	for _, step := range []func() error{w.tools, w.host, w.records, w.compile} {
		if err := step(); err != nil {
			return err
		}
	}
	results, err := w.race(runs)
	if err != nil {
		return err
	}
	found, err := w.compare(results)
	if err != nil {
		return err
	}
	return w.write("docs/BENCHMARKS.md", results, found)
}

// world is where everything lies.
type world struct {
	dir, without, root, zip, index, grype string
	packages, made, rows                  int
	sources                               map[string]string // source by binary package of the status
	missing                               []string          // what could not be had, and why
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "peers: "+format+"\n", args...) }
