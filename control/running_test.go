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
	more := spotted{On: []cure{{Package: "one"}, {Package: "other", Source: "other"}}}
	gone, recorded := spotted{On: []cure{{Package: "libgone1"}}}, spotted{On: []cure{{Package: "libgone1", Source: "gone"}}}
	uses := func(owners ...string) func(*wire.Snapshot) {
		return func(s *wire.Snapshot) {
			m := inventory.Mapping{Path: "/usr/lib/libone.so.1", Process: "nginx (pid 812)"}
			for i := 0; i < len(owners); i += 2 {
				m.Owners = append(m.Owners, inventory.Owner{Package: owners[i], Source: owners[i+1]})
			}
			s.Mapped = append(s.Mapped, m)
		}
	}
	good := wire.Snapshot{Kernel: release, KernelBuild: build, Booted: 200, KernelAt: 100, MappedAt: 300}
	for name, c := range map[string]struct {
		change func(*wire.Snapshot)
		of     spotted
		why    string // "": it runs
	}{
		"a library":                      {func(*wire.Snapshot) {}, library, ""},
		"a library, an old kernel":       {func(s *wire.Snapshot) { s.Kernel = "6.1.0-41-amd64" }, library, ""},
		"a process on the old files":     {func(s *wire.Snapshot) { s.Mapped = []inventory.Mapping{{Path: "/usr/lib/libone.so.1"}} }, library, "a process still uses the deleted file /usr/lib/libone.so.1, of which it is not known whose"},
		"whose the file was":             {uses("libone1:amd64", "one"), library, "process nginx (pid 812) still uses the deleted file /usr/lib/libone.so.1 of libone1:amd64 (source one)"},
		"another package's file":         {uses("libtwo1:amd64", "two"), library, ""},
		"a neighbour's file":             {uses("one-tools:amd64", "one"), library, "of one-tools:amd64 (source one)"},
		"its name before its source":     {uses("libone1:amd64", "former"), library, "of libone1:amd64 (source former)"},
		"two packages list the file":     {uses("libtwo1:amd64", "two", "libone1:i386", "one"), library, "of libone1:i386 (source one)"},
		"nobody's file beside one's":     {func(s *wire.Snapshot) { uses("libtwo1:amd64", "two")(s); uses()(s) }, library, "that holds every clock of the host"},
		"an owner without a name":        {uses("", "two"), library, "holds every clock"},
		"an owner without a source":      {uses("libtwo1:amd64", ""), library, "holds every clock"},
		"one of two that were affected":  {uses("other-tools:amd64", "other"), more, "of other-tools:amd64 (source other)"},
		"neither of two":                 {uses("libtwo1:amd64", "two"), more, ""},
		"a package that is gone":         {uses("libtwo1:amd64", "two"), gone, "not known from which source libgone1 was built"},
		"gone, and its own file":         {uses("libgone1:amd64", "gone"), gone, "of libgone1:amd64 (source gone)"},
		"gone, of a source that is told": {uses("libtwo1:amd64", "two"), recorded, ""},
		"gone, and its neighbour's file": {uses("gone-tools:amd64", "gone"), recorded, "of gone-tools:amd64 (source gone)"},
		"the agent of protocol 3":        {func(s *wire.Snapshot) { uses("libtwo1:amd64", "two")(s); *s = s.In(3) }, library, "holds every clock"},
		"another's file, an old list":    {func(s *wire.Snapshot) { uses("libtwo1:amd64", "two")(s); s.MappedWhy = "it is older" }, library, "it is older"},
		"a kernel, another's file":       {uses("libtwo1:amd64", "two"), image, ""},
		"an old list":                    {func(s *wire.Snapshot) { s.MappedWhy = "it is older" }, library, "it is older"},
		"it is not said when":            {func(s *wire.Snapshot) { s.MappedAt = 0 }, library, "does not say when it looked"},
		"the kernel":                     {func(*wire.Snapshot) {}, image, ""},
		"the house's own kernel":         {func(s *wire.Snapshot) { s.Booted = 0 }, own, "not known whether"},
		"another kernel":                 {func(s *wire.Snapshot) { s.Kernel = "6.1.0-41-amd64" }, image, "runs, 6.1.0-42-amd64 is installed"},
		"replaced under its name":        {func(s *wire.Snapshot) { s.KernelAt = 200 }, image, "replaced under its name"},
		"it is not known when it came":   {func(s *wire.Snapshot) { s.KernelAt = 0 }, image, "not known whether"},
		"it is not known when it began":  {func(s *wire.Snapshot) { s.Booted = 0 }, image, "not known whether"},
		"an older build":                 {func(s *wire.Snapshot) { s.KernelBuild = "#1 SMP Debian 6.1.158-1 (2025-11-09)" }, image, `build "6.1.158-1" of kernel`},
		"a build that is no version":     {func(s *wire.Snapshot) { s.KernelBuild = "#1 SMP Debian _ (2025-11-09)" }, image, "build"},
		"another maker's build":          {func(s *wire.Snapshot) { s.KernelBuild = "#45~22.04.1-Ubuntu SMP" }, image, ""},
		"a kernel, and an old process":   {func(s *wire.Snapshot) { s.Mapped = []inventory.Mapping{{Path: "/x"}} }, image, "still uses the deleted file /x"},
	} {
		s := good
		c.change(&s)
		inv := inventory.Inventory{Packages: []inventory.Package{{Name: "libone1", Arch: "amd64", Source: "one"}, {Name: "one", Arch: "amd64", Source: "one"},
			{Name: "linux-image-" + release, Source: "linux"}, {Name: "house-kernel", Source: "house-kernel"}}, Kernel: inventory.Kernel{Installed: []inventory.Image{{Release: release, Package: "house-kernel", Version: "6.1.159-1"}}}}
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
