// Package fleet is the workshop in which demo and tests found a whole house and
// run it: Debian hosts with addresses of their own, witnesses, a control plane,
// one agent per host.
//
// The parties: a [Street], the network of one run; a [Machine], one Debian host
// on it, which boots, loses its power and its cable; a [Process], one of the
// three shipped programs under its own name. Everything that happens to them is
// done as people do it: by the programs' verbs, by signals, by pulling a cable.
//
// The promise: a host reaches the street's address and nothing else; names and
// addresses are this run's own, so that runs beside each other do not meet; what
// is opened is closed by Close, and what a killed run has left is swept away by
// the next one.
//
// What it does not do: it is no part of the product and nothing shipped links
// it. The hosts share the machine's kernel and are no sandbox against root.
package fleet
