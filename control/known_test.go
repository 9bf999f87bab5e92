package control

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/priority"
)

// TestSourcesAreReadAgainWhenTheyChange: at once then, and not before; a reading
// that failed is tried again after a while, and leaves what was known.
func TestSourcesAreReadAgainWhenTheyChange(t *testing.T) {
	now, source, reads := time.Unix(1_800_000_000, 0), "first", 0
	var broken, unnamed error
	c := &Control{trouble: map[string]string{}, Config: Config{Now: func() time.Time { return now }, Terms: Terms{Plan: 10 * time.Minute}, Logger: slog.New(slog.DiscardHandler)}}
	c.Known = func(_ context.Context, _ time.Time, wanted func(string) bool) (Knowledge, error) {
		reads++
		says := map[string]priority.Answer{"first": priority.No, "second": priority.Yes}[source]
		return func(cve string) priority.Known {
			if !wanted(cve) {
				return priority.Known{}
			}
			return priority.Known{KEV: says}
		}, broken
	}
	want := func(what string, n int, cve string, kev priority.Answer) {
		t.Helper()
		if know := c.knowing(t.Context(), cve); reads != n || know(cve).KEV != kev {
			t.Errorf("%s: read %d times, want %d; %s %q, want %q", what, reads, n, cve, know(cve).KEV, kev)
		}
	}
	c.KnownBy = func(time.Time) (string, error) { return source, unnamed }
	want("the first time", 1, "CVE-1", priority.No)
	want("again", 1, "CVE-1", priority.No)
	now = now.Add(time.Hour)
	want("later, the same sources", 1, "CVE-1", priority.No)
	want("another CVE", 2, "CVE-2", priority.No)
	source = "second"
	want("they changed", 3, "CVE-1", priority.Yes)
	source, broken = "first", errors.New("no")
	want("it cannot be read", 4, "CVE-1", priority.Yes)
	want("at once again", 4, "CVE-1", priority.Yes)
	broken, now = nil, now.Add(10*time.Minute)
	want("after a while", 5, "CVE-1", priority.No)
	unnamed = errors.New("no")
	want("nobody says what there is", 5, "CVE-1", priority.No)
	now = now.Add(10 * time.Minute)
	want("nobody says what there is, after a while", 6, "CVE-1", priority.No)
	c.KnownBy = nil
	want("sources without a name", 6, "CVE-1", priority.No)
	now = now.Add(-time.Hour)
	want("a clock that was set back", 7, "CVE-1", priority.No)
	now = now.Add(10 * time.Minute)
	want("sources without a name, after a while", 8, "CVE-1", priority.No)
}
