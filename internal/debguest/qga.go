package debguest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// How long one answer of the guest's agent may take, how often it is asked
// again while the guest starts or a command runs, and how long its lines may be.
const (
	answerWait = 5 * time.Minute
	helloWait  = 2 * time.Second
	execPoll   = 100 * time.Millisecond
	maxAnswer  = 64 << 20
	chunk      = 1 << 20
)

// qga speaks with qemu-guest-agent: one JSON object a line, each way.
type qga struct {
	conn net.Conn
	in   *bufio.Scanner
}

// dialQGA connects and waits until the guest answers, or ctx ends.
func dialQGA(ctx context.Context, socket string) (*qga, error) {
	why := error(nil)
	for id := time.Now().UnixNano(); ; id++ {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the guest's agent does not answer: %w (%v)", ctx.Err(), why)
		}
		q, err := hello(socket, id)
		if err == nil {
			return q, nil
		}
		why = err
		select {
		case <-ctx.Done():
		case <-time.After(execPoll):
		}
	}
}

// hello connects and asks the agent for one number; answers to earlier
// questions are passed over.
func hello(socket string, id int64) (*qga, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	q := &qga{conn: conn, in: bufio.NewScanner(conn)}
	q.in.Buffer(make([]byte, 0, 64<<10), maxAnswer)
	conn.SetDeadline(time.Now().Add(helloWait))
	id &= 1<<53 - 1
	_, err = fmt.Fprintf(conn, "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":%d}}\n", id)
	for err == nil {
		var answer struct{ Return json.RawMessage }
		if !q.in.Scan() {
			err = errors.Join(q.in.Err(), io.ErrUnexpectedEOF)
		} else if json.Unmarshal(q.in.Bytes(), &answer) == nil && string(answer.Return) == fmt.Sprint(id) {
			return q, nil
		}
	}
	conn.Close()
	return nil, err
}

func (q *qga) close() { q.conn.Close() }

// do asks for one thing and reads its answer into result, which may be nil.
func (q *qga) do(command string, arguments, result any) error {
	raw, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return err
	}
	q.conn.SetDeadline(time.Now().Add(answerWait))
	if _, err := q.conn.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if !q.in.Scan() {
		return fmt.Errorf("%s: the guest's agent is gone: %w", command, errors.Join(q.in.Err(), io.ErrUnexpectedEOF))
	}
	var answer struct {
		Return json.RawMessage
		Error  *struct{ Desc string }
	}
	if err := json.Unmarshal(q.in.Bytes(), &answer); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s", command, answer.Error.Desc)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Return, result)
}

// Result is how a command in the guest ended.
type Result struct {
	Code           int // exit status; -1 when a signal ended it
	Stdout, Stderr string
}

// exec runs argv in the guest, as root, and waits for it. A non-zero exit status
// is no error here.
func (q *qga) exec(ctx context.Context, argv []string) (Result, error) {
	var started struct{ Pid int }
	err := q.do("guest-exec", map[string]any{"path": argv[0], "arg": argv[1:], "capture-output": true,
		"env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root"}}, &started)
	if err != nil {
		return Result{}, err
	}
	for {
		var s struct {
			Exited   bool
			ExitCode int    `json:"exitcode"`
			Signal   int    `json:"signal"`
			Out      []byte `json:"out-data"`
			Err      []byte `json:"err-data"`
		}
		if err := q.do("guest-exec-status", map[string]any{"pid": started.Pid}, &s); err != nil {
			return Result{}, err
		}
		if s.Exited {
			if s.Signal != 0 {
				s.ExitCode = -1
			}
			return Result{s.ExitCode, string(s.Out), string(s.Err)}, nil
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("in the guest %s: %w", strings.Join(argv, " "), ctx.Err())
		case <-time.After(execPoll):
		}
	}
}

// file opens a file of the guest.
func (q *qga) file(path, mode string) (handle int64, err error) {
	err = q.do("guest-file-open", map[string]any{"path": path, "mode": mode}, &handle)
	return handle, err
}

// readFile reads a file of the guest, at most limit bytes.
func (q *qga) readFile(path string, limit int) ([]byte, error) {
	h, err := q.file(path, "r")
	if err != nil {
		return nil, err
	}
	var all []byte
	for err == nil && len(all) < limit {
		var got struct {
			Data []byte `json:"buf-b64"`
			EOF  bool   `json:"eof"`
		}
		err = q.do("guest-file-read", map[string]any{"handle": h, "count": chunk}, &got)
		all = append(all, got.Data...)
		if got.EOF {
			break
		}
	}
	return all, errors.Join(err, q.do("guest-file-close", map[string]any{"handle": h}, nil))
}

// writeFile writes a file of the guest.
func (q *qga) writeFile(path string, body []byte) error {
	h, err := q.file(path, "w")
	if err != nil {
		return err
	}
	for len(body) > 0 && err == nil {
		n := min(len(body), chunk)
		var wrote struct{ Count int }
		err = q.do("guest-file-write", map[string]any{"handle": h, "buf-b64": body[:n]}, &wrote)
		if err == nil && wrote.Count <= 0 {
			err = io.ErrShortWrite
		}
		body = body[max(0, wrote.Count):]
	}
	return errors.Join(err, q.do("guest-file-close", map[string]any{"handle": h}, nil))
}
