package proposal

import (
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
)

// TypeFile is the type of a File.
const TypeFile = "patchwrit/planfile/v1"

// File is a whole plan as it travels between people: canonical JSON. Who signs
// signs the header; ReadFile shows that all the rest belongs to it.
type File struct {
	Type     string        `json:"type"`
	Header   plan.Header   `json:"header"`
	Branches []plan.Branch `json:"branches"` // ascending by host
	Dossier  Dossier       `json:"dossier"`
}

// NewFile puts a plan and its dossier together.
func NewFile(h plan.Header, branches []plan.Branch, d Dossier) File {
	return File{Type: TypeFile, Header: h, Branches: branches, Dossier: d}
}

// Bytes are the file's canonical bytes.
func (f File) Bytes() []byte { return canon.MustEncode(f) }

// ReadFile reads a plan file and opens it: the branches are the header's tree,
// and the dossier is the one the header names. The error is canon.ErrForm or
// plan.ErrForm.
func ReadFile(raw []byte) (File, error) {
	var f File
	if err := canon.Decode(raw, &f); err != nil {
		return File{}, fmt.Errorf("this is no plan file: %w", err)
	}
	if err := f.Open(); err != nil {
		return File{}, err
	}
	return f, nil
}

// Open says why the parts of the file do not belong together, or nil; the
// error is plan.ErrForm.
func (f File) Open() error {
	if f.Type != TypeFile {
		return fmt.Errorf("%w: a file of type %q, not %q", plan.ErrForm, canon.NoteOf(f.Type), TypeFile)
	}
	if err := whole.Open(f.Header, f.Branches); err != nil {
		return err
	}
	if got := f.Dossier.Digest(); got != f.Header.Dossier {
		return fmt.Errorf("%w: the dossier is %s, the header names %s", plan.ErrForm, got.Short(), f.Header.Dossier.Short())
	}
	return f.Dossier.describes(f.Branches)
}

// describes holds the dossier to the branches: who signs reads the dossier, so
// it must speak of exactly the hosts and changes that are signed.
func (d Dossier) describes(branches []plan.Branch) error {
	if len(d.Hosts) != len(branches) {
		return fmt.Errorf("%w: the dossier speaks of %d hosts, the plan of %d", plan.ErrForm, len(d.Hosts), len(branches))
	}
	for i := 1; i < len(d.Artefacts); i++ {
		if d.Artefacts[i-1].key() >= d.Artefacts[i].key() {
			return fmt.Errorf("%w: the dossier's artefacts are not strictly ascending", plan.ErrForm)
		}
	}
	for i, b := range branches {
		if err := d.describe(d.Hosts[i], b); err != nil {
			return fmt.Errorf("%w: host %s: %v", plan.ErrForm, b.Host.Short(), err)
		}
	}
	return nil
}

func (d Dossier) describe(h Host, b plan.Branch) error {
	if h.ID != b.Host || len(h.Causes) != len(b.Changes) {
		return fmt.Errorf("the dossier's part is of host %s with %d changes", canon.NoteOf(string(h.ID)), len(h.Causes))
	}
	if err := d.direction(b.Changes); err != nil {
		return err
	}
	for i, c := range b.Changes {
		if h.Causes[i].Key != c.Key() {
			return fmt.Errorf("the cause of %s is given for %s", c.Key(), canon.NoteOf(h.Causes[i].Key))
		}
		if err := d.knows(c, b.Rollback[i]); err != nil {
			return err
		}
	}
	return nil
}
