package ceremony

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/trust"
)

// Options is a new house.
type Options struct {
	Contents  Contents        // what it says; no quorums: Quorums(Contents.Solo); no critical list: DebianCritical()
	Names     []string        // keepers whose keys are made now
	Keys      []crypto.Signer // keepers who bring their Ed25519 keys
	Threshold int             // how many keepers must sign; zero: more than half of them
	KeysDir   string          // where the keys of Names are written, one file each, for the keepers to take away

	ControlDir string // the control plane's data directory, if this machine has one: no key is written into it
	Demo       bool   // allows KeysDir anywhere, and marks the repository as worth nothing

	Now    time.Time
	Life   Life
	Random io.Reader // nil: the system's
}

// Made is a new house on the disk.
type Made struct {
	Done
	KeyFiles []string // private keys that their keepers must now take away
	Demo     bool
}

// Init makes a trust repository in dir, which must not exist or be empty. When
// it fails it takes back the keys it has made.
func Init(dir string, o Options) (Made, error) {
	if len(o.Contents.Quorums) == 0 {
		o.Contents.Quorums = Quorums(o.Contents.Solo)
	}
	if len(o.Contents.Critical.Packages) == 0 {
		o.Contents.Critical = DebianCritical()
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if err := o.placed(dir); err != nil {
		return Made{}, err
	}
	made := Made{Demo: o.Demo}
	for _, name := range o.Names {
		key, file, err := WriteKey(o.KeysDir, name, o.Random)
		if err != nil {
			return Made{}, made.undo(err)
		}
		o.Keys, made.KeyFiles = append(o.Keys, key), append(made.KeyFiles, file)
	}
	if err := made.found(dir, o); err != nil {
		return Made{}, made.undo(err)
	}
	return made, nil
}

// undo takes back keys that belong to no house.
func (m *Made) undo(err error) error {
	for _, file := range m.KeyFiles {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

func (m *Made) found(dir string, o Options) error {
	k := Keepers{Threshold: cmp.Or(o.Threshold, len(o.Keys)/2+1)}
	for _, key := range o.Keys {
		public, ok := key.Public().(ed25519.PublicKey)
		if !ok {
			return fmt.Errorf("a keeper's key must be Ed25519, this one is %T", key.Public())
		}
		k.Keys = append(k.Keys, public)
	}
	files, pinned, err := Found(o.Contents, k, o.Demo, Signing{Keys: o.Keys, Now: o.Now, Life: o.Life})
	if err != nil {
		return err
	}
	m.Pinned, m.Files = pinned, files.order()
	if m.Root, err = trust.Load(files, pinned, trust.Versions{}, o.Now); err != nil {
		return err
	}
	return writeFiles(dir, files, m.Files)
}

// placed refuses a place for keys beside what they sign for or in the reach of
// the control plane, and a repository that is there already.
func (o Options) placed(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty; a house is founded once: choose another directory", dir)
	}
	if len(o.Names) == 0 {
		return nil
	}
	if o.KeysDir == "" {
		return errors.New("say where the keepers' keys go: a directory that is not the repository, best on a medium you can take away")
	}
	for _, pair := range [][2]string{{o.KeysDir, dir}, {dir, o.KeysDir}, {o.KeysDir, o.ControlDir}} {
		if o.Demo || pair[1] == "" {
			continue
		}
		inside, err := within(pair[0], pair[1])
		if err != nil {
			return err
		}
		if inside {
			return fmt.Errorf("%s lies in %s: whoever runs the control plane or carries the repository would hold the keepers' keys; choose another place (only a demo may leave them there)", pair[0], pair[1])
		}
	}
	return nil
}

// String tells a person what was made and what they do now.
func (m Made) String() string {
	var b strings.Builder
	if m.Demo {
		fmt.Fprintf(&b, "%s\n\n", demoWarning)
	}
	if m.Root.Solo {
		fmt.Fprintf(&b, "%s\n\n", soloWarning)
	}
	fmt.Fprintf(&b, "A new house, %s.\n\nGive this digest to every host by its image or the configuration management,\nnever by the control plane:\n\n  --root-sha256 %s\n", m.Pinned.Short(), m.Pinned)
	if len(m.KeyFiles) > 0 {
		fmt.Fprintf(&b, "\nThese are the keepers' private keys. Each keeper takes theirs away now and\nleaves no copy here:\n\n")
	}
	for _, file := range m.KeyFiles {
		fmt.Fprintf(&b, "  %s\n", file)
	}
	return b.String()
}

// Pseudonym makes a person's id. Names live elsewhere, where they can be erased.
func Pseudonym(random io.Reader) (trust.PersonID, error) {
	b := make([]byte, 4)
	_, err := io.ReadFull(random, b)
	return trust.PersonID("p-" + hex.EncodeToString(b)), err
}

// FromHostKey makes the entry of a machine.
func FromHostKey(public ed25519.PublicKey, domain string, labels ...trust.Label) trust.Host {
	return trust.Host{ID: trust.HostOf(public), Public: hex.EncodeToString(public), Domain: domain, Labels: filled(labels)}
}

// PinOf is the digest that readers of the repository in dir must pin. It does
// not say whose repository that is: take it only where the repository was made.
func PinOf(dir string) (canon.Digest, error) {
	b, err := os.ReadFile(filepath.Join(dir, "1.root.json"))
	if err != nil {
		return "", err
	}
	return canon.SumFile(b), nil
}
