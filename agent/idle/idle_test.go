package idle

import (
	"reflect"
	"strings"
	"testing"
)

const text = `00400000-00a00000 r-xp 00000000 fe:01 12 /opt/my agent
Rss:                 100 kB
Anonymous:             0 kB
VmFlags: rd ex
00a00000-01000000 r--p 00600000 fe:01 12 /opt/my agent
Rss:                 100 kB
Anonymous:             4 kB
01000000-01100000 rw-p 00c00000 fe:01 12 /opt/my agent
Anonymous:             0 kB
7f0000000000-7f0000100000 r-xp 00000000 fe:01 13 /usr/lib/libc.so
Anonymous:             0 kB
7f0000200000-7f0000300000 r--s 00000000 fe:01 12 /opt/my agent
Anonymous:             0 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:             0 kB
`

// A page with a breakpoint or a relocation in it is not the file's any more.
func TestOnlyTheFilesOwnPagesAreLetGo(t *testing.T) {
	got := pristine(strings.NewReader(text), "/opt/my agent")
	if want := []span{{0x400000, 0xa00000}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%x", got)
	}
}

func TestRest(t *testing.T) {
	big := make([]byte, 32<<20)
	for i := range big {
		big[i] = byte(i)
	}
	Rest()
	if big[1<<20+5] != 5 || text[0] != '0' {
		t.Error("something was lost")
	}
}
