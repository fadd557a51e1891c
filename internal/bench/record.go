package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Record is what a command printed, with where it comes from. It is kept as a text file, NAME.txt: lines of "key:
// value", an empty one, and the output. The docs have it word for word.
type Record struct {
	Name       string // of the file, without .txt
	Command    string // that was run, as one would type it
	Began      time.Time
	Seconds    float64
	Commit     string
	Machine    string // in one line, as Machine.Told has it
	LoadBefore float64
	LoadAfter  float64
	Output     string
}

// maxOutput bounds what a page takes in of one command, in bytes. Chosen by us.
const maxOutput = 32 << 10

// recordEnd is that of a record's file.
const recordEnd = ".txt"

// Validate says why a record cannot be kept.
func (r Record) Validate() error {
	switch {
	case r.Name == "" || slug(r.Name) != r.Name:
		return fmt.Errorf("record %q: a name has letters, digits, - and _ only", r.Name)
	case r.Command == "" || r.Commit == "" || r.Began.IsZero():
		return fmt.Errorf("record %s: it needs a command, a commit, and the time it was run", r.Name)
	case strings.TrimSpace(r.Output) == "":
		return fmt.Errorf("record %s: %s printed nothing", r.Name, r.Command)
	case len(r.Output) > maxOutput:
		return fmt.Errorf("record %s: %s printed %d bytes; a page takes %d", r.Name, r.Command, len(r.Output), maxOutput)
	case !utf8.ValidString(r.Output) || strings.ContainsFunc(r.Output, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' }):
		return fmt.Errorf("record %s: %s printed what is no text", r.Name, r.Command)
	case strings.Contains(r.Output, blockEnd) || strings.Contains(r.Output, blockBegin):
		return fmt.Errorf("record %s: %s printed one of the marks of a block", r.Name, r.Command)
	}
	for _, line := range []string{r.Command, r.Commit, r.Machine} {
		if strings.Join(strings.Fields(line), " ") != line {
			return fmt.Errorf("record %s: %q is more than one line, or has blanks to spare", r.Name, line)
		}
	}
	v := newValidator()
	v.number("record "+r.Name+": seconds", r.Seconds)
	v.number("record "+r.Name+": load before", r.LoadBefore)
	v.number("record "+r.Name+": load after", r.LoadAfter)
	return errors.Join(v.problems...)
}

// WriteRecord keeps a record in a directory.
func WriteRecord(dir string, r Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	return replace(filepath.Join(dir, r.Name+recordEnd), r.encode())
}

func (r Record) encode() []byte {
	return fmt.Appendf(nil, "command: %s\nbegan: %s\nseconds: %g\ncommit: %s\nmachine: %s\nload before: %g\nload after: %g\n\n%s\n",
		r.Command, r.Began.UTC().Format(time.RFC3339), r.Seconds, r.Commit, r.Machine, r.LoadBefore, r.LoadAfter, strings.Trim(r.Output, "\n"))
}

// decodeRecord reads what encode wrote.
func decodeRecord(name, file string) (Record, error) {
	head, output, ok := strings.Cut(file, "\n\n")
	if !ok {
		return Record{}, fmt.Errorf("record %s: no empty line ends its head", name)
	}
	r := Record{Name: name, Output: strings.Trim(output, "\n")}
	text := map[string]*string{"command": &r.Command, "commit": &r.Commit, "machine": &r.Machine}
	number := map[string]*float64{"seconds": &r.Seconds, "load before": &r.LoadBefore, "load after": &r.LoadAfter}
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		var err error
		switch {
		case text[key] != nil:
			*text[key] = value
		case number[key] != nil:
			*number[key], err = strconv.ParseFloat(value, 64)
		case key == "began":
			r.Began, err = time.Parse(time.RFC3339, value)
		case strings.TrimSpace(line) == "machine:": // of which nothing was known
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return Record{}, fmt.Errorf("record %s: %q: %w", name, line, err)
		}
	}
	return r, r.Validate()
}

// readRecords reads every record of a directory, by name.
func readRecords(dir string) (map[string]Record, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+recordEnd))
	if err != nil {
		return nil, err
	}
	records := make(map[string]Record)
	for _, path := range files {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(path), recordEnd)
		if records[name], err = decodeRecord(name, string(data)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return records, nil
}

// markdown is the output word for word, and where it comes from.
func (r Record) markdown() string {
	fence := "```"
	for strings.Contains(r.Output, fence) {
		fence += "`"
	}
	var output strings.Builder
	for line := range strings.SplitSeq(strings.Trim(r.Output, "\n"), "\n") {
		output.WriteString(strings.TrimRight(line, " \t") + "\n")
	}
	return fmt.Sprintf("%stext\n%s%s\n\n<sub>%s, %s, %s, commit %s; %s; load %s before, %s after.</sub>\n", fence, output.String(), fence,
		code(r.Command), r.Began.UTC().Format("2006-01-02 15:04 UTC"), length(r.Seconds), text(r.Commit), text(r.Machine), num(r.LoadBefore), num(r.LoadAfter))
}
