package advice_test

import (
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/raced"
)

// A small version of make redteam-advice, on the world of the tests: no error of
// any class passes, and the same seed gives the same cases.
func TestErrorsOfEachClassAreFound(t *testing.T) {
	raced.Leave(t, "make test-real")
	const each = 20
	made := map[string]string{}
	for pass := range 2 {
		m, truths, rejected := advicetest.NewMutator(7, now, []advice.Dossier{dossier(t)})
		if truths < 50 || len(rejected) != 1 { // the score that its source's own vector does not give
			t.Fatalf("%d true claims, rejected %v", truths, rejected)
		}
		for _, class := range advicetest.Classes {
			all := ""
			for range each {
				c, ok := m.Make(class)
				if !ok {
					t.Fatalf("%s: no case", class)
				}
				all += c.What + "\n"
				if r, err := c.Judge(); pass == 0 && (err != nil || c.Missed(r)) {
					t.Errorf("%s passes: %s: %+v %v", class, c.What, r, err)
				}
			}
			if pass == 1 && made[class] != all {
				t.Errorf("%s: the same seed gives other cases", class)
			}
			made[class] = all
		}
	}
}
