package debworld

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Codename is the Debian release that base roots are made of.
const Codename = "bookworm"

const (
	// archiveKeyring is where Debian installs the keys of its own archive; it
	// is used when a source names no keyring of its own.
	archiveKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	// maxSourcesFile bounds one sources file. Real ones have a few hundred
	// bytes; one with an embedded key has some 10 KB.
	maxSourcesFile = 1 << 20
)

// Mirror says where this machine gets Debian from.
type Mirror struct {
	Main     string // base URL of the suite Codename
	Security string // base URL of Codename-security; empty when the machine has none
	Keyring  string // path of the OpenPGP keyring that signs both
}

// MirrorSources reads the machine's own APT sources, one-line and deb822, and
// returns the mirror of Codename in them. It returns a Missing when there is none.
func MirrorSources() (Mirror, error) { return mirrorIn("/etc/apt") }

func mirrorIn(etc string) (Mirror, error) {
	files := []string{filepath.Join(etc, "sources.list")}
	for _, glob := range []string{"*.list", "*.sources"} {
		found, err := filepath.Glob(filepath.Join(etc, "sources.list.d", glob))
		if err != nil {
			return Mirror{}, err
		}
		files = append(files, found...)
	}
	var all []source
	for _, file := range files {
		f, err := os.Open(file)
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return Mirror{}, err
		}
		list, err := readSources(f, strings.HasSuffix(file, ".sources"))
		f.Close()
		if err != nil {
			return Mirror{}, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, list...)
	}
	return pickMirror(all)
}

// source is one pair of a repository's base URL and a suite.
type source struct {
	uri, suite, signedBy string
	components           []string
}

func pickMirror(all []source) (Mirror, error) {
	var m Mirror
	for _, s := range all {
		uri, ok := resolveURI(s.uri)
		if !ok || !hasMain(s.components) {
			continue
		}
		switch {
		case s.suite == Codename && m.Main == "":
			m.Main = uri
			m.Keyring = s.signedBy
		case s.suite == Codename+"-security" && m.Security == "":
			m.Security = uri
		}
	}
	if m.Main == "" {
		return Mirror{}, Missing{Facts: []string{"the APT sources of this machine name no mirror of Debian " + Codename + " main"}}
	}
	if !strings.HasPrefix(m.Keyring, "/") {
		m.Keyring = archiveKeyring
	}
	if _, err := os.Stat(m.Keyring); err != nil {
		return Mirror{}, Missing{Facts: []string{"the keyring " + m.Keyring + " of the Debian archive is not there"}}
	}
	return m, nil
}

func hasMain(components []string) bool {
	for _, c := range components {
		if c == "main" {
			return true
		}
	}
	return false
}

// resolveURI accepts what a root can use as well as the machine can, and
// replaces "mirror+file:LIST", as Debian's cloud images have it, by the first
// mirror of that list.
func resolveURI(uri string) (string, bool) {
	if list, ok := strings.CutPrefix(uri, "mirror+file:"); ok {
		raw, err := os.ReadFile(list)
		if err != nil {
			return "", false
		}
		uri = firstWord(string(raw))
	}
	ok := strings.HasPrefix(uri, "http://") || strings.HasPrefix(uri, "https://")
	return strings.TrimRight(uri, "/"), ok
}

func firstWord(text string) string {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			return f[0]
		}
	}
	return ""
}

// readSources parses one APT sources file (sources.list(5)).
func readSources(r io.Reader, deb822 bool) ([]source, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxSourcesFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxSourcesFile {
		return nil, fmt.Errorf("larger than %d bytes, so it is no APT sources file", maxSourcesFile)
	}
	if deb822 {
		return readStanzas(string(raw)), nil
	}
	return readLines(string(raw)), nil
}

// readLines parses the one-line style: deb [ key=value … ] uri suite component…
func readLines(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		rest, ok := strings.CutPrefix(line, "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		signedBy := ""
		if opts, ok := strings.CutPrefix(rest, "["); ok {
			inner, after, closed := strings.Cut(opts, "]")
			if !closed {
				continue
			}
			for _, o := range strings.Fields(inner) {
				if v, ok := strings.CutPrefix(o, "signed-by="); ok {
					signedBy = v
				}
			}
			rest = after
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			all = append(all, source{uri: f[0], suite: f[1], signedBy: signedBy, components: f[2:]})
		}
	}
	return all
}

// readStanzas parses the deb822 style. A field may go on over lines that start
// with a blank.
func readStanzas(text string) []source {
	var all []source
	fields, last := map[string]string{}, ""
	flush := func() {
		all = append(all, stanzaSources(fields)...)
		fields, last = map[string]string{}, ""
	}
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, maxSourcesFile+1)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += " " + strings.TrimSpace(line)
		default:
			key, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(key))
			fields[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return all
}

func stanzaSources(fields map[string]string) []source {
	binary := false
	for _, t := range strings.Fields(fields["types"]) {
		binary = binary || t == "deb"
	}
	if !binary || strings.EqualFold(fields["enabled"], "no") {
		return nil
	}
	var all []source
	for _, uri := range strings.Fields(fields["uris"]) {
		for _, suite := range strings.Fields(fields["suites"]) {
			all = append(all, source{
				uri: uri, suite: suite, signedBy: strings.TrimSpace(fields["signed-by"]),
				components: strings.Fields(fields["components"]),
			})
		}
	}
	return all
}
