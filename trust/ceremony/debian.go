package ceremony

import (
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/trust"
)

// DebianKeyring is the name under which DebianOrigins look for their keyring:
// the bytes of debian-archive-keyring.gpg, as the machine's own package has it.
const DebianKeyring = "debian-archive-keyring.gpg"

// DebianOrigins are the three sources of a Debian release ("bookworm"): main,
// its updates, and security. Two keys must have signed each: Debian signs with
// the automatic keys of two releases, and main with the stable release key too.
func DebianOrigins(release string) []trust.Origin {
	origin := func(id change.Origin, label, tail string) trust.Origin {
		o := trust.Origin{ID: id, Keyring: DebianKeyring, Signers: 2, Origin: "Debian", Label: label, Codename: release + tail, Sections: []string{"main"}}
		for _, age := range []string{"stable", "oldstable", "oldoldstable"} {
			o.Suites = append(o.Suites, age+tail)
		}
		return o
	}
	return []trust.Origin{
		origin("debian", "Debian", ""),
		origin("debian-updates", "Debian", "-updates"),
		origin("debian-security", "Debian-Security", "-security"),
	}
}

// DebianCritical is the default list of what is always in the highest class and
// never under a grant: what decides whether a machine boots, who gets in, and
// what may be installed.
//
// OpenSSL's libraries are left out on purpose. They need patches more often and
// faster than anything here, and grants are how that is done; what can break, a
// lost symbol, shows when the artefacts are compared, and raises the class. A
// house that sees it otherwise adds libssl* to its list.
func DebianCritical() change.List {
	l := change.List{
		Packages: []string{
			// Boot: kernel, its early user space, processors' firmware, loaders, init.
			"linux-image-*", "initramfs-tools*", "dracut*", "kmod", "intel-microcode", "amd64-microcode",
			"grub*", "shim*", "systemd*", "libsystemd*", "udev", "libudev*", "init", "sysvinit-core", "cryptsetup*",
			// What every program stands on.
			"libc6*", "libc-bin",
			// Who gets in, and as whom.
			"openssh-server", "openssh-client", "openssh-sftp-server", "sudo*", "libpam*", "login", "passwd", "polkitd", "pkexec",
			// What installs software, and what vouches for it.
			"apt", "apt-*", "libapt-pkg*", "dpkg*", "gpgv*", "debian-archive-keyring",
			// What judges permissions: trust.AgentPackage among them.
			"patchwrit*",
		},
		Paths: []string{
			"/boot/", "/lib/modules/", "/usr/lib/modules/",
			"/lib/security/", "/usr/lib/security/", "/etc/pam.d/", "/etc/pam.conf", "/etc/security/",
			"/etc/sudoers", "/etc/ssh/", "/etc/ld.so.", "/etc/nsswitch.conf", "/etc/polkit-1/", "/usr/share/polkit-1/",
			"/lib/systemd/system-generators/", "/usr/lib/systemd/system-generators/",
			"/etc/apt/", "/usr/lib/apt/", "/etc/dpkg/", "/usr/share/keyrings/",
			"/etc/patchwrit/", "/usr/lib/patchwrit/", "/var/lib/patchwrit/",
		},
	}
	for _, machine := range []string{"x86_64-linux-gnu", "i386-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", "powerpc64le-linux-gnu", "s390x-linux-gnu", "riscv64-linux-gnu"} {
		l.Paths = append(l.Paths, "/lib/"+machine+"/security/", "/usr/lib/"+machine+"/security/")
	}
	return l
}

// Quorums are the default thresholds: two people for everything but a halt and
// a revocation, or one where the house is solo. From sensitive up each of the
// roles must be among them, all different people.
func Quorums(solo bool, roles ...string) []trust.Quorum {
	least, needs := 2, []trust.RoleNeed{}
	if solo {
		least = 1
	}
	for _, role := range roles {
		needs = append(needs, trust.RoleNeed{Role: role, People: 1})
	}
	quorums := []trust.Quorum{}
	for _, name := range trust.QuorumNames {
		q := trust.Quorum{For: name, People: least, Roles: []trust.RoleNeed{}}
		switch name {
		case "halt", "revoke":
			q.People = 1
		case "sensitive", "critical", "grant", "rollback":
			q.People, q.Roles = max(least, len(roles)), needs
		}
		quorums = append(quorums, q)
	}
	return quorums
}
