package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

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
func (l *lines) no(code int, format string, args ...any) error {
	said, err := json.Marshal(fmt.Sprintf(format, args...))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(l, `{"jsonrpc":"2.0","id":null,"error":{"code":%d,"message":%s}}`+"\n", code, said)
	return err
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
		if code, why := unfit(line); code != 0 {
			if err := g.out.no(code, "%s", why); err != nil {
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
		if err := g.out.no(jsonrpc.CodeInvalidRequest, "the message has more than %d bytes", maxLine); err != nil {
			return nil, err
		}
	}
}

// unfit says why a line is no message, as a code of JSON-RPC, or 0.
func unfit(line []byte) (code int, why string) {
	switch {
	case len(line) == 0:
		return 0, ""
	case depth(line) > maxDepth:
		return jsonrpc.CodeInvalidRequest, fmt.Sprintf("the message is more than %d deep", maxDepth)
	case !json.Valid(line):
		return jsonrpc.CodeParseError, "the line is not JSON"
	case line[0] != '{':
		return jsonrpc.CodeInvalidRequest, "a message is one object; there are no batches"
	}
	if _, err := jsonrpc.DecodeMessage(line); err != nil {
		return jsonrpc.CodeInvalidRequest, "the object is no message of JSON-RPC 2.0"
	}
	return 0, ""
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
