// Package rpmfiletest writes rpm's two older database forms for tests.
//
// The parties: tests of the rooms that read them. The promise: it has the layout
// of Berkeley DB's hash method and of rpm's ndb, in numbers of its own, so that a
// wrong constant of the reader shows. It links neither SQLite nor the reader: a
// fuzz target over it runs at full speed. It links to no binary.
package rpmfiletest

import (
	"encoding/binary"
	"slices"
)

// BDBPage is the size of a page; the meta page is the first, the hash page the
// second, and BDBIndex is where its index begins.
const (
	BDBPage  = 512
	BDBIndex = 26
)

// BDB writes a hash database: the number of values under key 0, and under 1, 2 ...
// the values, each of 100 bytes and more in overflow pages from the third page on.
func BDB(order binary.ByteOrder, values ...[]byte) []byte {
	page := func(kind byte) []byte { b := make([]byte, BDBPage); b[25] = kind; return b }
	meta, hash := page(8), page(13)
	order.PutUint32(meta[12:], 0x061561)
	order.PutUint32(meta[20:], BDBPage)
	pages, at, n := [][]byte{meta, hash}, BDBPage, 0
	item := func(b []byte) {
		at -= len(b)
		copy(hash[at:], b)
		order.PutUint16(hash[BDBIndex+2*n:], uint16(at))
		n++
	}
	u32 := func(v int) []byte { b := make([]byte, 4); order.PutUint32(b, uint32(v)); return b }
	item(append([]byte{1}, u32(0)...))
	item(append([]byte{1}, u32(len(values))...))
	for i, v := range values {
		item(append([]byte{1}, u32(i+1)...))
		if len(v) < 100 {
			item(append([]byte{1}, v...))
			continue
		}
		item(slices.Concat([]byte{3, 0, 0, 0}, u32(len(pages)), u32(len(v))))
		for len(v) > 0 {
			b := page(7)
			k := copy(b[26:], v)
			order.PutUint16(b[22:], uint16(k))
			if v = v[k:]; len(v) > 0 {
				order.PutUint32(b[16:], uint32(len(pages)+1))
			}
			pages = append(pages, b)
		}
	}
	order.PutUint16(hash[20:], uint16(n))
	order.PutUint32(meta[32:], uint32(len(pages)-1))
	return slices.Concat(pages...)
}

// NDBPage is the one page of slots; the first slot stands at NDBSlots, and the
// first blob behind the page.
const (
	NDBPage  = 4096
	NDBSlots = 32
	NDBUnit  = 16 // bytes of a slot, and what places and sizes are counted in
)

// NDB writes an ndb database with the values under 1, 2 ...
func NDB(values ...[]byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, NDBPage)
	copy(b, "RpmP")
	le.PutUint32(b[12:], 1)
	for at := NDBSlots; at < NDBPage; at += NDBUnit {
		copy(b[at:], "Slot")
	}
	for i, v := range values {
		blob := []byte("BlbS")
		for _, x := range []int{i + 1, 1, len(v)} {
			blob = le.AppendUint32(blob, uint32(x))
		}
		blob = append(blob, v...)
		for (len(blob)+12)%NDBUnit != 0 {
			blob = append(blob, 0)
		}
		blob = append(le.AppendUint32(le.AppendUint32(blob, 0), uint32(len(v))), "BlbE"...)
		slot := b[NDBSlots+i*NDBUnit:]
		le.PutUint32(slot[4:], uint32(i+1))
		le.PutUint32(slot[8:], uint32(len(b)/NDBUnit))
		le.PutUint32(slot[12:], uint32(len(blob)/NDBUnit))
		b = append(b, blob...)
	}
	return b
}
