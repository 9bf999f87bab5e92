package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/refusal"
)

var update = flag.Bool("update", false, "write deps.golden anew")

// TestDependenciesAreTheListedOnes makes every new package that the agent links
// a line in a diff.
func TestDependenciesAreTheListedOnes(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to ask")
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile("deps.golden", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("deps.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		old := strings.Fields(string(want))
		for _, l := range lines {
			if !slices.Contains(old, l) {
				t.Errorf("new: %s", l)
			}
		}
		for _, l := range old {
			if !slices.Contains(lines, l) {
				t.Errorf("gone: %s", l)
			}
		}
		t.Error("if this is meant, run the test with -update and say why in the commit")
	}
}

// run runs the program in this process.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	p := &program{ctx: context.Background(), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }}
	code = p.main(args)
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	writ := filepath.Join(dir, "writ")
	if err := os.WriteFile(writ, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	pin := strings.Repeat("ab", 32)
	all := []string{"apply", "--root", dir, "--writ", writ, "--pool", dir, "--trust", dir, "--state", filepath.Join(dir, "state"), "--root-sha256", pin}
	for name, c := range map[string]struct {
		args []string
		code int
		says string // on either stream
	}{
		"nothing":           {nil, exitUsage, "say what to do"},
		"an unknown verb":   {[]string{"shell"}, exitUsage, `no verb "shell"`},
		"help":              {[]string{"help"}, exitOK, "patchwrit-agent apply"},
		"a verb's help":     {[]string{"apply", "-h"}, exitOK, "-root-sha256"},
		"version":           {[]string{"version"}, exitOK, "unknown"},
		"an unknown flag":   {[]string{"apply", "--yes"}, exitUsage, "-yes"},
		"a missing flag":    {[]string{"apply", "--root", "/"}, exitUsage, "apply needs --writ"},
		"a short pin":       {append(all[:len(all)-1:len(all)-1], "abc"), exitUsage, "64 lower-case"},
		"no writ file":      {slices.Replace(slices.Clone(all), 4, 5, filepath.Join(dir, "none")), exitUsage, "no such file"},
		"no key":            {all, exitFailed, "PW-AGENT-KEY"},
		"status of nothing": {[]string{"status", "--state", dir}, exitFailed, "next:"},
		"gate by hand":      {[]string{"gate"}, exitRefused, "PW-APT-LOCKDOWN"},
		"gate, lock what":   {[]string{"gate", "open", "--root", dir}, exitUsage, "lock or unlock"},
		"lock no system":    {[]string{"gate", "lock", "--root", dir}, exitFailed, "PW-APT-ROOT"},
		"supervise by hand": {[]string{"supervise", "/etc/passwd"}, exitFailed, "no such file"},
	} {
		code, out, errs := run(c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit code %d, want %d with %q\n%s%s", name, code, c.code, c.says, out, errs)
		}
	}
}

func TestKeygenThenStatus(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	code, public, errs := run("keygen", "--state", dir)
	if code != exitOK || len(strings.TrimSpace(public)) != 64 || !strings.HasPrefix(errs, "fingerprint ") {
		t.Fatalf("%d\n%s%s", code, public, errs)
	}
	if _, again, _ := run("keygen", "--state", dir); again != public {
		t.Errorf("a second key: %s", again)
	}
	code, out, _ := run("status", "--state", dir, "-o", "json")
	var s struct{ Host string }
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != exitOK || !strings.Contains(errs, s.Host) {
		t.Errorf("%d, host %q, %v", code, s.Host, err)
	}
	if code, out, _ := run("status", "--state", dir); code != exitOK || !strings.Contains(out, "not enrolled") {
		t.Errorf("%d\n%s", code, out)
	}
}

func TestExitCodes(t *testing.T) {
	for code, want := range map[refusal.Code]int{
		"PW-WRIT-APPROVAL": exitApproval, "PW-WRIT-FORM": exitRefused, "PW-TRUST-PIN": exitRefused, "PW-APT-BYTES": exitRefused,
		"PW-APT-VENDOR": exitRefused, "PW-APT-SOLVER": exitRefused, "PW-APT-LOCK": exitFailed, "PW-APT-SPACE": exitFailed, "PW-AGENT-BUSY": exitFailed,
	} {
		if got := codeFor(refusal.New(code, "")); got != want {
			t.Errorf("%s: exit code %d, want %d", code, got, want)
		}
	}
	if got := codeFor(errors.New("plain")); got != exitFailed {
		t.Errorf("no refusal: exit code %d", got)
	}
}

func TestTheGateAnswersWithItsCode(t *testing.T) {
	code, _, errs := run("gate", "--expect", "/nonexistent", "--seal", strings.Repeat("0", 64))
	if code != exitRefused || !strings.Contains(errs, "PW-APT-GATE") {
		t.Errorf("%d\n%s", code, errs)
	}
	code, _, errs = run("gate", "--allow-everything")
	if code != exitRefused || !strings.Contains(errs, "PW-APT-GATE") {
		t.Errorf("%d\n%s", code, errs)
	}
}
