package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A doc has what runs have found between two marks, which this package fills:
//
//	<!-- bench:begin WHAT -->
//	<!-- bench:end -->
//
// WHAT is "summary" (the short table of the README), "scale" (docs/scaling.md), "moved" (what docs/benchmarks has since it exists), or "record NAME".
// A block of what was never recorded keeps what it has, as long as it says that this was copied by hand.
const (
	blockBegin = "<!-- bench:begin "
	blockMark  = " -->"
	blockEnd   = "<!-- bench:end -->"
	// byHand begins what nobody has recorded yet. It ends with how to do so.
	byHand = "*Copied by hand from an earlier run;"
)

// marked adds to the pages every doc that has marks, filled.
func marked(root string, d data, pages map[string][]byte) error {
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return err
	}
	for _, doc := range append(docs, filepath.Join(root, "README.md")) {
		old, err := os.ReadFile(doc)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		filled, blocks, err := fill(string(old), d.block)
		if err != nil {
			return fmt.Errorf("%s: %w", doc, err)
		}
		if blocks == 0 {
			continue
		}
		name, err := filepath.Rel(root, doc)
		if err != nil {
			return err
		}
		pages[filepath.ToSlash(name)] = []byte(filled)
	}
	return nil
}

// fill replaces what stands between each pair of marks, and counts them.
func fill(doc string, block func(what string) (string, error)) (filled string, blocks int, err error) {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(doc, blockBegin)
		b.WriteString(before)
		if strings.Contains(before, blockEnd) {
			return "", 0, fmt.Errorf("%s without a beginning", blockEnd)
		}
		if !ok {
			return b.String(), blocks, nil
		}
		what, rest, ok := strings.Cut(after, blockMark)
		if !ok || strings.ContainsAny(what, "\n<") {
			return "", 0, fmt.Errorf("%s has no end (%s)", blockBegin, blockMark)
		}
		old, rest, ok := strings.Cut(rest, blockEnd)
		if !ok || strings.Contains(old, blockBegin) {
			return "", 0, fmt.Errorf("the block %q does not end (%s)", what, blockEnd)
		}
		text, err := block(what)
		if err != nil {
			return "", 0, err
		}
		if old = strings.TrimLeft(old, "\n"); strings.HasPrefix(text, byHand) && strings.HasPrefix(old, text) {
			text = old
		}
		if strings.Contains(text, blockEnd) || strings.Contains(text, blockBegin) {
			return "", 0, fmt.Errorf("the block %q has a mark in it", what)
		}
		b.WriteString(blockBegin + what + blockMark + "\n" + text + blockEnd)
		doc = rest
		blocks++
	}
}

// block renders one. What no run has written yet is not invented.
func (d data) block(what string) (string, error) {
	kind, name, _ := strings.Cut(what, " ")
	switch {
	case what == "summary" && d.run != nil:
		return d.run.summary(), nil
	case what == "summary":
		return "", nil
	case what == "moved" && d.run != nil:
		return "Measured beside other tools, fault by fault: [benchmarks](benchmarks/README.md).\n", nil
	case what == "moved":
		return byHand + " `make bench` does it anew.*\n", nil
	case what == "scale" && d.scale != nil:
		return d.scale.images() + d.scale.markdown(), nil
	case what == "scale":
		return "Not measured yet: `make scale` does.\n", nil
	case kind == "record" && slug(name) == name && name != "":
		if r, ok := d.records[name]; ok {
			return r.markdown(), nil
		}
		return fmt.Sprintf("%s `make record NAMES=%s` does it anew.*\n", byHand, name), nil
	}
	return "", fmt.Errorf("a block %q: there are summary, scale, moved and record NAME", what)
}
