// Command demo does Patchwrit's main job once, for real, and then attacks the
// result: a Debian root made here, its really pending security updates, real
// keys, a real log with two witnesses as processes of their own, real apt.
//
// What stands in for people is software and says so: their keys are files that
// this program made. Everything else is done by the three binaries in bin/, as
// a person would call them. Nothing outside demo/ and the cache is touched.
//
// PATCHWRIT_DEMO_YES=1 runs it through without a keyboard.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/patchwrit/patchwrit/internal/debworld"
)

func main() {
	clean := flag.Bool("clean", false, "remove what the demo left")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := filepath.Abs("demo")
	if err == nil && *clean {
		err = debworld.Remove(dir)
	} else if err == nil {
		err = run(ctx, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// hostName is the demo's only machine.
const hostName = "web-1"

// run plays the scenes one after the other.
func run(ctx context.Context, dir string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes a Debian root and runs its package manager: run it as root")
	}
	if err := debworld.Remove(dir); err != nil {
		return err
	}
	s := &stage{ctx: ctx, dir: dir, yes: os.Getenv("PATCHWRIT_DEMO_YES") == "1", began: time.Now(), summary: summary{Seconds: map[string]float64{}}}
	defer func() { err = errors.Join(err, s.strike()) }()
	for _, scene := range []struct {
		name, title string
		play        func() error
	}{
		{"host", "A Debian root, as the mirror's main suite has it: security updates are pending", s.makeHost},
		{"house", "A house: keys, a log, two witnesses, rules, the trust repository", s.foundHouse},
		{"scan", "Scan the host with the changelogs of the vendor's own signed packages", s.scan},
		{"plan", "Plan: exact changes by the real solver, and the way back", s.plan},
		{"approve", "Two people look and sign", s.approve},
		{"writ", "Log everything, issue the writ", s.issue},
		{"apply", "The host verifies the writ itself, then runs dpkg", s.apply},
		{"effective", "Is it effective? Scan again", s.rescan},
		{"refuse", "The same writ again, and a forged one: the host refuses", s.refuse},
		{"verify", "Evidence: one file, checked offline", s.verify},
		{"tamper", "Flip every byte of a small bundle, one at a time", s.tamper},
	} {
		began := time.Now()
		fmt.Printf("\n== %s\n", scene.title)
		if err := scene.play(); err != nil {
			return fmt.Errorf("%s: %w", scene.name, err)
		}
		s.summary.Seconds[scene.name] = round(time.Since(began))
	}
	return s.tell()
}

func round(d time.Duration) float64 {
	return float64(d.Round(100*time.Millisecond)) / float64(time.Second)
}

// summary is demo/summary.json.
type summary struct {
	Hosts    []hostSummary      `json:"hosts"`
	Attacks  []attack           `json:"attacks"`
	Evidence string             `json:"evidence"`
	Trust    string             `json:"trust"`
	Root     string             `json:"root_sha256"`
	Verify   verified           `json:"verify"`
	Tamper   tampered           `json:"tamper"`
	Software bool               `json:"software_keys"` // the approvers are files, not people
	Seconds  map[string]float64 `json:"seconds"`
}

type hostSummary struct {
	ID        string            `json:"id"`
	Before    map[string]string `json:"before"`
	After     map[string]string `json:"after"`
	Effective bool              `json:"effective"`
	Writ      string            `json:"writ"`
}

type attack struct {
	ID       string `json:"id"`
	Where    string `json:"where"`
	Expected string `json:"expected_code"`
	Code     string `json:"code"`
	Outcome  string `json:"outcome"`
	Control  bool   `json:"control_ok"`
}

type verified struct {
	OK     bool `json:"ok"`
	Checks int  `json:"checks"`
}

type tampered struct {
	Tried int `json:"tried"`
	Found int `json:"found"`
}

// tell writes the summary and prints its table.
func (s *stage) tell() error {
	s.summary.Seconds["total"] = round(time.Since(s.began))
	b, err := json.MarshalIndent(s.summary, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.in("summary.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Printf("\n== Done in %.0f s\n", s.summary.Seconds["total"])
	for _, h := range s.summary.Hosts {
		fmt.Printf("host %s: %d packages changed under writ %.12s\n", h.ID, len(h.After), h.Writ)
		for p, v := range h.After {
			fmt.Printf("  %-28s %s -> %s\n", p, h.Before[p], v)
		}
	}
	for _, a := range s.summary.Attacks {
		fmt.Printf("attack %-16s %-8s %s\n", a.ID, a.Outcome, a.Code)
	}
	fmt.Printf("evidence: %d checks ok; %d of %d flipped bytes found\n", s.summary.Verify.Checks, s.summary.Tamper.Found, s.summary.Tamper.Tried)
	fmt.Println("The approvers of this demo were software keys. summary: demo/summary.json; the root stays at demo/hosts/" + hostName + "/root until 'make clean-demo'.")
	return nil
}
