package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// Limits of one message.
const (
	maxLine  = 1 << 20 // bytes: advice of the greatest length, in JSON escapes
	maxDepth = 32      // of arrays and objects in one another; what clients send has 8
)

// lines writes whole lines, of the server and of the guard.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// Close does nothing: whoever gave the writer closes it.
func (l *lines) Close() error { return nil }

// no answers a message that the server does not get to see.
func (l *lines) no(why error) error {
	return json.NewEncoder(l).Encode(struct {
		Version string `json:"jsonrpc"`
		ID      any    `json:"id"`
		Error   error  `json:"error"`
	}{"2.0", nil, why})
}

// guard lets only messages of JSON-RPC through, one a line. The others are answered
// and passed over: the SDK would end the session.
type guard struct {
	in   *bufio.Reader
	out  *lines
	rest []byte
}

func guarded(in io.Reader, out *lines) io.ReadCloser {
	return &guard{in: bufio.NewReaderSize(in, 64<<10), out: out}
}

// Close does nothing: the reader is the process's own.
func (g *guard) Close() error { return nil }

func (g *guard) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		line, err := g.line()
		if err != nil {
			return 0, err
		}
		if why := unfit(line); why != nil {
			if err := g.out.no(why); err != nil {
				return 0, err
			}
			continue
		}
		if len(line) > 0 {
			g.rest = append(line, '\n')
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// line reads one line, without the spaces around it. One that is too long is
// answered, and the next is read.
func (g *guard) line() ([]byte, error) {
	for {
		line, long := []byte{}, false
		for {
			part, err := g.in.ReadSlice('\n')
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) && len(line)+len(part) == 0 {
				return nil, err
			}
			if long = long || len(line)+len(part) > maxLine; long {
				line = line[:0]
			} else {
				line = append(line, part...)
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				break // a line, or the end of all
			}
		}
		if !long {
			return bytes.TrimSpace(line), nil
		}
		if err := g.out.no(invalid("the message has more than %d bytes", maxLine)); err != nil {
			return nil, err
		}
	}
}

func invalid(format string, args ...any) error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// unfit says why a line is no message, as an error of JSON-RPC, or nil. What two readers could take for two
// different messages is none.
func unfit(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	switch {
	case depth(line) > maxDepth:
		return invalid("the message is more than %d deep", maxDepth)
	case !json.Valid(line) || !utf8.Valid(line):
		return &jsonrpc.Error{Code: jsonrpc.CodeParseError, Message: "the line is not JSON in UTF-8"}
	case !message(line):
		return invalid("it is no message of JSON-RPC 2.0: one object, and no batch")
	case twice(line):
		return invalid("an object has two members of one name")
	}
	return nil
}

// message reports whether the SDK takes an object for a message.
func message(line []byte) bool {
	_, err := jsonrpc.DecodeMessage(line)
	return err == nil
}

// twice reports whether an object in valid JSON has two members of one name.
func twice(line []byte) bool {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil: an array
		value bool            // what comes is a member's value
	}
	open := []level{{}}
	for t, err := d.Token(); err == nil; t, err = d.Token() {
		at := &open[len(open)-1]
		switch name, text := t.(string); {
		case t == json.Delim('}') || t == json.Delim(']'):
			open = open[:len(open)-1]
			continue
		case at.names != nil && !at.value && text:
			if at.names[name] {
				return true
			}
			at.names[name], at.value = true, true
			continue
		}
		at.value = false
		switch t {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		}
	}
	return false
}

// depth is how deep arrays and objects stand in one another; of what is no JSON,
// any number.
func depth(b []byte) (most int) {
	now, text, escaped := 0, false, false
	for _, x := range b {
		switch {
		case escaped:
			escaped = false
		case text:
			escaped, text = x == '\\', x != '"'
		case x == '"':
			text = true
		case x == '{' || x == '[':
			now++
			most = max(most, now)
		case x == '}' || x == ']':
			now--
		}
	}
	return most
}
