// Package docs keeps the documentation true: it makes the parts of docs/ that
// can be derived from the code, and its tests hold the rest to the code.
//
// The parties: engineers of this house run the generator (internal/docs/gen);
// those of another house read docs/formats.md and try their own implementation
// on docs/vectors/. The objects: vectors, files of statements with what each
// must give; docs/refusals.md, the catalogue as a table; the table of linked
// modules in docs/DEPENDENCIES.md.
//
// The promise: every committed vector is judged by the rooms that hosts and
// auditors use, the good ones and the refused ones. A format that changes turns
// a test red before it can reach a host that speaks the old one.
//
// It signs with the keys of trust/trusttest only, which protect nothing, and no
// shipped binary links it.
package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"

	"github.com/patchwrit/patchwrit/trust/trusttest"
)

// MaxVectors bounds all vectors together, in bytes: they are to be read by
// people too.
const MaxVectors = 150_000

// seed makes the house whose statements the vectors hold; the same bytes make
// the same house. Another seed is another house: change it never.
var seed = [32]byte([]byte("patchwrit vectors, house no. 1 :"))

// house is the house of the vectors.
func house() trusttest.House {
	return trusttest.Must(rand.NewChaCha8(seed), trusttest.Options{Hosts: 3})
}

// Vectors makes every vector file, by its name below docs/vectors. old holds
// the committed ones, or nothing: signatures that chance went into (ECDSA) are
// taken over from there as long as they verify.
func Vectors(old fs.FS) (map[string][]byte, error) {
	h := house()
	m := maker{house: h, now: h.Now.Unix()}
	m.plan()
	all := map[string]any{
		"canon.json": canonFile(), "versions.json": versionsFile(), "trust.json": m.trustFile(), "plan.json": m.planFile(),
		"planfile.json": m.wholePlanFile(), "approvals.json": m.approvalsFile(old), "grant.json": m.grantFile(), "log.json": m.logFile(),
		"wire.json": m.wireFile(), "lease.json": m.leaseFile(), "writ.json": m.writFile(), "receipt.json": m.receiptFile(), "verdict.json": m.verdictFile(),
	}
	out := map[string][]byte{}
	for name, v := range all {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(v); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = b.Bytes()
	}
	return out, m.err
}

// read decodes a vector file strictly.
func read(fsys fs.FS, name string, into any) error {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// maker makes vectors; the first error sticks.
type maker struct {
	house trusttest.House
	now   int64
	whole planParts
	err   error
}

func (m *maker) note(err error) {
	if err != nil {
		m.err = errors.Join(m.err, err)
	}
}
