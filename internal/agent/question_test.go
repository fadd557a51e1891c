package agent

import (
	"testing"
	"testing/synctest"
)

// A candidate without a vote asks for the group once in a lease. While another node has it, that is no news to its peers.
func TestAQuestionIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, web2, _ := settled(t, textOf(t, "1", "10.0.0.12", "10.0.0.13"))
		w.wait(10 * testTTL)
		w.owned("web1")
		look := func() (questions, told uint64) {
			web2.look(func() { questions, told = web2.loop.machine.Stats().Rounds, web2.seq })
			return questions, told
		}
		questions, told := look()
		w.wait(10 * testTTL)
		nowQuestions, nowTold := look()
		if nowQuestions-questions < 5 {
			t.Errorf("%d questions in ten leases", nowQuestions-questions)
		}
		if nowTold != told {
			t.Errorf("%d times told its peers of that", nowTold-told)
		}
	})
}
