package schematest

import (
	"os/exec"
	"strings"
	"testing"
)

// ModuleDir is where the go command keeps the files of a module that go.mod names;
// a test reads schemas and samples there instead of copying them. It skips where
// the module's files are not there.
func ModuleDir(t testing.TB, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("the files of module %s are not here (go mod download %s): %v", path, path, err)
	}
	return dir
}
