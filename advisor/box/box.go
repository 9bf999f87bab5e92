// Package box asks a model through an advisor that is shut in.
//
// The parties: the broker, which is the caller's process: it holds the key and
// speaks to the model's one host (advisor.Sender); the advisor, a process of its
// own made from the program patchwrit-advisor, which may have been replaced by
// anything; between them a socket (advisor/pipe). The objects: a Box says which
// model and program; a Report says which layers there are around a process.
//
// The promise: before one byte of the program runs, and before it is given a
// request, the process has namespaces of its own (user, pid, mount, network, ipc,
// uts, cgroup), an empty root, no capability, no new privileges, Landlock without
// an exception, a system call filter that allows a few calls on what it has, limits
// of memory, processor, threads and files, no environment, and no descriptor but
// the socket. The caller has looked at each. If one is missing nothing is asked
// and the answer is advice.Off with the reason: there is no weaker way. A call that
// the filter does not allow ends the process, and is named. The advisor's word
// chooses nothing of what is sent: method, path and body must be those that follow
// from model and request. What was sent and received is what the broker saw. When
// Ask returns nothing of the process is left.
//
// It does not guard against the kernel, against who may write this binary, or
// against what the answer says; advice.Verify judges that.
package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/pipe"
	"github.com/patchwrit/patchwrit/canon"
)

// Program is the name of the advisor's program, which lies beside this one.
const Program = "patchwrit-advisor"

// Box asks one model. It is an advisor.Adviser.
type Box struct {
	Model   dialect.Model
	Send    advisor.Sender // with the key, to the one host
	Program string         // path of the advisor's program; "": beside this program
	Digest  canon.Digest   // SHA-256 that the program must have; "": any
	limits  *bounds        // nil: usual
	stage   []string       // arguments of the stage; it has none
	checks  []check        // nil: all
}

var _ advisor.Adviser = Box{}

// bounds of one process.
type bounds struct {
	start, patience time.Duration // to be made; to say the next thing when it is its turn
	data            uint64        // bytes of memory of its own
	cpu             uint64        // seconds
	threads         uint64
}

// usual bounds: the largest request takes a tenth of the memory, a second of the
// processor, and seven threads.
var usual = bounds{start: 20 * time.Second, patience: 20 * time.Second, data: 512 << 20, cpu: 20, threads: 24}

// Ask asks once. It answers within the model's time and eighty
// seconds (to make the box, and three turns of the advisor), or when ctx ends.
func (b Box) Ask(ctx context.Context, request []byte) advice.Heard {
	want, err := dialect.Encode(b.Model, request)
	if err != nil {
		return advisor.Unasked(b.Model, err)
	}
	j, err := b.start(ctx)
	if err != nil {
		return advisor.Unasked(b.Model, err)
	}
	defer j.end()
	defer context.AfterFunc(ctx, j.kill)()
	h := advice.Heard{Model: b.Model.Digest(), Outcome: advice.Failed}
	lost := func(err error) advice.Heard {
		h.Why = canon.NoteOf(j.why(ctx, err))
		return h
	}
	f, err := j.first(canon.MustEncode(b.Model), request)
	if err != nil {
		return lost(err)
	}
	if string(f[0]) != want.Method || string(f[1]) != want.Path || !bytes.Equal(f[2], want.Body) {
		return lost(fmt.Errorf("nothing was sent: the advisor asks to send something else than the request, %d bytes by %.16q to %.60q", len(f[2]), f[0], f[1]))
	}
	reply := b.Send(ctx, b.Model, want)
	h.Sent, h.Received = want.Body, reply.Body
	if f, err = j.last(reply); err != nil {
		return lost(err)
	}
	said := dialect.Said{Outcome: dialect.Outcome(f[0]), Why: string(f[1])}
	if len(f[2]) > 0 {
		said.Answer = f[2]
	}
	return advisor.Heard(b.Model, want, reply, said)
}

// first hears that the advisor is there, asks, and hears what it would send.
func (j *jail) first(model, request []byte) ([][]byte, error) {
	if err := j.await(func() error { _, err := pipe.Read(j.conn, pipe.Hello); return err }); err != nil {
		return nil, fmt.Errorf("it did not say that it is there: %w", err)
	}
	j.there.Store(true)
	var f [][]byte
	err := j.await(func() (err error) {
		if err = pipe.Write(j.conn, pipe.Ask, model, request); err == nil {
			f, err = pipe.Read(j.conn, pipe.Call)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("it did not say what to send: %w", err)
	}
	return f, nil
}

// last hands the reply over, and hears what it says.
func (j *jail) last(reply dialect.Reply) ([][]byte, error) {
	var f [][]byte
	err := j.await(func() (err error) {
		if err = pipe.WriteReply(j.conn, reply); err == nil {
			f, err = pipe.Read(j.conn, pipe.Said)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("it did not say what the reply says: %w", err)
	}
	return f, nil
}

// await does what needs the advisor, within its patience.
func (j *jail) await(do func() error) error {
	if err := j.conn.SetDeadline(time.Now().Add(j.limits.patience)); err != nil {
		return err
	}
	err := do()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("not within %v", j.limits.patience)
	}
	return err
}

// why says what went wrong, after the process is gone.
func (j *jail) why(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	j.linger(errors.Is(err, os.ErrDeadlineExceeded))
	parts := []string{"the sandboxed advisor: " + err.Error()}
	if end := j.end(); end != "" {
		parts = append(parts, end)
	}
	return strings.Join(parts, "; ")
}

// Report says what is around a process that was made to look at it.
type Report struct {
	Program string       // path
	Digest  canon.Digest // of the program
	Layers  []string     // in words, each of them looked at
}

// Try makes a box, sees that the program in it answers, and takes it away again.
// The error says which layer cannot be had here.
func (b Box) Try(ctx context.Context) (Report, error) {
	j, err := b.start(ctx)
	if err != nil {
		return Report{}, err
	}
	defer j.end()
	if err := j.await(func() error { _, err := pipe.Read(j.conn, pipe.Hello); return err }); err != nil {
		return Report{}, errors.New(j.why(ctx, err))
	}
	return j.report, nil
}

// program is the path of the advisor's program.
func (b Box) program() (string, error) {
	if b.Program != "" {
		return b.Program, nil
	}
	self, err := os.Executable()
	return filepath.Join(filepath.Dir(self), Program), err
}
