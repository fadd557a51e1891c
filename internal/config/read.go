package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
)

// document is a file as TOML sees it: the values, and the place of each.
type document struct {
	values map[string]any
	places *node
}

// read turns the text into a document, or reports why it is not TOML.
func read(rep *report) document {
	if !rep.src.usable(rep) {
		return document{}
	}
	root, stop := scan(rep)
	text := rep.src.text
	if stop != nil {
		if stop.message != "" {
			rep.refuse(stop.at, stop.message, stop.hint)
			return document{}
		}
		// The library sees no more than we walked over, so that our limits hold for it too.
		_, line := rep.src.line(stop.at.start)
		text = text[:min(line.end+1, len(text))] // with its end, so that messages name that
	}
	if len(rep.problems) > 0 { // written twice: the library would stop at the first of them
		return document{}
	}
	values, err := decodeTOML(text)
	var syntax toml.ParseError
	switch {
	case errors.As(err, &syntax):
		at := span{syntax.Position.Start, syntax.Position.Start + max(1, syntax.Position.Len)}
		reportSyntax(rep, at, syntax.Message)
	case err != nil:
		rep.whole("the file is not TOML: "+err.Error(), "compare it with `hbagent config example`")
	case stop != nil:
		reportSyntax(rep, stop.at, "this is not TOML")
	}
	return document{values: values, places: root}
}

// decodeTOML turns the library's assertions about itself ("BUG: ...") into errors: a
// strange file is no reason to end an agent that is being reloaded.
func decodeTOML(text string) (values map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	_, err = toml.Decode(text, &values)
	return values, err
}

// The usual slips, told from the line itself.
var slips = []struct {
	line *regexp.Regexp
	hint string
}{
	{regexp.MustCompile(`^\s*[\w.-]+\s*=\s*(True|TRUE|False|FALSE|yes|no|on|off)\s*(#.*)?$`), `a yes or no is written true or false, in small letters and without quotes`},
	{regexp.MustCompile(`^\s*[\w.-]+\s*=\s*(#.*)?$`), "write a value behind the =, or delete the line to have the default"},
	{regexp.MustCompile(`^\s*[\w.-]+\s*=\s*[^\s"'\[{#]`), `text, durations and addresses stand in quotes: key = "value"`},
	{regexp.MustCompile(`^\s*[\w.-]+\s*(:|\s["'\w\[{])`), `write key = "value"`},
	{regexp.MustCompile(`^\s*\[\[[^\]]*\]?\s*(#.*)?$`), "a table of a list is written [[name]], with two brackets on both sides"},
	{regexp.MustCompile(`^\s*\[[\w. -]*\s*(#.*)?$`), "a table is written [name], with a bracket on both sides"},
	{regexp.MustCompile(`=\s*"[^"]*$`), `close the text with " on the same line`},
	{regexp.MustCompile(`=\s*'[^']*$`), `close the text with ' on the same line`},
	{regexp.MustCompile(`=\s*\[`), `a list is written ["a", "b"]: quotes around each text, a comma between two, ] at its end`},
	{regexp.MustCompile(`=\s*\{`), `a table on one line is written { web1 = "eth0", web2 = "ens3" }`},
	{regexp.MustCompile(`\\`), `a backslash stands twice in "text", or once in 'text'`},
}

func reportSyntax(rep *report, at span, message string) {
	hint := "compare the line with `hbagent config example`"
	_, line := rep.src.line(at.start)
	for back := 0; back < 2; back++ { // an error at the start of a line often belongs to the one before
		text := rep.src.text[line.start:line.end]
		found := false
		for _, s := range slips {
			if s.line.MatchString(text) {
				hint, found = s.hint, true
				break
			}
		}
		if found || line.start == 0 {
			break
		}
		_, line = rep.src.line(line.start - 1)
	}
	rep.refuse(at, "not valid TOML: "+strings.TrimSuffix(message, "."), hint)
}
