package docs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Binaries are what is shipped.
var Binaries = []string{"patchwrit", "patchwrit-agent", "patchwrit-witness"}

const (
	tableBegins = "<!-- linked modules: made by go run ./internal/docs/gen -->\n"
	tableEnds   = "<!-- end of linked modules -->\n"
	module      = "github.com/patchwrit/patchwrit"
)

// Module is one module that is linked.
type Module struct {
	Path, Version string
	By            []string // binaries that link it
	Direct        []string // those of them in which our own code imports it
}

// Linked asks the go command which modules each binary links, on Linux without
// cgo. dir is the repository's root.
func Linked(dir string) ([]Module, error) {
	all := map[string]*Module{}
	for _, name := range Binaries {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}\t{{.ImportPath}}\t{{join .Imports \" \"}}", "./cmd/"+name)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		of := map[string]string{} // module of each package
		ours := []string{}        // what our packages import
		for line := range strings.Lines(string(out)) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			path, version, _ := strings.Cut(f[0], " ")
			switch {
			case path == module:
				ours = append(ours, strings.Fields(f[2])...)
			case path != "":
				of[f[1]] = path
				if all[path] == nil {
					all[path] = &Module{Path: path, Version: version}
				}
				if !slices.Contains(all[path].By, name) {
					all[path].By = append(all[path].By, name)
				}
			}
		}
		for _, imp := range ours {
			if m := all[of[imp]]; m != nil && !slices.Contains(m.Direct, name) {
				m.Direct = append(m.Direct, name)
			}
		}
	}
	mods := []Module{}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		mods = append(mods, *all[path])
	}
	return mods, nil
}

// WithTable puts the table of linked modules into DEPENDENCIES.md, between its
// two marks.
func WithTable(text []byte, linked []Module) ([]byte, error) {
	head, rest, ok := bytes.Cut(text, []byte(tableBegins))
	_, tail, ok2 := bytes.Cut(rest, []byte(tableEnds))
	if !ok || !ok2 {
		return nil, errors.New("DEPENDENCIES.md has lost the marks of its table")
	}
	var b bytes.Buffer
	b.Write(head)
	b.WriteString(tableBegins + "\n| module | version | patchwrit | agent | witness |\n|---|---|---|---|---|\n")
	for _, m := range linked {
		fmt.Fprintf(&b, "| `%s` | %s |", m.Path, m.Version)
		for _, name := range Binaries {
			switch {
			case !slices.Contains(m.By, name):
				b.WriteString("  |")
			case slices.Contains(m.Direct, name):
				b.WriteString(" yes |")
			default:
				b.WriteString(" behind another |")
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n" + tableEnds)
	b.Write(tail)
	return b.Bytes(), nil
}
