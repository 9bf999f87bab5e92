package advisorconformance

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/anthropics/anthropic-sdk-go/v2"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/v2/option"
	"github.com/ollama/ollama/api"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/internal/advisortest"
)

// question is what a request for advice asks, apart from any provider's words.
type question struct {
	Instructions string
	Dossier      json.RawMessage
	Schema       json.RawMessage
}

// schema is the question's, as the providers take it: without $schema.
func (q question) schema() map[string]any {
	var s map[string]any
	if err := json.Unmarshal(q.Schema, &s); err != nil {
		panic(err) // the request is our own
	}
	delete(s, "$schema")
	return s
}

// meaning is what a reply says: in the words of dialect.Said, without the reason.
type meaning struct {
	outcome dialect.Outcome
	text    string // of an answer
	served  string // the model that answered; "" where an error came
}

var failed = meaning{outcome: dialect.Failed}

// asks are the SDKs' ways to ask a question, and what the reply is to their types.
var asks = map[dialect.Provider]func(context.Context, dialect.Model, question) meaning{
	dialect.Chat: askOpenAI, dialect.OpenAI: askOpenAI, dialect.Anthropic: askAnthropic, dialect.Ollama: askOllama,
}

func askOpenAI(ctx context.Context, m dialect.Model, q question) meaning {
	client := openai.NewClient(option.WithBaseURL(m.Endpoint), option.WithAPIKey(advisortest.Secret), option.WithMaxRetries(0), option.WithUnsafeAllowHTTP())
	p := openai.ChatCompletionNewParams{
		Model:    m.Name,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage(q.Instructions), openai.UserMessage(string(q.Dossier))},
		ResponseFormat: openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "patchwrit_advice", Strict: openai.Bool(true), Schema: q.schema()}}},
	}
	if m.Provider == dialect.OpenAI {
		p.MaxCompletionTokens, p.Store = openai.Int(m.MaxTokens), openai.Bool(false)
	} else {
		p.MaxTokens = openai.Int(m.MaxTokens)
	}
	if m.Sampling == dialect.Zero {
		p.Temperature, p.Seed = openai.Float(0), openai.Int(m.Seed)
	}
	r, err := client.Chat.Completions.New(ctx, p)
	var refused *openai.Error
	switch {
	case errors.As(err, &refused) && refused.Code == "content_filter":
		return meaning{outcome: dialect.Refused}
	case err != nil || len(r.Choices) == 0:
		return failed
	}
	c, out := r.Choices[0], meaning{dialect.Failed, "", r.Model}
	switch {
	case c.Message.Refusal != "" || c.FinishReason == string(openai.CompletionChoiceFinishReasonContentFilter):
		out.outcome = dialect.Refused
	case c.FinishReason == string(openai.CompletionChoiceFinishReasonLength):
		out.outcome = dialect.Truncated
	case c.FinishReason == string(openai.CompletionChoiceFinishReasonStop) && len(c.Message.ToolCalls) == 0 && !c.Message.JSON.FunctionCall.Valid() && c.Message.Content != "":
		out.outcome, out.text = dialect.Answered, c.Message.Content
	}
	return out
}

func askAnthropic(ctx context.Context, m dialect.Model, q question) meaning {
	client := anthropic.NewClient(anthropicoption.WithoutEnvironmentDefaults(), anthropicoption.WithBaseURL(m.Endpoint), anthropicoption.WithAuthToken(advisortest.Secret), anthropicoption.WithMaxRetries(0))
	r, err := client.Messages.New(ctx, anthropic.MessageNewParams{
		Model: anthropic.Model(m.Name), MaxTokens: m.MaxTokens,
		System:       []anthropic.TextBlockParam{{Text: q.Instructions}},
		Messages:     []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(string(q.Dossier)))},
		OutputConfig: anthropic.OutputConfigParam{Format: anthropic.JSONOutputFormatParam{Schema: q.schema()}},
	})
	if err != nil {
		return failed
	}
	out, text, others := meaning{dialect.Failed, "", string(r.Model)}, "", 0
	for _, b := range r.Content {
		switch b := b.AsAny().(type) {
		case anthropic.TextBlock:
			text += b.Text
		case anthropic.ThinkingBlock, anthropic.RedactedThinkingBlock:
		default:
			others++
		}
	}
	switch r.StopReason {
	case anthropic.StopReasonRefusal:
		out.outcome = dialect.Refused
	case anthropic.StopReasonMaxTokens, anthropic.StopReasonModelContextWindowExceeded:
		out.outcome = dialect.Truncated
	case anthropic.StopReasonEndTurn:
		if text != "" && others == 0 {
			out.outcome, out.text = dialect.Answered, text
		}
	}
	return out
}

// optionName is how Ollama spells an option: the JSON name of a field of its type.
// The request itself takes any map.
func optionName(field string) string {
	f, ok := reflect.TypeFor[api.Options]().FieldByName(field)
	if !ok {
		panic("ollama has no option " + field)
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func askOllama(ctx context.Context, m dialect.Model, q question) meaning {
	base, err := url.Parse(m.Endpoint)
	if err != nil {
		return failed
	}
	schema, err := json.Marshal(q.schema())
	if err != nil {
		return failed
	}
	no, options := false, map[string]any{optionName("NumPredict"): m.MaxTokens}
	if m.Sampling == dialect.Zero {
		options[optionName("Temperature")], options[optionName("Seed")] = 0, m.Seed
	}
	if m.Context > 0 {
		options[optionName("NumCtx")] = m.Context
	}
	var replies []api.ChatResponse
	err = api.NewClient(base, http.DefaultClient).Chat(ctx, &api.ChatRequest{
		Model: m.Name, Messages: []api.Message{{Role: "system", Content: q.Instructions}, {Role: "user", Content: string(q.Dossier)}},
		Stream: &no, Format: schema, Options: options, Truncate: &no, Shift: &no,
	}, func(r api.ChatResponse) error { replies = append(replies, r); return nil })
	if err != nil || len(replies) != 1 {
		return failed
	}
	r := replies[0]
	out := meaning{dialect.Failed, "", r.Model}
	switch {
	case r.Done && r.DoneReason == "length":
		out.outcome = dialect.Truncated
	case r.Done && r.DoneReason == "stop" && r.RemoteHost == "" && len(r.Message.ToolCalls) == 0 && r.Message.Content != "":
		out.outcome, out.text = dialect.Answered, r.Message.Content
	}
	return out
}
