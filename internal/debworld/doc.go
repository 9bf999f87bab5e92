// Package debworld is the workshop in which tests and the demo make real Debian
// hosts and real signed APT repositories.
//
// The parties: the machine (root, its own APT mirror, the tools of debian.txt),
// a [Repo] that plays the vendor, the [Key]s of that vendor, and [Root]s that
// play the hosts.
//
// The objects: a [Package] is a .deb described as a Go value, built in memory
// with the same bytes every time; a Repo is a directory that real apt accepts,
// or refuses for exactly the reason a [Publication] asks for; a base root is one
// Debian system built by mmdebstrap and kept in a cache; a Root is a clone of
// it, as an overlay (cheap, removed afterwards) or as plain files (kept).
//
// The promise: what is made here is what Debian would make. Nothing in it is a
// double: dpkg, apt and gpgv read it. No mount and no process outlives the
// cleanup of its Root, and a machine that lacks something is told so by a
// [Missing], never by a strange failure.
//
// What it does not do: it is no part of the product. Nothing that is shipped
// links it, except commands that show the product at work (`patchwrit demo`).
// It never changes the machine's own packages. A Root is a place to run trusted
// test programs, not a sandbox: it shares the machine's network unless the
// caller takes it away.
package debworld
