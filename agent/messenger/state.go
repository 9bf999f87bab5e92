package messenger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Names in the state directory.
const (
	serverFile   = "server"   // Server
	seedFile     = "wire.key" // nkey seed
	runFile      = "run"      // the newest start
	heldFile     = "held"     // held
	offerFile    = "offer"    // offer: what the helper is to try
	storedFile   = "stored"   // receipts that the control plane has, until the helper knows
	snapshotFile = "snapshot" // base: what the control plane has of the inventory
	blobsDir     = parley.BlobsDir
	trustDir     = parley.TrustDir
	poolDir      = parley.PoolDir
	partialDir   = "partial" // blobs that have not come whole yet
	reportsDir   = "reports" // wire.ReceiptRequest, until the control plane has them
	newSuffix    = ".new"
)

// Server is what this host was enrolled to.
type Server struct {
	Type   string       `json:"type"`   // TypeServer
	URL    canon.Note   `json:"url"`    // https://host:port
	Cert   canon.Digest `json:"cert"`   // of its TLS key
	Host   trust.HostID `json:"host"`   // this host
	Name   canon.Note   `json:"name"`   // what it calls itself
	Pinned canon.Digest `json:"pinned"` // SHA-256 of the trust repository's 1.root.json
	Root   canon.Note   `json:"root"`   // top directory of the system
	Public canon.Note   `json:"public"` // directory of the helper's socket and facts
	UID    int          `json:"uid"`    // as whom the messenger runs
	GID    int          `json:"gid"`
}

// TypeServer is the type of a Server.
const TypeServer = "patchwrit/server/v1"

// ReadServer reads it from a state directory.
func ReadServer(state string) (Server, error) {
	var s Server
	raw, err := os.ReadFile(filepath.Join(state, serverFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, refusal.New(codeEnrolled, "%s holds no enrolment", state)
	} else if err == nil {
		err = canon.Decode(raw, &s)
	}
	if err != nil || s.Type != TypeServer || !s.Pinned.Valid() {
		return s, refusal.New(codeEnrolled, "the enrolment in %s cannot be read: %v", state, err)
	}
	return s, nil
}

// Save writes it.
func (s Server) Save(state string) error {
	return put(filepath.Join(state, serverFile), canon.MustEncode(s))
}

// Seed reads the wire key of a state directory; there is none before it was made.
func Seed(state string) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(state, seedFile))
	if err != nil {
		return nil, refusal.New(codeState, "%v", err)
	}
	return raw, nil
}

// KeepSeed keeps the wire key that make makes, unless there is one.
func KeepSeed(state string, make func() ([]byte, string, error)) ([]byte, error) {
	if raw, err := Seed(state); err == nil {
		return raw, nil
	}
	seed, _, err := make()
	if err == nil {
		err = put(filepath.Join(state, seedFile), seed)
	}
	return seed, err
}

// held is the trust repository that the messenger has.
type held struct {
	Versions trust.Versions `json:"versions"`
	Files    []wire.File    `json:"files"`
}

func (m *Messenger) held() held {
	var h held
	if err := m.get(heldFile, &h); err != nil {
		return held{Files: []wire.File{}}
	}
	return h
}

// offer is what the helper is to try, kept until its end is known.
type offer struct {
	Type string       `json:"type"` // typeOffer
	Writ canon.Digest `json:"writ"` // SumFile of the writ's bytes
	Pool []wire.File  `json:"pool"`
}

const typeOffer = "patchwrit/outstanding/v1"

// get reads one of the state's documents.
func (m *Messenger) get(name string, v any) error {
	raw, err := os.ReadFile(filepath.Join(m.State, name))
	if err != nil {
		return err
	}
	return canon.Decode(raw, v)
}

func (m *Messenger) put(name string, v any) error {
	return put(filepath.Join(m.State, name), canon.MustEncode(v))
}

func (m *Messenger) drop(name string) error {
	if err := os.RemoveAll(filepath.Join(m.State, name)); err != nil {
		return refusal.New(codeState, "%v", err)
	}
	return nil
}

// put replaces a file as a whole, durably.
func put(path string, content []byte) error {
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+newSuffix, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
