package match

import (
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/inventory"
)

// What runs and what is installed give a line or a gap, and each kernel's finding
// says whether it is the one that runs.
func TestKernelOf(t *testing.T) {
	image := func(release, version string) inventory.Image {
		return inventory.Image{Release: release, Package: "linux-image-" + release, Version: version}
	}
	const build = "#1 SMP Debian 6.1.159-1 (2025-12-30)"
	two := []inventory.Image{image("6.1.0-42-amd64", "6.1.159-1"), image("6.1.0-9-amd64", "6.1.27-1")}
	f := Finding{Package: "linux-image-6.1.0-42-amd64", Version: "6.1.159-1", Reason: Reason{Code: BelowFixed}}
	bash := Finding{Package: "bash", Version: "5", Reason: Reason{Code: BelowFixed}}
	for name, c := range map[string]struct {
		running, build string
		images         []inventory.Image
		own            bool
		says, gap, why string
	}{
		"the newest":               {"6.1.0-42-amd64", build, two, true, "kernel: 6.1.0-42-amd64 runs, the newest installed", "", "below-fixed, runs"},
		"an older one":             {"6.1.0-9-amd64", "", two, false, "kernel: 6.1.0-9-amd64 runs, 6.1.0-42-amd64 is installed and waits for a boot", "", "below-fixed, does not run"},
		"an older build":           {"6.1.0-42-amd64", "#1 SMP Debian 6.1.158-1 (2025-11-09)", two, true, "", "An older build of the kernel 6.1.0-42-amd64 runs than is installed under this name", "below-fixed, does not run"},
		"of no package":            {"6.12.1-mine", "", two, false, "", "The kernel 6.12.1-mine runs and is of no installed package, so no finding is about it; 6.1.0-42-amd64 is the newest installed.", "below-fixed, does not run"},
		"not known":                {"", "", two, false, "", "", "below-fixed"},
		"no package, its own":      {"6.6.31-0-odd", "", nil, true, "", "The kernel 6.6.31-0-odd runs, and no installed package is known to hold a kernel, so no finding is about it.", "below-fixed"},
		"no package, a container":  {"6.6.31-0-odd", "", nil, false, "", "", "below-fixed"},
		"no package, nothing runs": {"", "", nil, true, "", "", "below-fixed"},
		"what is not printable":    {"6\x1b[31m", "", two, false, "", `The kernel 6\x1b[31m runs`, "below-fixed, does not run"},
	} {
		k := KernelOf(inventory.Kernel{Running: c.running, Installed: c.images}, c.build, c.own)
		if (k == nil) != (c.images == nil && c.gap == "") || k != nil && k.Installed == nil {
			t.Errorf("%s: %+v", name, k)
		}
		g, ok := k.Gap()
		if k.Sentence() != c.says || ok != (c.gap != "") || !strings.HasPrefix(g.Text, c.gap) || ok && g.Code != KernelUnmatched {
			t.Errorf("%s: %q, %+v", name, k.Sentence(), g)
		}
		if got := f.Why(k.Runs(&f)); got != c.why {
			t.Errorf("%s: %s, want %s", name, got, c.why)
		}
		if got := bash.Why(k.Runs(&bash)); got != "below-fixed" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
