package dialect

import (
	"errors"
	"fmt"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
)

// Reply is what came back for a call.
type Reply struct {
	Status int    // of HTTP; 0: none came
	Body   []byte // as far as it came
	Broken string // why it did not come whole, in words; "": it did
}

// Outcome is what a reply comes to: the words of advice.Outcome.
type Outcome string

// The outcomes that a reply can have.
const (
	Answered  Outcome = "answered"
	Refused   Outcome = "refused"
	Truncated Outcome = "truncated"
	Failed    Outcome = "failed"
)

// MaxAnswer is the most bytes of an answer: advice.MaxAnswer.
const MaxAnswer = 256 << 10

// maxText is the most bytes of any text in a reply.
const maxText = MaxBytes

// Said is what a reply says.
type Said struct {
	Outcome Outcome
	Why     string // "" when Answered; may quote hostile text, escaped
	Answer  []byte // nil unless Answered
	Served  string // the model that the provider says it asked, hostile; "" when it does not say
}

// Decode reads a reply. Everything but one finished text is no advice, and each
// way in which it is none has its sentence.
func Decode(m Model, r Reply) Said {
	switch {
	case !m.Provider.Remote():
		return Said{Outcome: Failed, Why: fmt.Sprintf("%s speaks to nobody, so it has no reply", m.Provider)}
	case r.Broken != "":
		return Said{Outcome: Failed, Why: r.Broken}
	case r.Status != 200:
		return status(r)
	case int64(len(r.Body)) > m.MaxBytes:
		return Said{Outcome: Failed, Why: fmt.Sprintf("a reply of %d bytes, the limit is %d", len(r.Body), m.MaxBytes)}
	}
	d := reply{Doc: strictjson.Of(r.Body)}
	var read func() error
	switch m.Provider {
	case Anthropic:
		read = d.anthropic
	case Ollama:
		read = d.ollama
	default:
		read = d.chat
	}
	err := d.Whole(read)
	var at *strictjson.Syntax
	if errors.As(err, &at) {
		return Said{Outcome: Failed, Why: fmt.Sprintf("the reply is none of %s, at byte %d: %s", m.Provider, at.Offset, at.Reason)}
	}
	return d.said(ends[m.Provider])
}

// status reads what is no success. The message is not repeated: it may quote
// what was sent.
func status(r Reply) Said {
	d := reply{Doc: strictjson.Of(r.Body)}
	err := d.Whole(func() error {
		if d.Peek() != '{' {
			return d.Skip()
		}
		return d.fields(map[string]func() error{"error": d.failure})
	})
	s := Said{Outcome: Failed, Why: fmt.Sprintf("the provider answered with status %d", r.Status)}
	if err != nil {
		return s
	}
	for _, word := range []string{d.kind, d.code} {
		if word != "" && word != "null" {
			s.Why += fmt.Sprintf(", %.60q", word)
		}
		if refusals[word] {
			s.Outcome = Refused
		}
	}
	return s
}

// refusals are the error codes by which a provider says that it will not answer
// this (learn.microsoft.com, azure/ai-foundry, content-filter; openai.com).
var refusals = map[string]bool{"content_filter": true, "content_policy_violation": true}

// ends say, by provider and reason of ending, what a reply comes to; a reason
// that is not here is a failure. Sources: developers.openai.com
// (api-reference/chat/object, finish_reason); platform.claude.com
// (build-with-claude/handling-stop-reasons); ollama, llm/server.go (DoneReason).
var ends = map[Provider]map[string]Outcome{
	Chat:      {"stop": Answered, "length": Truncated, "content_filter": Refused},
	OpenAI:    {"stop": Answered, "length": Truncated, "content_filter": Refused},
	Anthropic: {"end_turn": Answered, "max_tokens": Truncated, "model_context_window_exceeded": Truncated, "refusal": Refused},
	Ollama:    {"stop": Answered, "length": Truncated},
}

// reply reads one reply and keeps what it saw.
type reply struct {
	strictjson.Doc
	texts      []string // candidate answers
	others     string   // the first part that is no text: a tool call
	choices    int
	refusal    bool
	end        string // why the model stopped
	model      string
	role       string
	unfinished bool
	forwarded  string // another host that Ollama asked
	errored    bool
	kind, code string // of an error
}

