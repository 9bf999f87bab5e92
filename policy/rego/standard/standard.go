// Package standard holds the rules that come with Patchwrit, as Rego source. A
// house signs them, or its own, with rego.Sign and pins the bundle in its trust
// root; nothing evaluates them from here unsigned.
package standard

import "embed"

// Rules are the .rego files.
//
//go:embed *.rego
var Rules embed.FS
