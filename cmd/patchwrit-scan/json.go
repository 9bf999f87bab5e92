package main

import (
	"bytes"
	"encoding/json"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/match"
)

// finding appends what encoding/json writes for f without escaping HTML, with
// "runs" where match.Kernel says something of it. A scan writes thousands, and
// reflection took half of its time; a test holds both to each other, field by
// field.
func finding(b []byte, f *match.Finding, runs string) []byte {
	b = text(append(b, `{"advisory":`...), f.Advisory)
	b = list(append(b, `,"aliases":`...), f.Aliases, text)
	b = text(append(b, `,"package":`...), f.Package)
	b = text(append(b, `,"arch":`...), f.Arch)
	b = text(append(b, `,"source":`...), f.Source)
	b = text(append(b, `,"version":`...), f.Version)
	b = text(append(b, `,"source_version":`...), f.SourceVersion)
	b = text(append(b, `,"fixed":`...), f.Fixed)
	b = text(append(b, `,"state":`...), string(f.State))
	b = text(append(b, `,"reason":{"code":`...), string(f.Reason.Code))
	b = text(append(b, `,"text":`...), f.Reason.Text)
	b = list(append(b, `},"sources":`...), f.Sources, source)
	if runs != "" {
		b = text(append(b, `,"runs":`...), runs)
	}
	return append(b, '}')
}

func source(b []byte, s match.Source) []byte {
	b = text(append(b, `{"advisory":`...), s.Advisory)
	b = text(append(b, `,"source":`...), s.Source)
	b = text(append(b, `,"basis":`...), string(s.Basis))
	b = text(append(b, `,"feed":`...), s.Feed)
	b = text(append(b, `,"snapshot":`...), string(s.Snapshot))
	b = text(append(b, `,"raw":`...), string(s.Raw))
	b = text(append(b, `,"state":`...), string(s.State))
	b = text(append(b, `,"reason":`...), string(s.Reason))
	b = text(append(b, `,"fixed":`...), s.Fixed)
	if s.Authority != "" {
		b = text(append(b, `,"authority":`...), string(s.Authority))
	}
	return append(b, '}')
}

func list[T any](b []byte, all []T, one func([]byte, T) []byte) []byte {
	if all == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, v := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, v)
	}
	return append(b, ']')
}

// asIs are the bytes that stand in JSON as they are.
var asIs = func() (is [256]bool) {
	for c := ' '; c <= '~'; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// text appends a string; one that is not plain goes the long way.
func text(b []byte, s string) []byte {
	for i := range len(s) {
		if !asIs[s[i]] {
			var long bytes.Buffer
			e := json.NewEncoder(&long)
			e.SetEscapeHTML(false)
			if err := e.Encode(s); err != nil {
				panic("a string cannot be written as JSON: " + string(canon.NoteOf(err.Error()))) // it has no failure for strings
			}
			return append(b, bytes.TrimSuffix(long.Bytes(), []byte("\n"))...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
