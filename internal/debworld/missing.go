package debworld

import (
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"strings"
)

// DebianPackages is the list of Debian packages that the workshop needs, as the
// text of debian.txt: one "package command reason" a line, '#' starts a comment.
// `make deps` reads the same file.
//
//go:embed debian.txt
var DebianPackages string

// Missing says what this machine lacks for a real Debian world. It is not a
// failure of the code: tests skip on it and the demo falls back, saying so.
type Missing struct {
	Tools []string // commands that were not found, such as "mmdebstrap"
	Facts []string // other conditions, each a clause: "this process is not root"
}

// Error tells what is missing and what to install.
func (m Missing) Error() string {
	parts := append([]string(nil), m.Facts...)
	if len(m.Tools) > 0 {
		parts = append(parts, "not found: "+strings.Join(m.Tools, ", "))
	}
	text := "no real Debian hosts on this machine: " + strings.Join(parts, "; ")
	if pkgs := packagesOf(m.Tools); len(pkgs) > 0 {
		text += "; install with: apt-get install " + strings.Join(pkgs, " ")
	}
	return text
}

// IsMissing reports whether err says that the machine lacks something.
func IsMissing(err error) bool {
	var m Missing
	return errors.As(err, &m)
}

// need returns a Missing unless every tool is in PATH and, where asRoot is set,
// the process is root.
func need(asRoot bool, tools ...string) error {
	var m Missing
	if asRoot && os.Geteuid() != 0 {
		m.Facts = append(m.Facts, "this process is not root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			m.Tools = append(m.Tools, tool)
		}
	}
	if len(m.Tools)+len(m.Facts) > 0 {
		return m
	}
	return nil
}

// Requires returns a [Missing] unless this process is root and every tool is in
// PATH.
func Requires(tools ...string) error { return need(true, tools...) }

// packagesOf names the Debian packages that bring the tools, in the order of
// debian.txt.
func packagesOf(tools []string) []string {
	var pkgs []string
	for line := range strings.Lines(DebianPackages) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] == "#" {
			continue
		}
		for _, tool := range tools {
			if f[1] == tool {
				pkgs = append(pkgs, f[0])
			}
		}
	}
	return pkgs
}
