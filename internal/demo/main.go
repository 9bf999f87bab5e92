// Command demo does Patchwrit's main job for real, on a fleet made here, and
// then attacks it: six Debian hosts with addresses of their own and really
// pending security updates, three witnesses, a control plane and an agent on
// every host as processes, real keys, a real log, real apt.
//
// What stands in for people is software and says so: their keys are files that
// this program made. Everything else is done by the three binaries in bin/, as
// people would call them. Nothing outside demo/ and the cache is touched, but
// for a bridge with the hosts' cables, which goes when the demo ends.
//
// Environment:
//
//	PATCHWRIT_DEMO_YES=1     run through without a keyboard
//	PATCHWRIT_DEMO_ONLY=a,b  plan for these packages instead of a small choice
//	PATCHWRIT_DEMO_SOAK=3s   soak of the grant; people choose hours
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/internal/fleet"
)

func main() {
	clean := flag.Bool("clean", false, "remove what the demo left")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := filepath.Abs("demo")
	if err == nil && *clean {
		err = errors.Join(fleet.Sweep(ctx), debworld.Remove(dir))
	} else if err == nil {
		err = run(ctx, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run plays the scenes one after the other.
func run(ctx context.Context, dir string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("the demo makes Debian hosts and runs their package managers: run it as root")
	}
	if err := debworld.Remove(dir); err != nil {
		return err
	}
	s := newStage(ctx, dir)
	defer func() { err = errors.Join(err, s.strike()) }()
	for _, scene := range []struct {
		name, title string
		play        func() error
	}{
		{"house", "Six Debian hosts as the mirror's main suite has them, and a house: keys, log, three witnesses, rules, trust repository, control plane", s.found},
		{"alone", "Hosts reach the control plane's address and nothing else", s.alone},
		{"grant", "A grant: people lend autonomy for routine changes, within limits that every host checks", s.grant},
		{"plans", "Agents tell what their hosts have; the control plane finds what is affected and makes plans", s.plans},
		{"routine", "The routine changes run under the grant, canaries first", s.routine},
		{"approve", "The high-risk changes wait for a quorum: two people look and sign", s.approve},
		{"critical", "Log, lease, writs wave by wave, canaries first; every host verifies its writ itself, then runs dpkg", s.critical},
		{"effective", "Is it effective? By the hosts' own signed receipts, and dpkg's word", s.effective},
		{"injected", "Words in a host's inventory, name and log have made no work", s.injected},
		{"evidence", "Evidence: one file a plan, checked offline", s.evidence},
		{"attacks", "The attacker owns everything but the people", s.attacks},
		{"tamper", "Flip every byte of a small bundle, one at a time", s.tamper},
	} {
		began := time.Now()
		fmt.Printf("\n== %s\n", scene.title)
		if err := scene.play(); err != nil {
			return fmt.Errorf("%s: %w", scene.name, err)
		}
		s.summary.Seconds[scene.name] = round(time.Since(began))
		fmt.Printf("   %.1f s\n", s.summary.Seconds[scene.name])
	}
	return s.tell()
}

func round(d time.Duration) float64 {
	return float64(d.Round(100*time.Millisecond)) / float64(time.Second)
}
