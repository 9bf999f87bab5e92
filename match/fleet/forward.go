package fleet

import (
	"encoding/binary"
	"slices"
)

// Hosts are much alike: made from a few images, in a few roles. What a host has
// is held as its difference to a template, the list of a host that came before
// it: the places in the template that it lacks, and what it has besides.

// host is one host's row. A host with the zero row does not exist.
type host struct {
	name       string
	difference string // see encode
	template   uint32
	ecosystem  uint32
	incomplete bool
	present    bool
}

// encode writes the difference of list to template, both ascending: the number
// of missing places, their gaps, and the gaps of the added numbers.
func encode(buf []byte, template, list []uint32) []byte {
	missing, added := 0, 0
	var gaps [256]uint32
	more := gaps[:0]
	buf = append(buf[:0], 0, 0, 0)
	place, number := 0, uint32(0)
	for i, j := 0, 0; i < len(template) || j < len(list); {
		switch {
		case j == len(list) || i < len(template) && template[i] < list[j]:
			buf = binary.AppendUvarint(buf, uint64(i-place))
			place, missing, i = i, missing+1, i+1
		case i == len(template) || list[j] < template[i]:
			more = append(more, list[j]-number)
			number, added, j = list[j], added+1, j+1
		default:
			i, j = i+1, j+1
		}
	}
	buf[0], buf[1], buf[2] = byte(missing), byte(missing>>8), byte(missing>>16)
	for _, gap := range more {
		buf = binary.AppendUvarint(buf, uint64(gap))
	}
	return buf
}

// decode appends the list that encode wrote.
func decode(out, template []uint32, difference string) []uint32 {
	if difference == "" {
		return append(out, template...)
	}
	d := []byte(difference)
	missing := int(d[0]) | int(d[1])<<8 | int(d[2])<<16
	d = d[3:]
	next := func() uint32 {
		v, n := binary.Uvarint(d)
		d = d[n:]
		return uint32(v)
	}
	start, place := len(out), uint32(0)
	from := 0
	for range missing {
		place += next()
		out = append(out, template[from:place]...)
		from = int(place) + 1
	}
	out = append(out, template[from:]...)
	if len(d) == 0 {
		return out
	}
	kept := len(out)
	for number := uint32(0); len(d) > 0; {
		number += next()
		out = append(out, number)
	}
	return mergeTail(out, start, kept)
}

// mergeTail makes out[start:] ascending, where out[start:mid] and out[mid:] are.
func mergeTail(out []uint32, start, mid int) []uint32 {
	tail := slices.Clone(out[mid:])
	for i, j, k := mid-1, len(tail)-1, len(out)-1; j >= 0; k-- {
		if i >= start && out[i] > tail[j] {
			out[k] = out[i]
			i--
		} else {
			out[k] = tail[j]
			j--
		}
	}
	return out
}

// apart counts in how many numbers two ascending lists differ, up to limit.
func apart(a, b []uint32, limit int) int {
	n := 0
	for i, j := 0, 0; (i < len(a) || j < len(b)) && n < limit; {
		switch {
		case j == len(b) || i < len(a) && a[i] < b[j]:
			n, i = n+1, i+1
		case i == len(a) || b[j] < a[i]:
			n, j = n+1, j+1
		default:
			i, j = i+1, j+1
		}
	}
	return n
}

// sketches is how many least hashes stand for a list. Two lists of which p is
// common share each of them with probability p (MinHash).
const sketches = 4

// templates are the lists that differences refer to.
type templates struct {
	lists  [][]uint32 // only ever appended to
	by     [sketches]map[uint32]uint32
	buffer []byte
}

func mix(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x7feb352d
	x ^= x >> 15
	x *= 0x846ca68b
	return x ^ x>>16
}

// leasts gives for each sketch the number whose hash is the least.
func leasts(list []uint32) (out [sketches]uint32) {
	var best [sketches]uint32
	for i, x := range list {
		h := mix(x)
		for k := range sketches {
			if v := h * (2*uint32(k) + 0x9e3779b1); i == 0 || v < best[k] {
				best[k], out[k] = v, x
			}
		}
	}
	return out
}

// choose gives the template to which list differs least among those that share
// a sketch, and makes list a template itself when that is too much.
func (t *templates) choose(list []uint32) uint32 {
	keys := leasts(list)
	limit := len(list)/6 + 8
	best, found := limit, -1
	var tried [sketches]uint32
	for k := range sketches {
		i, ok := t.by[k][keys[k]]
		if !ok || slices.Contains(tried[:k], i+1) {
			continue
		}
		tried[k] = i + 1
		if n := apart(t.lists[i], list, best); n < best {
			best, found = n, int(i)
		}
	}
	if found >= 0 {
		return uint32(found)
	}
	i := uint32(len(t.lists))
	t.lists = append(t.lists, slices.Clone(list))
	for k := range sketches {
		if t.by[k] == nil {
			t.by[k] = map[uint32]uint32{}
		}
		t.by[k][keys[k]] = i
	}
	return i
}

// difference gives list as a string to be held beside the template's number.
func (t *templates) difference(template uint32, list []uint32) string {
	t.buffer = encode(t.buffer, t.lists[template], list)
	return string(t.buffer)
}
