package debworld

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMirrorIsReadFromTheMachinesSources(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  Mirror
	}{
		"deb822 with two suites": {map[string]string{"sources.list.d/debian.sources": "" +
			"Types: deb\n# a comment\nURIs: http://mirror.test/debian/\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: KEYRING\n\n" +
			"Types: deb deb-src\nURIs: http://mirror.test/debian-security\nSuites: bookworm-security\nComponents: main contrib\n"},
			Mirror{"http://mirror.test/debian", "http://mirror.test/debian-security", "KEYRING"}},
		"one line each": {map[string]string{"sources.list": "" +
			"# deb http://old.test/debian bookworm main\ndeb-src http://src.test/debian bookworm main\n" +
			"deb [arch=amd64 signed-by=KEYRING] http://mirror.test/debian bookworm contrib main # ours\n",
			"sources.list.d/security.list": "deb  http://sec.test/s/ bookworm-security main\n"},
			Mirror{"http://mirror.test/debian", "http://sec.test/s", "KEYRING"}},
		"disabled and foreign sources are not taken": {map[string]string{"sources.list.d/a.sources": "" +
			"Enabled: no\nTypes: deb\nURIs: http://off.test/debian\nSuites: bookworm\nComponents: main\n\n" +
			"Types: deb\nURIs: cdrom:[x]/ http://on.test/debian\nSuites: bookworm\nComponents: main\nSigned-By: KEYRING\n\n" +
			"Types: deb\nURIs: http://other.test/trixie\nSuites: trixie\nComponents: main\n"},
			Mirror{"http://on.test/debian", "", "KEYRING"}},
		"a source without main is not taken": {map[string]string{"sources.list": "" +
			"deb http://contrib.test/debian bookworm contrib\ndeb [signed-by=KEYRING] http://mirror.test/debian bookworm main\n"},
			Mirror{"http://mirror.test/debian", "", "KEYRING"}},
		"a list of mirrors, as cloud images have": {map[string]string{
			"sources.list.d/a.sources": "Types: deb\nURIs: mirror+file:ETC/mirrors/debian.list\nSuites: bookworm\nComponents: main\nSigned-By:\n  KEYRING\n",
			"mirrors/debian.list":      "# first\nhttps://first.test/debian\nhttps://second.test/debian\n"},
			Mirror{"https://first.test/debian", "", "KEYRING"}},
	} {
		t.Run(name, func(t *testing.T) {
			etc := t.TempDir()
			fill := strings.NewReplacer("ETC", etc, "KEYRING", filepath.Join(etc, "keys.gpg"))
			put(t, filepath.Join(etc, "keys.gpg"), "")
			for path, text := range c.files {
				put(t, filepath.Join(etc, path), fill.Replace(text))
			}
			c.want.Keyring = fill.Replace(c.want.Keyring)
			if got, err := mirrorIn(etc); err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestMachineWithoutDebianSourcesIsMissing(t *testing.T) {
	etc := t.TempDir()
	put(t, filepath.Join(etc, "sources.list"), "deb http://mirror.test/ubuntu noble main\n")
	if _, err := mirrorIn(etc); !IsMissing(err) {
		t.Errorf("got %v, want a Missing", err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func FuzzReadSources(f *testing.F) {
	f.Add("Types: deb\nURIs: http://m.test/d\nSuites: bookworm\nComponents: main\n\n continued\n:\n", true)
	f.Add("deb [ signed-by=/k ] http://m.test/d bookworm main\ndeb [\ndeb x\n", false)
	f.Fuzz(func(t *testing.T, text string, deb822 bool) {
		list, err := readSources(strings.NewReader(text), deb822)
		if err != nil && len(text) <= maxSourcesFile {
			t.Errorf("a text of %d bytes was refused: %v", len(text), err)
		}
		for _, s := range list {
			if s.uri == "" || s.suite == "" || strings.ContainsAny(s.uri+s.suite, " \n\t") {
				t.Errorf("a source is not two words: %+v", s)
			}
		}
	})
}
