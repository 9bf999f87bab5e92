package inventory

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// headerEntry is one entry of a header: where it lies is at, or behind the others
// when at is negative.
type headerEntry struct {
	tag, kind uint32
	data      string
	at        int
}

func headerOf(entries ...headerEntry) []byte {
	var index, data []byte
	for _, e := range entries {
		at := uint32(len(data))
		if e.at >= 0 {
			at = uint32(e.at)
		}
		for _, v := range []uint32{e.tag, e.kind, at, 1} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, e.data...)
	}
	h := binary.BigEndian.AppendUint32(nil, uint32(len(entries)))
	h = binary.BigEndian.AppendUint32(h, uint32(len(data)))
	return append(append(h, index...), data...)
}

// Each lie of a header is told by its name, and none of it becomes a package.
func TestLiesOfRPMHeaders(t *testing.T) {
	text := func(tag uint32, s string) headerEntry { return headerEntry{tag, rpmString, s + "\x00", -1} }
	good := []headerEntry{text(rpmName, "bash"), text(rpmVersion, "5"), text(rpmRelease, "1.el9"), text(rpmArch, "x86_64"), {rpmEpoch, rpmInt32, "\x00\x00\x00\x02", -1}}
	with := func(change ...headerEntry) []byte {
		list := append([]headerEntry{}, good...)
		for _, c := range change {
			for i := range list {
				if list[i].tag == c.tag {
					list[i] = c
				}
			}
			if c.tag == rpmModule {
				list = append(list, c)
			}
		}
		return headerOf(list...)
	}
	if p, err := ParseRPM(with()); err != nil || p.Name != "bash" || p.Version != "2:5-1.el9" || p.Arch != "x86_64" || p.Source != "bash" {
		t.Fatalf("%+v %v", p, err)
	}
	for want, h := range map[string][]byte{
		"the header is cut short":                       with()[:7],
		"claims 5 entries":                              with()[:60],
		"entry 1000 has another type or lies outside":   with(headerEntry{rpmName, rpmInt32, "bash\x00", -1}),
		"entry 1022 has another type or lies outside":   with(headerEntry{rpmArch, rpmString, "x\x00", 1 << 20}),
		"entry 1000 has no end":                         headerOf(headerEntry{rpmName, rpmString, "bash", -1}),
		"the epoch has another type or lies outside":    with(headerEntry{rpmEpoch, rpmString, "\x00\x00\x00\x02", -1}),
		"is no package name":                            with(text(rpmName, "ba sh")),
		`package "bash" has an odd architecture`:        with(text(rpmArch, "x 86")),
		`package "bash" has an odd architecture or mod`: with(text(rpmModule, "nodejs 18")),
		`package "bash": "`:                             with(text(rpmVersion, "5 6")),
	} {
		p, err := ParseRPM(h)
		if err == nil || !strings.Contains(err.Error(), want) || p.Arch != "" && p.Version == "" {
			t.Errorf("want %s: %+v %v", want, p, err)
		}
	}
	if _, err := ParseRPM(with(headerEntry{rpmEpoch, rpmInt32, "\x00\x00\x00\x02", 1 << 20})); err == nil || !strings.Contains(err.Error(), "the epoch") {
		t.Errorf("an epoch outside: %v", err)
	}
	if _, err := ParseRPM(with(text(rpmName, "gpg-pubkey"))); !errors.Is(err, ErrPubkey) {
		t.Error(err)
	}
}
