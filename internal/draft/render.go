package draft

import (
	_ "embed" // for the template
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/BurntSushi/toml"

	"github.com/hbagent/hbagent/internal/config"
)

//go:embed draft.toml.tmpl
var source string

var page = template.Must(template.New("hbagent.toml").Funcs(template.FuncMap{
	"key":        key,
	"interfaces": interfaces,
	"comment":    comment,
}).Parse(source))

// Render makes the text of the file.
func (d *Draft) Render() (string, error) {
	var b strings.Builder
	if err := page.Execute(&b, d); err != nil {
		return "", fmt.Errorf("write the config: %w", err)
	}
	return arrange(b.String()), nil
}

// key is a line `key = value # why`, or nothing if the value is zero. A why that is empty is left away.
func key(name string, value any, why ...string) (string, error) {
	text := ""
	switch v := value.(type) {
	case string:
		if v == "" {
			return "", nil
		}
	case []string:
		if len(v) == 0 {
			return "", nil
		}
	case int:
		if v == 0 {
			return "", nil
		}
	case time.Duration:
		if v == 0 {
			return "", nil
		}
		value = config.ShortDuration(v)
	case raw:
		text = string(v)
	}
	if text == "" {
		// The library knows what has to be escaped in TOML, which Go's quotes do not.
		line, err := toml.Marshal(map[string]any{"v": value})
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		text = strings.TrimPrefix(strings.TrimSpace(string(line)), "v = ")
	}
	line := name + " = " + text
	if w := oneLine(strings.Join(why, " ")); w != "" {
		line += mark + "# " + w
	}
	return line + "\n", nil
}

// raw is a value that is TOML already.
type raw string

// interfaces writes one name for all nodes, or an inline table.
func interfaces(g Group) (string, error) {
	if len(g.Interfaces) == 0 {
		return key("interface", g.Interface, g.IfaceWhy)
	}
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(g.Interfaces)) {
		part, err := key(fmt.Sprintf("%q", node), g.Interfaces[node]) // a name may have a dot
		if err != nil {
			return "", err
		}
		parts = append(parts, strings.TrimSpace(part))
	}
	return key("interface", raw("{ "+strings.Join(parts, ", ")+" }"), g.IfaceWhy)
}

// comment makes comment lines of what may have any bytes in it.
func comment(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(strings.TrimRight("# "+printable(line), " ") + "\n")
	}
	return b.String()
}

// printable keeps the spaces of a line, and makes harmless what a terminal or TOML would not bear.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func oneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }

// Chosen by us.
const (
	mark      = "\x00" // between a value and the comment behind it, until it is arranged
	maxIndent = 40     // a value longer than this does not push the comments of its neighbours out
)

// arrange puts the equals signs of a table's keys below each other, and the comments behind them, and comments out
// what stands between the lines "#off" and "#on".
func arrange(text string) string {
	var out, table []string
	off := false
	flush := func() {
		for _, line := range columns(table) {
			if off {
				line = "# " + line
			}
			out = append(out, line)
		}
		table = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "#off" || line == "#on":
			flush()
			off = line == "#off"
		case line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "["):
			flush()
			if off && strings.HasPrefix(line, "[") {
				line = "# " + line
			}
			out = append(out, line)
		default:
			table = append(table, line)
		}
	}
	flush()
	return strings.Trim(strings.Join(out, "\n"), "\n") + "\n"
}

func columns(lines []string) []string {
	keyWidth, valueWidth := 0, 0
	for _, line := range lines {
		name, value, _ := strings.Cut(line, " = ")
		keyWidth = max(keyWidth, len(name))
		if value, _, has := strings.Cut(value, mark); has && len(value) <= maxIndent {
			valueWidth = max(valueWidth, len(value))
		}
	}
	out := make([]string, len(lines))
	for i, line := range lines {
		name, value, _ := strings.Cut(line, " = ")
		out[i] = fmt.Sprintf("%-*s = ", keyWidth, name)
		if value, why, has := strings.Cut(value, mark); has {
			out[i] += fmt.Sprintf("%-*s %s", valueWidth, value, why)
		} else {
			out[i] += value
		}
	}
	return out
}
