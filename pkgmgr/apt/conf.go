package apt

import (
	"fmt"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/version"
)

// Where things lie inside the root. The directory is the agent's own: root's,
// and nobody else can enter it.
const (
	ownDir   = "/var/lib/patchwrit"
	agentBin = ownDir + "/bin/patchwrit-agent"
	emptyDir = ownDir + "/empty" // stands for every directory of configuration that is not read
	runsDir  = ownDir + "/run"
	storeDir = ownDir + "/store"
	lockFile = ownDir + "/lock"

	aptGet = "/usr/bin/apt-get"
	dpkg   = "/usr/bin/dpkg"
)

// hookFD is the descriptor on which apt tells the gate what it is about to do.
const hookFD = "20"

// configuration is the whole apt configuration of one run: no source, no
// preference, no list and no hook of the host takes part. seconds bounds the
// wait for dpkg's lock.
func configuration(run string, seal canon.Digest, seconds int) string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"Dir::Etc::main", "/dev/null"},
		{"Dir::Etc::parts", emptyDir},
		{"Dir::Etc::sourcelist", "/dev/null"},
		{"Dir::Etc::sourceparts", emptyDir},
		{"Dir::Etc::preferences", "/dev/null"},
		{"Dir::Etc::preferencesparts", emptyDir},
		{"Dir::Etc::trusted", "/dev/null"},
		{"Dir::Etc::trustedparts", emptyDir},
		{"Dir::Etc::netrc", "/dev/null"},
		{"Dir::Etc::netrcparts", emptyDir},
		{"Dir::State::lists", run + "/lists"},
		// An own, empty one: so no package is marked as installed by hand that
		// was not, and none counts as no longer needed.
		{"Dir::State::extended_states", run + "/extended_states"},
		{"Dir::Cache::archives", run + "/archives"},
		{"Dir::Cache::pkgcache", ""},
		{"Dir::Cache::srcpkgcache", ""},
		{"Dir::Bin::dpkg", dpkg},
		{"APT::Sandbox::User", "root"}, // nothing is downloaded; _apt cannot enter the directory
		{"APT::Install-Recommends", "false"},
		{"APT::Install-Suggests", "false"},
		{"APT::Get::AutomaticRemove", "false"},
		{"APT::Get::Assume-Yes", "true"},
		{"APT::Get::Download", "false"},
		{"Acquire::AllowInsecureRepositories", "false"},
		{"DPkg::Use-Pty", "0"},
		{"DPkg::Lock::Timeout", fmt.Sprint(seconds)},
		{"DPkg::Tools::Options::" + agentBin + "::Version", "3"},
		{"DPkg::Tools::Options::" + agentBin + "::InfoFD", hookFD},
	} {
		fmt.Fprintf(&b, "%s %q;\n", kv[0], kv[1])
	}
	b.WriteString("DPkg::Options { \"--force-confold\"; \"--force-confdef\"; };\n")
	fmt.Fprintf(&b, "DPkg::Pre-Install-Pkgs { \"%s gate --expect %s/expectation --seal %s\"; };\n", agentBin, run, seal)
	return b.String()
}

// environment is all that apt, dpkg and maintainer scripts get.
func environment(run string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C", "LANG=C", "TERM=dumb", "SHELL=/bin/sh",
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NOWARNINGS=yes", "UCF_FORCE_CONFFOLD=1",
		"APT_CONFIG=" + run + "/apt.conf",
	}
}

// command is apt-get's command line for exactly these changes: every artefact
// by its path, every removal by name. native is dpkg's own architecture.
func command(run string, changes []change.Change, native string, simulate bool) []string {
	args := []string{aptGet, "-q", "-y", "--no-download", "--no-install-recommends"}
	removes, downs, again := false, false, false
	var what []string
	for _, c := range changes {
		removes = removes || c.Op == change.Remove
		downs = downs || c.Op == change.Downgrade
		again = again || c.From == c.To
		switch {
		case c.Op != change.Remove:
			what = append(what, run+"/archives/"+fileName(c))
		case c.Arch == "all" || c.Arch == native: // apt knows "all" under the native name
			what = append(what, c.Package+"-")
		default:
			what = append(what, c.Package+":"+c.Arch+"-")
		}
	}
	if simulate {
		args = append(args, "--simulate")
	}
	if !removes {
		args = append(args, "--no-remove")
	}
	if downs {
		args = append(args, "--allow-downgrades")
	}
	if again {
		args = append(args, "--reinstall")
	}
	return append(append(args, "install"), what...)
}

// fileName is the name that apt looks for in its archives: the parts of the
// name with ':' and '_' of the version quoted.
func fileName(c change.Change) string {
	v := strings.NewReplacer("%", "%25", ":", "%3a", "_", "%5f").Replace(c.To)
	return c.Package + "_" + v + "_" + c.Arch + ".deb"
}

// order is how apt writes that a version goes up, stays or goes down.
func order(old, new string) string {
	if old == "" {
		return "<"
	}
	n, err := version.Compare(version.Deb, old, new)
	switch {
	case err != nil:
		return "?"
	case n < 0:
		return "<"
	case n > 0:
		return ">"
	}
	return "="
}
