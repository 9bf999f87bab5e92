package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// racer is one tool with what it reads.
type racer struct {
	name string // as in the table
	tool string // what must be there
	env  []string
	argv []string
	read func(raw []byte) (found, error)
}

// result is what its runs cost; cpu and wall ascending.
type result struct {
	racer
	cpu, wall []time.Duration
	peak      int // KiB, the highest
	out       int // bytes written
	found     found
}

func (r result) median() time.Duration { return r.cpu[len(r.cpu)/2] }

// Names of the racers.
const (
	oursZip = "patchwrit scan --feed, from the zip"
	oursIdx = "patchwrit-scan -index, prebuilt index"
	osv     = osvVersion + ", offline, from the same zip"
	grype   = grypeName + ", prebuilt database of the same records"
)

func (w *world) racers() []racer {
	status := filepath.Join(w.root, "var/lib/dpkg/status")
	return []racer{
		{osv, "osv-scanner", nil, []string{"scan", "source", "--offline", "--local-db-path", filepath.Join(w.dir, "osv"), "-L", "dpkg-status:" + status, "--format", "json"}, readOSV},
		{oursZip, "patchwrit", nil, []string{"scan", "-q", "--root", w.root, "--feed", w.zip, "--feeds", filepath.Join(w.dir, "none"), "--max-age", "876000h", "-o", "json"}, readOurs},
		{grype, "grype", []string{"GRYPE_DB_CACHE_DIR=" + filepath.Dir(w.grype), "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false"}, []string{"-q", "dir:" + w.root, "-o", "json"}, readGrype},
		{oursIdx, "patchwrit-scan", nil, []string{"-root", w.root, "-index", w.index, "-max-age", "876000h", "-o", "json"}, readOurs},
	}
}

// race runs all in turns, so that neighbours on the machine disturb all alike.
func (w *world) race(runs int) ([]result, error) {
	var out []result
	for _, r := range w.racers() {
		if w.has(r.tool) {
			out = append(out, result{racer: r})
		}
	}
	for i := range runs + 1 {
		for j := range out {
			if err := w.once(&out[j], i > 0); err != nil {
				return nil, err
			}
		}
		say("run %d of %d done", i, runs)
	}
	for i := range out {
		slices.Sort(out[i].cpu)
		slices.Sort(out[i].wall)
	}
	return out, nil
}

func (w *world) once(r *result, counts bool) error {
	peak := filepath.Join(w.dir, "peak")
	cmd := exec.Command("time", append([]string{"-q", "-f", "%M", "-o", peak, w.bin(r.tool)}, r.argv...)...)
	cmd.Env = append(os.Environ(), r.env...)
	var out, fail bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fail
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if e := (*exec.ExitError)(nil); err != nil && !errors.As(err, &e) {
		return err
	}
	f, bad := r.read(out.Bytes())
	if bad != nil { // exit codes of findings differ; the answer counts
		return fmt.Errorf("%s gave no answer (%v): %w\n%s", r.name, err, bad, fail.String())
	}
	raw, err := os.ReadFile(peak)
	if err != nil {
		return err
	}
	kib, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return err
	}
	r.found, r.out = f, out.Len()
	if counts {
		r.cpu = append(r.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		r.wall = append(r.wall, wall)
		r.peak = max(r.peak, kib)
	}
	return nil
}
