//go:build tools

package main

import _ "github.com/anchore/grype/cmd/grype" // built from here, so that its version is pinned
