// Package guesttest holds the tests of the agent in a real Debian guest: the two
// units on their own kernel, against the shipped control plane.
//
// The parties: one guest of internal/debguest, with the agent as its two units
// of deploy/systemd; one house of internal/fleet on the machine, whose control
// plane the guest reaches by qemu's user networking alone.
//
// The promise: what a receipt says is compared with what the guest's own dpkg,
// kernel and service manager say, also after a power cut and a reboot.
//
// It has no code of the product; `make test-guest` runs it.
package guesttest
