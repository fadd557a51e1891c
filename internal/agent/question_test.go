package agent

import (
	"context"
	"testing"
	"testing/synctest"
)

// A candidate without a vote asks for the group once in a lease, and again and again when no majority answers. That is no news to its peers.
func TestAQuestionIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, web1, web2, _ := settled(t, textOf(t, "1", "10.0.0.12", "10.0.0.13"))
		w.wait(10 * testTTL)
		w.owned("web1")
		look := func() (questions, told uint64) {
			web2.look(func() { questions, told = web2.loop.machine.Stats().Rounds, web2.seq })
			return questions, told
		}
		ask := func(when string) {
			questions, told := look()
			w.wait(10 * testTTL)
			nowQuestions, nowTold := look()
			if nowQuestions-questions < 4 {
				t.Errorf("%s: %d questions in ten leases", when, nowQuestions-questions)
			}
			if nowTold != told {
				t.Errorf("%s: %d times told its peers of that", when, nowTold-told)
			}
		}
		ask("web1 has it")
		web1.kill(context.Canceled) // the only vote
		w.wait(10 * testTTL)
		ask("nobody can have it")
	})
}
