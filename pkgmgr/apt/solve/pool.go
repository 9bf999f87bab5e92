package solve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/provenance"
)

// Limits of downloads.
const (
	downloadTime = 30 * time.Minute // for one file: 1 GiB over a slow line
	parallel     = 4                // downloads at a time
	tries        = 2                // a mirror behind a name may be many machines
)

// pool is a directory in the layout of docs/design/0001.
type pool string

func (p pool) path(name string) string { return filepath.Join(string(p), filepath.FromSlash(name)) }

func artefactName(e provenance.Entry) string { return "sha256/" + string(e.Artefact()) }

// open opens an ordinary file of the pool.
func (p pool) open(name string) (*os.File, error) {
	f, err := os.Open(p.path(name))
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s in the pool is no ordinary file", name)
	}
	return f, nil
}

// keep writes a file of the pool whole or not at all: fill writes and verifies.
func (p pool) keep(name string, fill func(io.Writer) error) error {
	to := p.path(name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".incoming-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = fill(f)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

// has reports whether the pool holds the artefact, intact.
func (p pool) has(e provenance.Entry) bool {
	f, err := p.open(artefactName(e))
	if err != nil {
		return false
	}
	defer f.Close()
	return e.Check(f) == nil
}

// fetch brings one artefact into the pool, checked while it is copied.
func (p *planner) fetch(ctx context.Context, base string, e provenance.Entry) error {
	if p.pool.has(e) {
		return nil
	}
	p.say.line("fetch %s %s (%.1f MB)", e.Package(), e.Version(), float64(e.Size())/1e6)
	return p.pool.keep(artefactName(e), func(w io.Writer) error {
		return p.get(ctx, base, e.Filename(), func(body io.Reader) error {
			return e.Check(io.TeeReader(body, w))
		})
	})
}

// fetchAll brings artefacts into the pool, a few at a time. All errors are
// returned together.
func (p *planner) fetchAll(ctx context.Context, jobs []job) error {
	errs := make([]error, len(jobs))
	each(len(jobs), func(i int) { errs[i] = p.fetch(ctx, jobs[i].base, jobs[i].entry) })
	return errors.Join(errs...)
}

type job struct {
	base  string
	entry provenance.Entry
}

// each calls do for 0 to n-1, a few at a time.
func each(n int, do func(int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	wg.Wait()
}

// get reads a file below an archive's base. use sees the bytes once, or twice
// when the first try broke off before it had seen any.
func (p *planner) get(ctx context.Context, base, name string, use func(io.Reader) error) error {
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	u.Path, u.RawPath = path.Join("/", u.Path, name), ""
	if u.Scheme == "file" {
		return local(u.Path, use)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%s: an archive's address begins with http://, https:// or file://", u.Redacted())
	}
	for try := 1; ; try++ {
		again, err := p.once(ctx, u, use)
		if err == nil || !again || try == tries || ctx.Err() != nil {
			return err
		}
	}
}

func local(name string, use func(io.Reader) error) error {
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: name, Err: errors.New("no ordinary file")}
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return use(f)
}

// once asks a server once; again means that a second try may help.
func (p *planner) once(ctx context.Context, u *url.URL, use func(io.Reader) error) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := p.Client.Do(req)
	if err != nil {
		return true, fmt.Errorf("%s: %w", u.Redacted(), unwrapURL(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode >= 500, fmt.Errorf("%s: the server answers %s", u.Redacted(), resp.Status)
	}
	if err := use(resp.Body); err != nil {
		return false, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	return false, nil
}

// unwrapURL takes off the wrapper that repeats the address, with credentials.
func unwrapURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// teller writes lines of progress from several goroutines.
type teller struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (t *teller) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.w, strings.TrimSpace(fmt.Sprintf(format, args...)))
}
