// Package raced lets a test leave the race detector's stage.
//
// The parties: a test that takes ten times as long with the race detector, as it
// reads a million records in one goroutine or starts hundreds of processes, and
// the stages of the Makefile. The promise: a test that leaves make test-race is run without the
// detector by make test-e2e or make test-real, both parts of make test, and with
// it by make test-long; it says so where it is left out. It links to no binary.
package raced

import (
	"os"
	"testing"
)

// Leave skips the test when the race detector is on and this is not
// make test-long (PATCHWRIT_LONG). by names the stage that runs it without.
func Leave(t testing.TB, by string) {
	t.Helper()
	if On && os.Getenv("PATCHWRIT_LONG") == "" {
		t.Skipf("ten times as long with the race detector: %s runs it without, make test-long with it", by)
	}
}