// said judges what was read.
func (d *reply) said(ends map[string]Outcome) Said {
	s := Said{Outcome: Failed, Served: d.model}
	end, known := ends[d.end]
	switch {
	case d.errored:
		s.Why = fmt.Sprintf("the reply holds an error, %.60q %.60q", d.kind, d.code)
	case d.forwarded != "":
		s.Why = fmt.Sprintf("the server handed the request on to %.100q, which is not the host that is configured", d.forwarded)
	case d.choices != 1:
		s.Why = fmt.Sprintf("the reply holds %d answers, one was asked for", d.choices)
	case d.refusal:
		s.Outcome, s.Why = Refused, "the model refused"
	case known && end != Answered:
		s.Outcome, s.Why = end, fmt.Sprintf("the model stopped for %q", d.end)
	case !known || d.unfinished:
		s.Why = fmt.Sprintf("the model did not finish its answer: it stopped for %.60q", d.end)
	case d.others != "":
		s.Why = fmt.Sprintf("the reply holds %.60q: no tool was offered", d.others)
	case d.role != "assistant":
		s.Why = fmt.Sprintf("the reply speaks as %.60q, not as assistant", d.role)
	case len(d.texts) != 1 || d.texts[0] == "":
		s.Why = fmt.Sprintf("the reply holds %d texts, one that is not empty was expected", len(d.texts))
	case len(d.texts[0]) > MaxAnswer:
		s.Outcome, s.Why = Failed, fmt.Sprintf("an answer of %d bytes, the limit is %d", len(d.texts[0]), MaxAnswer)
	default:
		s.Outcome, s.Answer = Answered, []byte(d.texts[0])
	}
	return s
}

// fields reads an object; keys that are not asked for are skipped.
func (d *reply) fields(members map[string]func() error) error {
	return d.Object(func(key string) error {
		if read := members[key]; read != nil {
			return read()
		}
		return d.Skip()
	})
}

// text reads a string; null is "".
func (d *reply) text(to *string) func() error {
	return func() (err error) {
		if d.Peek() == 'n' {
			return d.Word("null")
		}
		*to, err = d.Str(maxText)
		return err
	}
}

// answer reads a text that is a candidate answer; null is none.
func (d *reply) answer() error {
	if d.Peek() == 'n' {
		return d.Word("null")
	}
	s, err := d.Str(maxText)
	d.texts = append(d.texts, s)
	return err
}

// tool reads what must not be there: null and an empty array are nothing.
func (d *reply) tool(name string) func() error {
	return func() error {
		switch d.Peek() {
		case 'n':
			return d.Word("null")
		case '[':
			return d.Array(1<<10, func() error { d.others = name; return d.Skip() })
		}
		d.others = name
		return d.Skip()
	}
}

// failure reads an error: a text (Ollama) or an object (the others); null is
// none.
func (d *reply) failure() error {
	if d.Peek() == 'n' {
		return d.Word("null")
	}
	d.errored = true
	if d.Peek() != '{' {
		return d.Skip()
	}
	scalar := func(to *string) func() error {
		return func() error {
			if d.Peek() == '"' {
				return d.text(to)()
			}
			return d.Skip()
		}
	}
	return d.fields(map[string]func() error{"type": scalar(&d.kind), "code": scalar(&d.code)})
}

// chat reads a chat completion.
func (d *reply) chat() error {
	refusal := ""
	message := map[string]func() error{"role": d.text(&d.role), "content": d.answer, "tool_calls": d.tool("tool_calls"), "function_call": d.tool("function_call"),
		"refusal": func() error { err := d.text(&refusal)(); d.refusal = d.refusal || refusal != ""; return err }}
	return d.fields(map[string]func() error{"model": d.text(&d.model), "error": d.failure, "choices": func() error {
		return d.Array(64, func() error {
			d.choices++
			return d.fields(map[string]func() error{"finish_reason": d.text(&d.end), "error": d.failure, "message": func() error { return d.fields(message) }})
		})
	}})
}

// anthropic reads a message. Thinking is not the answer and is passed over.
func (d *reply) anthropic() error {
	kind := ""
	err := d.fields(map[string]func() error{"type": d.text(&kind), "role": d.text(&d.role), "model": d.text(&d.model), "stop_reason": d.text(&d.end), "error": d.failure,
		"content": func() error {
			return d.Array(1<<10, func() error {
				block, text := "", ""
				err := d.fields(map[string]func() error{"type": d.text(&block), "text": d.text(&text)})
				switch block {
				case "text":
					d.texts = append(d.texts, text)
				case "thinking", "redacted_thinking":
				default:
					d.others = "a block " + block
				}
				return err
			})
		}})
	if d.choices = 1; err == nil && kind != "message" && !d.errored {
		return d.Fail("type %.60q, not message", kind)
	}
	return err
}

// ollama reads a chat response.
func (d *reply) ollama() error {
	d.unfinished, d.choices = true, 1
	return d.fields(map[string]func() error{"model": d.text(&d.model), "done_reason": d.text(&d.end), "error": d.failure, "remote_host": d.text(&d.forwarded),
		"done": func() error {
			if d.Peek() == 't' {
				d.unfinished = false
				return d.Word("true")
			}
			return d.Word("false")
		},
		"message": func() error {
			return d.fields(map[string]func() error{"role": d.text(&d.role), "content": d.answer, "tool_calls": d.tool("tool_calls")})
		}})
}
