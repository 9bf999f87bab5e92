package rpmfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/patchwrit/patchwrit/inventory"
)

// rpm's own ndb (lib/backend/ndb/rpmpkg.c), which SUSE uses: a header, slots of
// 16 bytes in the first pages, and blobs in blocks of 16 bytes, each between a
// head and a tail. All numbers are little-endian.
const (
	ndbMagic   = 'R' | 'p'<<8 | 'm'<<16 | 'P'<<24
	ndbSlot    = 'S' | 'l'<<8 | 'o'<<16 | 't'<<24
	ndbBegin   = 'B' | 'l'<<8 | 'b'<<16 | 'S'<<24
	ndbEnd     = 'B' | 'l'<<8 | 'b'<<16 | 'E'<<24
	ndbPage    = 4096
	ndbHeader  = 32
	ndbUnit    = 16 // bytes of a slot, of a block, and of a blob's head
	ndbTail    = 12
	ndbMaxPage = MaxPackages * ndbUnit / ndbPage * 4 // slots are kept half empty at the most
)

// ReadNDB reads an ndb database. Its blobs together may be no larger than the
// file, which bounds the work.
func ReadNDB(in io.ReaderAt, length int64, take Take) error {
	head := make([]byte, ndbHeader)
	if _, err := in.ReadAt(head, 0); err != nil {
		return fmt.Errorf("its header cannot be read: %w", err)
	}
	le := binary.LittleEndian
	pages := le.Uint32(head[12:])
	switch {
	case le.Uint32(head) != ndbMagic:
		return errors.New("it is no ndb database")
	case le.Uint32(head[4:]) != 0:
		return fmt.Errorf("it is of version %d of ndb, and only 0 is known", le.Uint32(head[4:]))
	case pages == 0 || pages > ndbMaxPage || int64(pages)*ndbPage > length:
		return fmt.Errorf("it claims %d pages of slots and has %d bytes", pages, length)
	}
	slots := make([]byte, pages*ndbPage)
	if _, err := in.ReadAt(slots, 0); err != nil {
		return fmt.Errorf("its slots cannot be read: %w", err)
	}
	left := length
	for at := ndbHeader; at < len(slots); at += ndbUnit {
		s := slots[at : at+ndbUnit]
		if le.Uint32(s) != ndbSlot {
			return fmt.Errorf("the slot at byte %d is none", at)
		}
		id, offset, count := le.Uint32(s[4:]), int64(le.Uint32(s[8:]))*ndbUnit, int64(le.Uint32(s[12:]))*ndbUnit
		if id == 0 || count == 0 { // free
			continue
		}
		if left -= count; left < 0 {
			return errors.New("its blobs together are larger than itself")
		}
		value, bad := ndbBlob(in, id, offset, count, length)
		if err := take(id, value, bad); err != nil {
			return err
		}
	}
	return nil
}

func ndbBlob(in io.ReaderAt, id uint32, offset, count, length int64) ([]byte, error) {
	if offset+count > length || count < 2*ndbUnit || count > inventory.MaxRPMHeader+2<<20 {
		return nil, fmt.Errorf("its blob lies at %d with %d bytes, the file has %d", offset, count, length)
	}
	raw := make([]byte, count)
	if _, err := in.ReadAt(raw, offset); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	n := int64(le.Uint32(raw[12:]))
	tail := raw[count-ndbTail:]
	if le.Uint32(raw) != ndbBegin || le.Uint32(raw[4:]) != id || n > count-ndbUnit-ndbTail ||
		le.Uint32(tail[8:]) != ndbEnd || int64(le.Uint32(tail[4:])) != n {
		return nil, errors.New("its blob does not begin and end as one")
	}
	return raw[ndbUnit : ndbUnit+n], nil
}
