// Package debguest is the workshop in which tests boot a real Debian guest: its
// own kernel, systemd, reboots and power cuts, where a root directory of
// internal/debworld cannot serve.
//
// The parties: the machine (root, its APT mirror, qemu), a [Guest] that qemu
// runs without KVM, and inside it Debian's own qemu-guest-agent, through which
// the test reads, writes and executes. The objects: a base image, built once by
// the recipe in image.go and kept in debworld's cache; for each guest a
// directory of its own with an overlay of the image, sockets and the console's
// words.
//
// The promise: everything in the guest is Debian's, with pending updates of the
// kernel among them. [Guest.PowerCut] loses what the guest's kernel had not
// written, as a power cut does; [Guest.Boot] takes the newest kernel on the
// guest's disk by the order of versions. Nothing outlives [Guest.Close], also
// when the test fails.
//
// What it does not do: there is no boot loader in the guest, qemu is handed the
// kernel and a small initial root made here. The machine's own page cache
// survives a power cut, so a disk that loses what it had confirmed is not
// played. Debian's tiny-initramfs stands where most hosts have initramfs-tools,
// because without KVM the latter costs minutes for each kernel.
package debguest
