package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/hbagent/hbagent/internal/config"
)

// envEpoch is the convention of reproducible-builds.org: the date that a build writes into its files.
const envEpoch = "SOURCE_DATE_EPOCH"

// Chosen by us.
const manMode = 0o644

func (a *app) man() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a directory",
		Long: `Writes hbagent(8), a page for every command, and hbagent.toml(5) into DIR, which
must exist. The date on them is today, or that of $` + envEpoch + `
(seconds since 1970).

  hbagent man /tmp/pages`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.writeManuals(args[0]) },
	}
}

func (a *app) writeManuals(dir string) error {
	date, err := a.buildDate()
	if err != nil {
		return err
	}
	source := "hbagent " + version
	// A page must not show what the environment of the build says.
	neutral := *a
	neutral.getenv = func(string) string { return "" }
	root := neutral.root()
	root.DisableAutoGenTag = true
	toMarkdown(root)
	root.Long += "\n\nThe config file is **hbagent.toml**(5)."
	header := &doc.GenManHeader{Section: "8", Date: &date, Source: source, Manual: "hbagent"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("write the manual pages: %w", err)
	}
	page := configManual(config.Reference(), source, date)
	if err := os.WriteFile(filepath.Join(dir, "hbagent.toml.5"), []byte(page), manMode); err != nil {
		return fmt.Errorf("write the manual page of the config file: %w", err)
	}
	return nil
}

// buildDate is in UTC, so that the same commit makes the same pages everywhere.
func (a *app) buildDate() (time.Time, error) {
	text := a.getenv(envEpoch)
	if text == "" {
		return a.now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("$%s is %q: want seconds since 1970", envEpoch, text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// toMarkdown turns the long texts, which are written for a terminal, into what cobra/doc takes them for.
func toMarkdown(c *cobra.Command) {
	c.Long = markdown(c.Long)
	for _, sub := range c.Commands() {
		toMarkdown(sub)
	}
}

var markdownEscapes = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`, "`", "\\`")

// markdown keeps the lines of what is indented, and nothing else: the rest is prose.
func markdown(text string) string {
	var b strings.Builder
	was := false
	for line := range strings.Lines(text) {
		verbatim := strings.HasPrefix(line, "  ")
		if verbatim != was {
			b.WriteByte('\n')
		}
		was = verbatim
		if verbatim {
			b.WriteString("    " + line)
		} else {
			b.WriteString(markdownEscapes.Replace(line))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
