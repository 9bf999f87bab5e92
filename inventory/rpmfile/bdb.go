package rpmfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/patchwrit/patchwrit/inventory"
)

// Berkeley DB's hash access method as rpm used it until 4.15 (EL 8 and older):
// page 0 says how large pages are; hash pages hold pairs of key and value; a value
// too large for a page lies in a chain of overflow pages. Layout: Berkeley DB's
// dbinc/db_page.h, for versions 4 to 6 of the library.
const (
	bdbMagic    = 0x061561
	bdbMetaSize = 72
	bdbHead     = 26 // bytes of a page before its index
	bdbMetaHash = 8  // types of page
	bdbHash     = 13
	bdbUnsorted = 2
	bdbOverflow = 7
	bdbInline   = 1 // types of item
	bdbOffPage  = 3
)

// bdb is an open database. Each overflow page may be used once, which bounds the
// work by the size of the file.
type bdb struct {
	in    io.ReaderAt
	order binary.ByteOrder
	size  int // of a page
	pages uint32
	used  []bool
	buf   []byte // the hash page
	over  []byte // an overflow page
}

// ReadBDB reads a hash database of Berkeley DB: every value but the one under key
// 0, which counts packages.
func ReadBDB(in io.ReaderAt, length int64, take Take) error {
	d, err := openBDB(in, length)
	if err != nil {
		return err
	}
	for n := uint32(1); n < d.pages; n++ {
		if err := d.page(n, d.buf); err != nil {
			return err
		}
		if kind := d.buf[25]; kind != bdbHash && kind != bdbUnsorted {
			continue
		}
		if err := d.pairs(n, take); err != nil {
			return err
		}
	}
	return nil
}

func openBDB(in io.ReaderAt, length int64) (*bdb, error) {
	meta := make([]byte, bdbMetaSize)
	if _, err := in.ReadAt(meta, 0); err != nil {
		return nil, fmt.Errorf("its first page cannot be read: %w", err)
	}
	d := &bdb{in: in, order: binary.LittleEndian}
	if d.order.Uint32(meta[12:]) != bdbMagic {
		d.order = binary.BigEndian
	}
	if d.order.Uint32(meta[12:]) != bdbMagic || meta[25] != bdbMetaHash || meta[24] != 0 {
		return nil, errors.New("it is no unencrypted hash database of Berkeley DB")
	}
	size := d.order.Uint32(meta[20:])
	if size < 512 || size > 64<<10 || size&(size-1) != 0 {
		return nil, fmt.Errorf("its pages claim to have %d bytes", size)
	}
	d.size = int(size)
	last := d.order.Uint32(meta[32:])
	if (int64(last)+1)*int64(size) > length {
		return nil, fmt.Errorf("it claims %d pages of %d bytes and has %d bytes: it was cut short", int64(last)+1, size, length)
	}
	d.pages = last + 1
	d.used = make([]bool, d.pages)
	d.buf, d.over = make([]byte, size), make([]byte, size)
	return d, nil
}

func (d *bdb) page(n uint32, into []byte) error {
	if _, err := d.in.ReadAt(into, int64(n)*int64(d.size)); err != nil {
		return fmt.Errorf("page %d cannot be read: %w", n, err)
	}
	return nil
}

// pairs reads the hash page in d.buf.
func (d *bdb) pairs(n uint32, take Take) error {
	entries := int(d.order.Uint16(d.buf[20:]))
	if bdbHead+2*entries > d.size || entries%2 != 0 {
		return fmt.Errorf("page %d claims %d entries", n, entries)
	}
	for i := 0; i+1 < entries; i += 2 {
		key, err := d.item(n, i)
		if err != nil {
			return err
		}
		if len(key) != 5 || key[0] != bdbInline {
			return fmt.Errorf("page %d, entry %d: the key is no number of a package", n, i)
		}
		id := d.order.Uint32(key[1:])
		if id == 0 {
			continue
		}
		item, err := d.item(n, i+1)
		if err != nil {
			return err
		}
		value, bad := d.value(item)
		if err := take(id, value, bad); err != nil {
			return err
		}
	}
	return nil
}

// item is an entry of the hash page, its type first. Items lie from the page's
// end downwards, one before the other.
func (d *bdb) item(n uint32, i int) ([]byte, error) {
	at, end := int(d.order.Uint16(d.buf[bdbHead+2*i:])), d.size
	if i > 0 {
		end = int(d.order.Uint16(d.buf[bdbHead+2*i-2:]))
	}
	if at < bdbHead || at >= end || end > d.size {
		return nil, fmt.Errorf("page %d, entry %d lies at %d to %d", n, i, at, end)
	}
	return d.buf[at:end], nil
}

func (d *bdb) value(item []byte) ([]byte, error) {
	switch {
	case item[0] == bdbInline:
		return item[1:], nil
	case item[0] != bdbOffPage || len(item) < 12:
		return nil, fmt.Errorf("its value is of type %d with %d bytes, which is not read", item[0], len(item))
	}
	next, want := d.order.Uint32(item[4:]), d.order.Uint32(item[8:])
	if want > inventory.MaxRPMHeader+8+16*64<<10 {
		return nil, fmt.Errorf("its value claims %d bytes", want)
	}
	var out []byte // grows as pages are really there
	for uint32(len(out)) < want {
		if next == 0 || next >= d.pages || d.used[next] {
			return nil, fmt.Errorf("after %d of %d bytes its chain goes to page %d, which is not there or used already", len(out), want, next)
		}
		d.used[next] = true
		if err := d.page(next, d.over); err != nil {
			return nil, err
		}
		n := int(d.order.Uint16(d.over[22:]))
		if d.over[25] != bdbOverflow || n == 0 || bdbHead+n > d.size || uint32(len(out)+n) > want {
			return nil, fmt.Errorf("page %d of its chain is of type %d and claims %d bytes", next, d.over[25], n)
		}
		out = append(out, d.over[bdbHead:bdbHead+n]...)
		next = d.order.Uint32(d.over[16:])
	}
	return out, nil
}
