package control

import (
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/wire"
)

// TestWhatRuns: a clock ends only when it is known that nothing old runs.
func TestWhatRuns(t *testing.T) {
	const release, build = "6.1.0-42-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.159-1 (2025-12-30)"
	library := spotted{On: []cure{{Package: "libone1"}}}
	image := spotted{On: []cure{{Package: "linux-image-" + release}}}
	own := spotted{On: []cure{{Package: "house-kernel"}}}
	good := wire.Snapshot{Kernel: release, KernelBuild: build, Booted: 200, KernelAt: 100, MappedAt: 300}
	for name, c := range map[string]struct {
		change func(*wire.Snapshot)
		of     spotted
		why    string // "": it runs
	}{
		"a library":                      {func(*wire.Snapshot) {}, library, ""},
		"a library, an old kernel":       {func(s *wire.Snapshot) { s.Kernel = "6.1.0-41-amd64" }, library, ""},
		"a process on the old files":     {func(s *wire.Snapshot) { s.Mapped = []inventory.Mapping{{Path: "/usr/lib/libone.so.1"}} }, library, "1 deleted files are still in use, the first: /usr/lib/libone.so.1"},
		"an old list":                    {func(s *wire.Snapshot) { s.MappedWhy = "it is older" }, library, "it is older"},
		"an agent of the version before": {func(s *wire.Snapshot) { *s = s.In(2) }, library, "does not say when it looked"},
		"the kernel":                     {func(*wire.Snapshot) {}, image, ""},
		"the house's own kernel":         {func(s *wire.Snapshot) { s.Booted = 0 }, own, "not known whether"},
		"another kernel":                 {func(s *wire.Snapshot) { s.Kernel = "6.1.0-41-amd64" }, image, "runs, 6.1.0-42-amd64 is installed"},
		"replaced under its name":        {func(s *wire.Snapshot) { s.KernelAt = 200 }, image, "replaced under its name"},
		"it is not known when it came":   {func(s *wire.Snapshot) { s.KernelAt = 0 }, image, "not known whether"},
		"it is not known when it began":  {func(s *wire.Snapshot) { s.Booted = 0 }, image, "not known whether"},
		"an older build":                 {func(s *wire.Snapshot) { s.KernelBuild = "#1 SMP Debian 6.1.158-1 (2025-11-09)" }, image, `build "6.1.158-1" of kernel`},
		"a build that is no version":     {func(s *wire.Snapshot) { s.KernelBuild = "#1 SMP Debian _ (2025-11-09)" }, image, "build"},
		"another maker's build":          {func(s *wire.Snapshot) { s.KernelBuild = "#45~22.04.1-Ubuntu SMP" }, image, ""},
		"a kernel, and an old process":   {func(s *wire.Snapshot) { s.Mapped = []inventory.Mapping{{Path: "/x"}} }, image, "still in use"},
	} {
		s := good
		c.change(&s)
		inv := inventory.Inventory{Kernel: inventory.Kernel{Installed: []inventory.Image{{Release: release, Package: "house-kernel", Version: "6.1.159-1"}}}}
		if got := runsOf(s, inv).not(c.of); (got == "") != (c.why == "") || !strings.Contains(got, c.why) {
			t.Errorf("%s: %q, want %q", name, got, c.why)
		}
	}
	newer := func(release string) inventory.Inventory {
		return inventory.Inventory{Kernel: inventory.Kernel{Installed: []inventory.Image{{Release: "6.1.0-42-amd64", Version: "6.1.159-1"}, {Release: release, Version: "6.1.170-1"}}}}
	}
	if got := runsOf(good, newer("6.1.0-50-amd64")).not(image); !strings.Contains(got, "6.1.0-50-amd64 is installed") {
		t.Errorf("a newer one of the flavour: %q", got)
	}
	if got := runsOf(good, newer("6.1.0-50-rt-amd64")).not(image); got != "" {
		t.Errorf("a newer one of another flavour: %q", got)
	}
	if runsOf(good, inventory.Inventory{}).not(image) == "" {
		t.Error("a host without a kernel runs the fixed one")
	}
}
