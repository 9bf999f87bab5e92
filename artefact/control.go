package artefact

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/version"
)

// scripts are the members of a control archive that run as root: four by dpkg,
// config by debconf.
var scripts = []string{"preinst", "postinst", "prerm", "postrm", "config"}

// control takes one member of the control archive.
func (c *Contents) control(m member) error {
	path, err := clean(m.Name)
	if err != nil {
		return err
	}
	if m.kind() == Dir && path == "/" {
		return nil
	}
	name := path[1:]
	if m.kind() != Regular || strings.Contains(name, "/") {
		return refusal.New(codeType, "control archive: %.200q is a %s; only plain files at the top are allowed", m.Name, m.kind())
	}
	if c.has(name) {
		return refusal.New(codeTwice, "control archive: %q", name)
	}
	switch {
	case name == "control":
		return c.controlFile(m)
	case slices.Contains(scripts, name):
		return c.script(name, m)
	case name == "conffiles":
		c.Conffiles, err = lines(m)
		return err
	case name == "triggers":
		c.Triggers, err = lines(m)
		return err
	}
	c.Extra = append(c.Extra, name)
	return nil
}

// has reports whether a member of the control archive was seen.
func (c *Contents) has(name string) bool {
	switch name {
	case "control":
		return c.Package != ""
	case "conffiles":
		return c.Conffiles != nil
	case "triggers":
		return c.Triggers != nil
	}
	return slices.Contains(c.Extra, name) || slices.ContainsFunc(c.Scripts, func(s Script) bool { return s.Name == name })
}

// lines reads the non-empty lines of a control member; the result is not nil.
func lines(m member) ([]string, error) {
	text, err := m.text(MaxText)
	all := []string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all, err
}

func (c *Contents) script(name string, m member) error {
	text, err := m.text(MaxText)
	c.Scripts = append(c.Scripts, Script{Name: name, Text: text, Digest: canon.SumFile(text), Mentions: mentions(text)})
	return err
}

// words are what a reader of a maintainer script wants to be pointed at: rights,
// accounts, the network, code from elsewhere, other packages' files.
var words = []string{
	"adduser", "apt-get", "apt-key", "at", "base64", "chmod", "chown", "crontab", "curl", "dd", "dpkg-divert",
	"dpkg-statoverride", "eval", "iptables", "ld.so.preload", "mknod", "modprobe", "nc", "nft", "openssl", "passwd", "perl",
	"python", "python3", "setcap", "ssh", "sudo", "sysctl", "systemctl", "tcp", "useradd", "usermod", "visudo", "wget",
}

// mentions lists the words that a script contains as a whole word or as the
// last part of a path.
func mentions(text []byte) []string {
	found := []string{}
	for _, w := range bytes.FieldsFunc(text, separates) {
		if i, ok := slices.BinarySearch(words, string(w)); ok && !slices.Contains(found, words[i]) {
			found = append(found, words[i])
		}
	}
	slices.Sort(found)
	return found
}

// controlFile reads the file "control": one paragraph, no field twice.
func (c *Contents) controlFile(m member) error {
	text, err := m.text(MaxText)
	if err != nil {
		return err
	}
	bad := func(what string) error { return refusal.New(codeControl, "%s", what) }
	for line := range strings.Lines(strings.TrimRight(string(text), "\n")) {
		line = strings.TrimRight(line, "\n")
		if strings.TrimSpace(line) == "" {
			return bad("an empty line: more than one paragraph")
		}
		if strings.ContainsAny(line, "\r\x00") {
			return bad("a control character")
		}
		if line[0] == ' ' || line[0] == '\t' {
			if len(c.Fields) == 0 {
				return bad("the first line continues nothing")
			}
			c.Fields[len(c.Fields)-1].Value += "\n" + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") || name[0] == '#' || name[0] == '-' {
			return bad("a line that is no field")
		}
		if len(c.Fields) >= MaxFields {
			return refusal.New(codeLimit, "more than %d control fields", MaxFields)
		}
		if _, twice := c.field(name); twice {
			return refusal.New(codeControl, "field %.80q twice", name)
		}
		c.Fields = append(c.Fields, Field{Name: name, Value: strings.TrimSpace(value)})
	}
	return c.identify()
}

// field finds a control field whatever its case, as dpkg does.
func (c *Contents) field(name string) (string, bool) {
	for _, f := range c.Fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// identify fills what the control file says about the package.
func (c *Contents) identify() error {
	get := func(name string) string { v, _ := c.field(name); return v }
	if c.Package = get("Package"); !change.Name(c.Package) {
		return refusal.New(codeControl, "Package is %.80q", c.Package)
	}
	if c.Arch = get("Architecture"); !change.Name(c.Arch) {
		return refusal.New(codeControl, "Architecture is %.80q", c.Arch)
	}
	if c.Version = get("Version"); version.Valid(version.Deb, c.Version) != nil {
		return refusal.New(codeControl, "Version is %.80q", c.Version)
	}
	source, rest, versioned := strings.Cut(get("Source"), " (")
	c.Source, c.SourceVersion = cmp.Or(source, c.Package), c.Version
	if versioned {
		c.SourceVersion = strings.TrimSuffix(rest, ")")
	}
	if !change.Name(c.Source) || version.Valid(version.Deb, c.SourceVersion) != nil {
		return refusal.New(codeControl, "Source is %.80q", get("Source"))
	}
	c.Maintainer = get("Maintainer")
	c.Essential = get("Essential") == "yes" || get("Protected") == "yes" || get("Important") == "yes"
	return nil
}

// sort brings what came in the archive's order into one order.
func (c *Contents) sort() {
	slices.SortFunc(c.Fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Scripts, func(a, b Script) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(c.Conffiles)
	slices.Sort(c.Triggers)
	slices.Sort(c.Extra)
}
