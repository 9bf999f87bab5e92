package match

import (
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
)

// Kernel is what runs against what is installed. A nil one is of a system that has
// no kernel of its own, and answers nothing.
type Kernel struct {
	Running   string            `json:"running"` // uname -r; "": not known
	Boot      inventory.Boot    `json:"boot"`
	Newest    string            `json:"newest"` // of the flavour that runs; "": no package holds a kernel
	Installed []inventory.Image `json:"installed"`
}

// KernelOf compares. build is what uname -v prints, "" when it is not known. own
// says that what runs belongs to this system though no package is known to hold a
// kernel (inventory.Owns); else there is none of its own, as in a container, where
// another system's runs.
func KernelOf(k inventory.Kernel, build string, own bool) *Kernel {
	boot := k.Boot(build)
	if boot == inventory.BootNone && own && k.Running != "" {
		boot = inventory.BootUnmatched
	}
	if boot == inventory.BootNone {
		return nil
	}
	return &Kernel{Running: string(canon.NoteOf(k.Running)), Boot: boot, Newest: k.Newest().Release, Installed: append([]inventory.Image{}, k.Installed...)}
}

// Gap says where no finding can be about what runs.
func (k *Kernel) Gap() (Reason, bool) {
	switch {
	case k == nil:
	case k.Boot == inventory.BootUnmatched && k.Newest == "":
		return Reason{KernelUnmatched, fmt.Sprintf("The kernel %s runs, and no installed package is known to hold a kernel, so no finding is about it.", k.Running)}, true
	case k.Boot == inventory.BootUnmatched:
		return Reason{KernelUnmatched, fmt.Sprintf("The kernel %s runs and is of no installed package, so no finding is about it; %s is the newest installed.", k.Running, k.Newest)}, true
	case k.Boot == inventory.BootReplaced:
		return Reason{KernelUnmatched, fmt.Sprintf("An older build of the kernel %s runs than is installed under this name, so no finding is about it until the system boots.", k.Running)}, true
	}
	return Reason{}, false
}

// Runs says of a finding whether the kernel that it is about runs: "yes", "no";
// "" when it is about none, or that is not known.
func (k *Kernel) Runs(f *Finding) string {
	if k == nil || k.Boot == inventory.BootUnknown {
		return ""
	}
	i, ok := inventory.Kernel{Installed: k.Installed}.ImageOf(f.Package, f.Version)
	switch {
	case !ok:
		return ""
	case i.Release == k.Running && k.Boot != inventory.BootReplaced:
		return "yes"
	}
	return "no"
}

// Why is the reason's code in a table, whether the kernel that it is about runs, as
// Kernel.Runs says it, and whether the sources disagree.
func (f *Finding) Why(runs string) string {
	why := string(f.Reason.Code)
	switch runs {
	case "yes":
		why += ", runs"
	case "no":
		why += ", does not run"
	}
	if f.Disputed() {
		why += ", sources disagree"
	}
	return why
}

// Sentence is a line for a table; "" where there is nothing to say.
func (k *Kernel) Sentence() string {
	switch {
	case k == nil:
	case k.Boot == inventory.BootOlder:
		return fmt.Sprintf("kernel: %s runs, %s is installed and waits for a boot", k.Running, k.Newest)
	case k.Boot == inventory.BootNewest:
		return fmt.Sprintf("kernel: %s runs, the newest installed", k.Running)
	}
	return ""
}
