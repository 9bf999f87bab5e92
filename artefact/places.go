package artefact

import (
	"bytes"
	"path"
	"strings"

	"github.com/patchwrit/patchwrit/change"
)

// place is a directory or file whose contents the system acts upon by itself.
type place struct {
	kind    string
	prefix  string       // of the merged path
	changed change.Class // of a changed file there; a new one is always Sensitive
}

// places lists where a new file means new behaviour without anybody calling it.
// A changed file matters as much only where it is configuration of trust or
// rights: a changed unit adds nothing to the changed program it starts.
var places = []place{
	{"cron", "/etc/cron", change.Sensitive},
	{"cron", "/etc/anacrontab", change.Sensitive},
	{"cron", "/var/spool/cron/", change.Sensitive},
	{"sudoers", "/etc/sudoers", change.Sensitive},
	{"loader", "/etc/ld.so.", change.Sensitive},
	{"apt", "/etc/apt/", change.Sensitive},
	{"apt", "/etc/dpkg/", change.Sensitive},
	{"apt", "/usr/share/keyrings/", change.Sensitive},
	{"apt", "/usr/lib/apt/methods/", change.Sensitive},
	{"profile", "/etc/profile", change.Sensitive},
	{"profile", "/etc/bash.bashrc", change.Sensitive},
	{"profile", "/etc/environment", change.Sensitive},
	{"profile", "/etc/zsh/", change.Sensitive},
	{"profile", "/etc/skel/", change.Sensitive},
	{"profile", "/etc/X11/Xsession.d/", change.Sensitive},
	{"profile", "/root/", change.Sensitive},
	{"autostart", "/etc/xdg/autostart/", change.Sensitive},
	{"autostart", "/usr/share/gdm/greeter/autostart/", change.Sensitive},
	{"pam", "/etc/pam.d/", change.Sensitive},
	{"pam", "/usr/share/pam-configs/", change.Sensitive},
	{"pam", "/etc/security/", change.Sensitive},
	{"polkit", "/etc/polkit-1/", change.Sensitive},
	{"polkit", "/usr/share/polkit-1/", change.Sensitive},
	{"ssh", "/etc/ssh/", change.Sensitive},
	{"names", "/etc/nsswitch.conf", change.Sensitive},
	{"anchor", "/usr/share/ca-certificates/", change.Sensitive},
	{"anchor", "/usr/local/share/ca-certificates/", change.Sensitive},
	{"anchor", "/etc/ssl/", change.Sensitive},
	{"network", "/etc/network/if-", change.Sensitive},
	{"network", "/etc/NetworkManager/dispatcher.d/", change.Sensitive},
	{"network", "/usr/lib/NetworkManager/dispatcher.d/", change.Sensitive},
	{"network", "/etc/dhcp/", change.Sensitive},
	{"generator", "/usr/lib/systemd/system-generators/", change.Sensitive},
	{"generator", "/usr/lib/systemd/user-generators/", change.Sensitive},
	{"generator", "/usr/lib/systemd/system-environment-generators/", change.Sensitive},
	{"kernel-hook", "/etc/kernel/", change.Sensitive},
	{"kernel-hook", "/usr/share/initramfs-tools/", change.Sensitive},
	{"kernel-hook", "/etc/initramfs-tools/", change.Sensitive},
	{"unit", "/usr/lib/systemd/system/", change.Routine},
	{"unit", "/usr/lib/systemd/user/", change.Routine},
	{"unit", "/usr/lib/systemd/system-preset/", change.Routine},
	{"unit", "/usr/lib/systemd/system-shutdown/", change.Routine},
	{"unit", "/usr/lib/systemd/system-sleep/", change.Routine},
	{"unit", "/etc/systemd/", change.Routine},
	{"init", "/etc/init.d/", change.Routine},
	{"init", "/etc/rc", change.Routine},
	{"init", "/etc/xinetd.d/", change.Routine},
	{"init", "/etc/inetd.conf", change.Routine},
	{"udev", "/etc/udev/", change.Routine},
	{"udev", "/usr/lib/udev/rules.d/", change.Routine},
	{"dbus", "/etc/dbus-1/", change.Routine},
	{"dbus", "/usr/share/dbus-1/system-services/", change.Routine},
	{"dbus", "/usr/share/dbus-1/system.d/", change.Routine},
	{"tmpfiles", "/usr/lib/tmpfiles.d/", change.Routine},
	{"sysusers", "/usr/lib/sysusers.d/", change.Routine},
	{"sysctl", "/usr/lib/sysctl.d/", change.Routine},
	{"sysctl", "/etc/sysctl.", change.Routine},
	{"module", "/usr/lib/modprobe.d/", change.Routine},
	{"module", "/etc/modprobe.d/", change.Routine},
	{"module", "/usr/lib/modules-load.d/", change.Routine},
	{"module", "/etc/modules", change.Routine},
	{"binfmt", "/usr/lib/binfmt.d/", change.Routine},
	{"binfmt", "/usr/share/binfmts/", change.Routine},
	{"logrotate", "/etc/logrotate.", change.Routine},
}

// placeOf finds the place a merged path lies in.
func placeOf(merged string) (place, bool) {
	for _, p := range places {
		if strings.HasPrefix(merged, p.prefix) {
			return p, true
		}
	}
	return place{}, false
}

// aliased are the directories that Debian 12 has merged into /usr: both
// spellings name one file on a host.
var aliased = []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"}

// merged gives the spelling below /usr of a path.
func merged(p string) string {
	for _, a := range aliased {
		if strings.HasPrefix(p, a) {
			return "/usr" + p
		}
	}
	return p
}

// listed reports whether the list names a prefix of the path in either spelling.
func listed(l change.List, p string) bool {
	m := merged(p)
	short := strings.TrimPrefix(m, "/usr")
	return l.HasPath(m) || (merged(short) == m && l.HasPath(short))
}

// starts knows which units of a package start by themselves.
type starts struct {
	links map[string]bool // names of links in .wants and .requires directories
	words map[string]bool // words of script lines that enable something
}

func startsOf(c *Contents) starts {
	s := starts{map[string]bool{}, map[string]bool{}}
	for _, f := range c.Files {
		if dir := path.Dir(f.Path); strings.HasSuffix(dir, ".wants") || strings.HasSuffix(dir, ".requires") {
			s.links[path.Base(f.Path)] = true
		}
	}
	for _, script := range c.Scripts {
		for line := range bytes.Lines(script.Text) {
			if !bytes.Contains(line, []byte("enable")) {
				continue
			}
			for _, w := range bytes.FieldsFunc(line, separates) {
				s.words[string(w)] = true
			}
		}
	}
	return s
}

// how says how a unit starts by itself: "link" when the package ships a link in
// a .wants or .requires directory, "script" when a maintainer script enables it
// by name, else "no".
func (s starts) how(unit string) string {
	switch base := path.Base(unit); {
	case s.links[base]:
		return "link"
	case s.words[base]:
		return "script"
	}
	return "no"
}

// separates reports what stands between words of a shell script.
func separates(r rune) bool { return strings.ContainsRune(" \t\r\n;&|()<>{}`'\"$=,/", r) }
