package box

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/internal/raced"
)

// TestTheLargestRequestAndReplyFit into the usual bounds.
func TestTheLargestRequestAndReplyFit(t *testing.T) {
	raced.Leave(t, "make test-real")
	needs(t)
	frame := `{"type":"` + advice.TypeRequest + `","instructions":"i","dossier":[%q],"schema":{}}`
	request := fmt.Sprintf(frame, strings.Repeat("\\", (dialect.MaxRequest-len(frame))/2))
	m := model("m")
	m.MaxBytes = dialect.MaxBytes
	sent := 0
	text := strings.Repeat(" ", int(m.MaxBytes)-200) + `{"choices":[{"index":0,"message":{"role":"assistant","content":"{}"},"finish_reason":"stop"}],"model":"m"}`
	h := Box{Model: m, Program: programs(t)[0], Send: answers([]byte(text), &sent)}.Ask(context.Background(), []byte(request))
	if h.Outcome != advice.Answered || len(h.Sent) < 2*dialect.MaxRequest-1000 {
		t.Errorf("%s: %s; %d bytes sent", h.Outcome, h.Why, len(h.Sent))
	}
}
