package witness

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
)

// Limits of POST /add-checkpoint (c2sp.org/tlog-witness).
const (
	maxProof      = 63                                    // consistency proof lines
	maxSubmission = tlog.MaxCheckpoint + 45*maxProof + 64 // bytes
)

// submission is the body of POST /add-checkpoint.
type submission struct {
	old    int64
	proof  []canon.Digest
	signed []byte
}

// parseSubmission reads "old N", base64 hashes, an empty line and a checkpoint,
// each line in its only spelling.
func parseSubmission(body []byte) (submission, error) {
	head, signed, ok := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	n, has := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseInt(n, 10, 64)
	if !ok || !has || err != nil || old < 0 || strconv.FormatInt(old, 10) != n || len(lines) > 1+maxProof {
		return submission{}, refusal.New(CodeRequest, "no old size, no checkpoint, or more than %d hashes", maxProof)
	}
	s := submission{old: old, proof: []canon.Digest{}, signed: []byte(signed)}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != 32 || base64.StdEncoding.EncodeToString(h) != line {
			return submission{}, refusal.New(CodeRequest, "%.60q is no hash", line)
		}
		s.proof = append(s.proof, canon.Digest(hex.EncodeToString(h)))
	}
	return s, nil
}

// addCheckpoint answers POST /add-checkpoint with the status codes of
// c2sp.org/tlog-witness.
func (w *Witness) addCheckpoint(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxSubmission))
	var line string
	if err == nil {
		line, err = w.cosign(body)
	}
	var old staleError
	switch code := refusal.CodeOf(err); {
	case err == nil:
		io.WriteString(rw, line)
		return
	case errors.As(err, &old):
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", old)
		return
	case code == "" && !errors.As(err, new(*http.MaxBytesError)):
		w.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "cosign", slog.String("err", err.Error()))
		http.Error(rw, "the witness cannot store its state", http.StatusInternalServerError)
		return
	case code == tlog.CodeFork:
		w.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "the log has signed two histories", slog.String("seen", err.Error()), slog.String("checkpoint", string(body)))
	}
	http.Error(rw, err.Error(), status(refusal.CodeOf(err)))
}

// status is the answer to a submission that is refused.
func status(code refusal.Code) int {
	switch code {
	case tlog.CodeOrigin:
		return http.StatusNotFound
	case tlog.CodeSignature, tlog.CodeCosignature:
		return http.StatusForbidden
	case tlog.CodeFork:
		return http.StatusConflict
	case tlog.CodeConsistency:
		return http.StatusUnprocessableEntity
	}
	return http.StatusBadRequest
}

// staleError is the size cosigned last, when the log believes in another.
type staleError int64

func (s staleError) Error() string { return fmt.Sprintf("the size cosigned last is %d", int64(s)) }

// cosign checks that the log only grew, remembers that durably, and only then
// signs. All three happen under one lock.
func (w *Witness) cosign(body []byte) (line string, err error) {
	sub, err := parseSubmission(body)
	if err != nil {
		return "", err
	}
	_, policy := w.trusted()
	c, n, err := policy.Signed(sub.signed)
	if err != nil {
		return "", err
	}
	if sub.old > c.Size {
		return "", refusal.New(CodeRequest, "old size %d, new size %d", sub.old, c.Size)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.seen[c.Origin]
	if sub.old != last.Size {
		return "", staleError(last.Size)
	}
	if err := tlog.Consistent(last, c, sub.proof); err != nil {
		return "", err
	}
	if c != last {
		if err := w.sees(c); err != nil {
			return "", err
		}
	}
	w.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "cosigned", slog.Int64("size", c.Size), slog.String("hash", string(c.Hash)))
	return w.key.cosign(n.Text, w.now())
}

// sees remembers a checkpoint durably. The caller holds w.mu.
func (w *Witness) sees(c tlog.Checkpoint) error {
	doc := seenDoc{typeSeen, []tlog.Checkpoint{c}}
	for origin, other := range w.seen {
		if origin != c.Origin {
			doc.Checkpoints = append(doc.Checkpoints, other)
		}
	}
	if err := w.store.save(seenFile, doc); err != nil {
		return err
	}
	w.seen[c.Origin] = c
	return nil
}

// newest answers GET /newest with the checkpoint that was cosigned last,
// cosigned again now: whoever holds a record can see whether its end was cut
// off. It is a note with this witness's signature alone.
func (w *Witness) newest(rw http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	c := w.seen[w.policy.Origin()]
	w.mu.Unlock()
	if c.Size == 0 {
		http.Error(rw, "nothing was cosigned yet", http.StatusNotFound)
		return
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Hash.Bytes()))
	line, err := w.key.cosign(text, w.now())
	if err != nil {
		http.Error(rw, "the witness cannot sign", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Cache-Control", "no-store")
	io.WriteString(rw, text+"\n"+line)
}
