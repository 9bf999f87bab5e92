// Command mutants shows that every check is load-bearing (promise P12): it
// takes each one out, one at a time, and expects a test to turn red.
//
// It reads the sources of the rooms that verify, finds every condition that
// ends in a refusal, and builds the room's tests once with `go test -overlay`,
// in which each condition can be made false by its number. Nothing of this is
// in a shipped binary: the numbers exist only in the overlay. Where tests take
// long, each one is first run by itself with all checks in place, to learn
// which conditions it makes true; a mutant then meets only those. A check whose
// removal no test notices is a survivor and fails the run, unless
// equivalent.txt names it with the reason why nothing can notice it.
//
// Rules in Rego are changed in their text instead: a rule or a condition is taken
// out, a condition negated, a comparison moved, a constant changed; the test_
// rules beside them judge, in this process.
//
// Usage: go run ./internal/mutants [-v] [room …]
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

//go:embed rooms.txt
var roomList string

//go:embed equivalent.txt
var equivalentList string

// limit is for one run of tests; a mutant that hangs is noticed.
const limit = 5 * time.Minute

type result struct {
	m      mutant
	killed bool
	met    int // tests that make it true; -1: not known
}

// machine reports whether the condition is only an error of the machine handed
// on, which no test on real roots has brought about: no safeguard, but how every
// failure is told.
func (r result) machine() bool { return r.met == 0 && r.m.cond == "err != nil" }

func main() {
	verbose := flag.Bool("v", false, "name every mutant")
	workers := flag.Int("j", 2, "mutants tested at the same time")
	flag.Parse()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := run(ctx, flag.Args(), *workers, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only []string, workers int, verbose bool) error {
	excuses, used := equivalents(equivalentList), map[string]bool{}
	total, survivors := 0, 0
	var told []string
	tell := func(format string, args ...any) {
		survivors++
		told = append(told, fmt.Sprintf(format, args...))
		fmt.Println(told[len(told)-1])
	}
	for _, r := range rooms(roomList) {
		if len(only) > 0 && !contains(only, r.path) {
			continue
		}
		began := time.Now()
		results, err := testRoom(ctx, r, workers, excuses)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		killed, machine := 0, 0
		for _, res := range results {
			switch {
			case res.machine():
				machine++
			case res.killed:
				killed++
				if verbose {
					fmt.Println("  red     ", res.m.name())
				}
			case excuses[res.m.name()] != "":
				used[res.m.name()] = true
			default:
				tell("  SURVIVOR %s  (%s:%d; %d tests meet it)", res.m.name(), res.m.file, res.m.line, res.met)
			}
		}
		total += len(results) - machine
		fmt.Printf("%-16s %4d checks taken out, %4d noticed, %.0f s\n", r.path, len(results)-machine, killed, time.Since(began).Seconds())
		if machine > 0 {
			fmt.Printf("%-16s %4d more places hand on an error of the machine that no test here brings about\n", "", machine)
		}
		for name := range excuses {
			if strings.HasPrefix(name, r.path+"/") && strings.Count(name[len(r.path)+1:strings.Index(name, ": ")], "/") == 0 && !used[name] {
				tell("  STALE    %s is in equivalent.txt, but its removal is noticed or it is gone", name)
			}
		}
	}
	fmt.Printf("%d checks taken out one at a time; %d not noticed and not excused; %d excused with a reason\n", total, survivors, len(used))
	if survivors > 0 {
		return fmt.Errorf("%d safeguards can be removed without a test turning red, or excuses that hold no more:\n%s", survivors, strings.Join(told, "\n"))
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if strings.Trim(l, "./") == s {
			return true
		}
	}
	return false
}

// testRoom builds the room's tests with the overlay and runs them for each
// mutant, after they were green without any. One with an excuse is noticed only
// if it is time after time.
func testRoom(ctx context.Context, r room, workers int, excuses map[string]string) ([]result, error) {
	if r.rego {
		return testRules(ctx, r)
	}
	dir, err := open(os.MkdirTemp("", "mutants-"))
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	mutants, overlay, err := mutate(r, dir)
	if err != nil {
		return nil, err
	}
	if len(mutants) == 0 {
		return nil, fmt.Errorf("no check found: is the room still there?")
	}
	b := &bench{ctx: ctx, room: r, dir: dir}
	if err := b.build(overlay); err != nil {
		return nil, err
	}
	if err := b.green(); err != nil {
		return nil, err
	}
	results, failed := make([]result, len(mutants)), make([]error, len(mutants))
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				red, err := b.judged(mutants[i], excuses[mutants[i].name()] != "")
				failed[i] = err
				results[i] = result{mutants[i], red, b.met(mutants[i].number)}
			}
		})
	}
	for i := range mutants {
		next <- i
	}
	close(next)
	wg.Wait()
	return results, errors.Join(failed...)
}
