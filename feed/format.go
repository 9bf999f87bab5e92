package feed

import (
	"bufio"
	"bytes"
	"io"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed/csaf"
	"github.com/patchwrit/patchwrit/feed/openvex"
	"github.com/patchwrit/patchwrit/feed/secdb"
	"github.com/patchwrit/patchwrit/feed/tracker"
)

// format is one way to write a feed.
type format struct {
	name    string // of the feed in findings, when the caller gives none
	kind    string // the snapshot's Kind
	undated bool   // its records carry no time, so the file's date stands for theirs
	lasting bool   // its records have ends of their own, so it does not grow stale
	// read reads one file. now is Unix seconds. take gets each record that was
	// read whole, without its Feed; gap gets every other with the reason, and
	// with "" for the file as a whole. nil: the file is one record of OSV.
	read func(in io.Reader, now int64, take func(advisory.Advisory), gap func(record, why string))
	// is reports whether a top-level member is one that only this format has.
	is func(key, value string) bool
}

// formats are tried in this order for each member: a package of the tracker may
// have any name, so its shape is asked for first. A file that none claims is
// read as the last, which then says what is wrong with it.
var formats = []format{
	{name: tracker.Name, kind: tracker.Kind, undated: true, is: tracker.Is,
		read: func(in io.Reader, _ int64, take func(advisory.Advisory), gap func(record, why string)) {
			tracker.Read(in, take, gap)
		}},
	{name: secdb.Name, kind: secdb.Kind, undated: true, is: secdb.Is,
		read: func(in io.Reader, _ int64, take func(advisory.Advisory), gap func(record, why string)) {
			secdb.Read(in, take, gap)
		}},
	{name: csaf.Name, kind: csaf.Kind, is: csaf.Is,
		read: func(in io.Reader, _ int64, take func(advisory.Advisory), gap func(record, why string)) {
			csaf.Read(in, take, gap)
		}},
	{name: openvex.Name, kind: openvex.Kind, lasting: true, is: openvex.Is, read: openvex.Read},
	{name: "osv", kind: "osv", is: func(key, _ string) bool {
		return key == "id" || key == "schema_version" || key == "affected" || key == "modified"
	}},
}

// Formats lists the formats by the names that their feeds have when the caller
// gives none, each with the Kind of its snapshots.
func Formats() map[string]string {
	out := map[string]string{}
	for _, f := range formats {
		out[f.name] = f.kind
	}
	return out
}

func fallback() *format { return &formats[len(formats)-1] }

// sniffed is how much of a file is looked at to know its format.
const sniffed = 64 << 10

// sniff says in which format a file is, by the first top-level member that
// decides. It reads as little as possible and believes nothing: the format's
// own reader does the checking.
func sniff(in *bufio.Reader) *format {
	head, _ := in.Peek(sniffed)
	for key, value := range members(head) {
		for i := range formats {
			if formats[i].is(key, value) {
				return &formats[i]
			}
		}
	}
	return fallback()
}

// looked is how much of a member's value is looked at, in bytes.
const looked = 1 << 10

// members gives the top-level members of an object as far as text goes: the key
// and the beginning of its value.
func members(text []byte) func(func(key, value string) bool) {
	return func(yield func(string, string) bool) {
		depth, quoted, start, key := 0, false, 0, ""
		for i := 0; i < len(text); i++ {
			switch c := text[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				if quoted = !quoted; quoted {
					start = i + 1
				} else if depth == 1 {
					key = string(text[start:i])
				}
			case quoted:
			case c == '{' || c == '[':
				depth++
			case c == '}' || c == ']':
				depth--
			case c == ':' && depth == 1:
				if !yield(key, beginning(text[i+1:])) {
					return
				}
			}
		}
	}
}

func beginning(value []byte) string {
	value = bytes.TrimLeft(value, " \t\r\n")
	return string(value[:min(len(value), looked)])
}
