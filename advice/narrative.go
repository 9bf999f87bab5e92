package advice

import (
	"regexp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
)

// Sentence is one sentence of the narrative.
type Sentence struct {
	Text   canon.Note `json:"text"` // of one that is kept: with each claim in words in place of its reference
	Kept   bool       `json:"kept"`
	Reason canon.Note `json:"reason"` // why it was dropped
}

var (
	reference = regexp.MustCompile(`\{\{([^{}]*)\}\}`)
	// A number in words, or the beginning of an id of a vulnerability.
	number = regexp.MustCompile(`(?i)\b(zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[a-z]+teen|(twen|thir|for|fif|six|seven|eigh|nine)ty([ -][a-z]+)?|hundreds?|thousands?|[a-z]+illions?|dozens?|half|halves|twice|thrice|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|[a-z]+(teenth|tieth|dredth|sandth)|[ivx]{2,5})s?\b`)
	// Words that are glued together: version_two, VersionTwo.
	glued = regexp.MustCompile(`[_*~]+|[a-z][A-Z]`)
	// A host's name, or a link that needs none.
	address = regexp.MustCompile(`(?i)[a-z0-9-]\.[a-z]{2,}|[a-z]:/|@|\]\(|\b(javascript|data|mailto|file):`)
	named   = regexp.MustCompile(`(?i)\b([a-z]+-)?(cve|cwe|ghsa|dsa|dla|dtsa|usn|lsn|rhsa|rhba|rhea|alsa|alba|alea|rlsa|rxsa|pysec|rustsec|osv)\b`)
)

// sentences judges a narrative, sentence by sentence: what names a number, a
// version or an id says so by a reference to a verified claim, or is dropped.
func sentences(text string, holds map[string]string) []Sentence {
	out := []Sentence{}
	for _, s := range split(text) {
		out = append(out, sentence(s, holds))
	}
	return out
}

func sentence(s string, holds map[string]string) Sentence {
	if why := dropped(s, holds); why != "" {
		return Sentence{Text: canon.NoteOf(s), Reason: canon.NoteOf(why)}
	}
	whole := reference.ReplaceAllStringFunc(s, func(ref string) string { return "[" + holds[ref[2:len(ref)-2]] + "]" })
	return Sentence{Text: canon.NoteOf(whole), Kept: true}
}

// split cuts a text behind each full stop, question or exclamation mark that is
// followed by a space, and at each line.
func split(text string) []string {
	out, start := []string{}, 0
	cut := func(end int) {
		if s := strings.TrimSpace(text[start:end]); s != "" {
			out = append(out, s)
		}
		start = end
	}
	for i, c := range []byte(text) {
		if c == '\n' || c == '\r' || i+1 < len(text) && text[i+1] == ' ' && (c == '.' || c == '?' || c == '!') {
			cut(i + 1)
		}
	}
	cut(len(text))
	return out
}

// dropped says why a sentence is dropped, or "".
func dropped(s string, holds map[string]string) string {
	for _, ref := range reference.FindAllStringSubmatch(s, -1) {
		if holds[ref[1]] == "" {
			return "It refers to a claim that is not verified."
		}
	}
	bare := reference.ReplaceAllString(s, " ")
	apart := glued.ReplaceAllStringFunc(bare, func(g string) string { return g[:1] + " " + g[len(g)-1:] })
	apart = strings.NewReplacer("_", " ", "*", " ", "~", " ").Replace(apart)
	switch {
	case !strictjson.Printable(s):
		return "It holds characters outside printable ASCII."
	case strings.ContainsAny(bare, "0123456789"):
		return "It holds a number, a version or an id outside a claim reference."
	case number.MatchString(apart):
		return "It holds a number in words outside a claim reference."
	case named.MatchString(apart):
		return "It names a vulnerability outside a claim reference."
	case address.MatchString(bare) || strings.Contains(bare, "://") || strings.Contains(strings.ToLower(bare), "www.") || strings.ContainsAny(bare, "{}<>`"):
		return "It holds an address, or markup."
	}
	return ""
}

// Kept is the narrative that may be shown.
func (r Report) Kept() []string {
	out := []string{}
	for _, s := range r.Sentences {
		if s.Kept {
			out = append(out, string(s.Text))
		}
	}
	return slices.Clip(out)
}
