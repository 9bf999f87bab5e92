package helper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Enrolled is what this host was enrolled to, as root wrote it down.
type Enrolled struct {
	Type      string       `json:"type"`      // TypeEnrolled
	Pinned    canon.Digest `json:"pinned"`    // SHA-256 of the trust repository's 1.root.json
	Root      canon.Note   `json:"root"`      // top directory of the system
	Messenger canon.Note   `json:"messenger"` // the messenger's directory
	Public    canon.Note   `json:"public"`    // directory of the socket and the facts
	UID       int          `json:"uid"`       // the messenger's user
}

// TypeEnrolled is the type of Enrolled.
const TypeEnrolled = "patchwrit/enrolled/v1"

const enrolledFile = "enrolled"

// ReadEnrolled reads it from a state directory.
func ReadEnrolled(state string) (Enrolled, error) {
	var e Enrolled
	raw, err := os.ReadFile(filepath.Join(state, enrolledFile))
	if errors.Is(err, fs.ErrNotExist) {
		return e, refusal.New(codeEnrolled, "%s holds no enrolment", state)
	} else if err == nil {
		err = canon.Decode(raw, &e)
	}
	if err != nil || e.Type != TypeEnrolled || !e.Pinned.Valid() {
		return e, refusal.New(codeEnrolled, "the enrolment in %s cannot be read: %v", state, err)
	}
	return e, nil
}

// Save writes it, once: a host is enrolled to one trust root for good.
func (e Enrolled) Save(state string) error {
	old, err := ReadEnrolled(state)
	if err == nil && old.Pinned != e.Pinned {
		return refusal.New(codeEnrolled, "this host is enrolled to %s, not to %s", old.Pinned.Short(), e.Pinned.Short())
	}
	path := filepath.Join(state, enrolledFile)
	err = os.WriteFile(path+".new", canon.MustEncode(e), 0o600)
	if err == nil {
		err = syncPath(path + ".new")
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncPath(state)
	}
	if err != nil {
		return refusal.New(codeEnrolled, "%v", err)
	}
	return nil
}
