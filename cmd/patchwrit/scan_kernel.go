package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
)

// runningKernel is the release and build (uname -r, -v) that --kernel gives, or
// that this machine runs when it is what is looked at; "" when it is not known.
func runningKernel(cmd *cobra.Command, bill bool) (release, build string, err error) {
	release, err = cmd.Flags().GetString("kernel")
	if err != nil || release != "" {
		return release, "", err
	}
	root, err := cmd.Flags().GetString("root")
	if err != nil || bill || filepath.Clean(root) != "/" {
		return "", "", err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", "", fmt.Errorf("what runs cannot be learned: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), nil
}

// kernelReport is what runs against what is installed.
type kernelReport struct {
	Running   string            `json:"running"` // uname -r; "": not known
	Boot      inventory.Boot    `json:"boot"`
	Newest    string            `json:"newest"` // what the next boot runs
	Installed []inventory.Image `json:"installed"`
}

// newKernelReport is nil where no kernel is installed: in a container the host's
// runs, which is another system's.
func newKernelReport(k inventory.Kernel, build string) *kernelReport {
	boot := k.Boot(build)
	if boot == inventory.BootNone {
		return nil
	}
	return &kernelReport{Running: string(canon.NoteOf(k.Running)), Boot: boot, Newest: k.Newest().Release, Installed: k.Installed}
}

// gap says where no finding can be about what runs.
func (k *kernelReport) gap() (match.Reason, bool) {
	switch {
	case k == nil:
	case k.Boot == inventory.BootUnmatched:
		return match.Reason{Code: match.KernelUnmatched, Text: fmt.Sprintf("The kernel %s runs and is of no installed package, so no finding is about it; %s is the newest installed.", k.Running, k.Newest)}, true
	case k.Boot == inventory.BootReplaced:
		return match.Reason{Code: match.KernelUnmatched, Text: fmt.Sprintf("An older build of the kernel %s runs than is installed under this name, so no finding is about it until the system boots.", k.Running)}, true
	}
	return match.Reason{}, false
}

// runs says of a finding whether the kernel that it is about runs: "yes", "no";
// "" when it is about none, or that is not known.
func (k *kernelReport) runs(f match.Finding) string {
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

// why is the reason's code in a table, and whether the kernel that it is about runs.
func (f scanFinding) why() string {
	switch f.Runs {
	case "yes":
		return string(f.Reason.Code) + ", runs"
	case "no":
		return string(f.Reason.Code) + ", does not run"
	}
	return string(f.Reason.Code)
}

// table writes a line where there is something to say.
func (k *kernelReport) table(w io.Writer) {
	switch {
	case k == nil:
	case k.Boot == inventory.BootOlder:
		fmt.Fprintf(w, "kernel: %s runs, %s is installed and waits for a boot\n", k.Running, k.Newest)
	case k.Boot == inventory.BootNewest:
		fmt.Fprintf(w, "kernel: %s runs, the newest installed\n", k.Running)
	}
}
