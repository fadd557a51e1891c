package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxFile bounds what is read as a result file (chosen by us: a full run takes well below 1 MB).
const maxFile = 64 << 20

// Read reads and checks a run. An error names the file, and what is wrong in it.
func Read(path string) (Run, error) {
	var run Run
	if err := readJSON(path, &run); err != nil {
		return Run{}, err
	}
	if err := run.Validate(); err != nil {
		return Run{}, fmt.Errorf("%s: %w", path, err)
	}
	return run, nil
}

// Decode reads and checks a run that is no file.
func Decode(data []byte) (Run, error) {
	var run Run
	if err := decode(data, &run); err != nil {
		return Run{}, err
	}
	return run, run.Validate()
}

// Write writes a run to path: all of it or nothing, and only a valid one. What does not validate has taken an hour to
// measure all the same, and is left beside it as PATH.invalid; the error says so.
func Write(path string, run Run) error { return write(path, run, run.Validate()) }

// write writes v, of which invalid says what is wrong with it.
func write(path string, v any, invalid error) error {
	data, err := json.MarshalIndent(v, "", "\t")
	if invalid == nil && err == nil {
		return replace(path, append(data, '\n'))
	}
	if err != nil { // a number that JSON has no word for
		data = fmt.Appendf(nil, "%+v", v)
	}
	beside := path + ".invalid"
	return errors.Join(fmt.Errorf("%s is not written, what was measured is in %s: %w", path, beside, errors.Join(invalid, err)), replace(beside, append(data, '\n')))
}

// readJSON fills v, a pointer, from a file.
func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxFile {
		return fmt.Errorf("%s: larger than %d MB; this is no result of a run", path, maxFile>>20)
	}
	if err := decode(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// decode is strict: a key that this version does not know is an error, since a figure would be missing in silence.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("not a result file: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("not a result file: something follows its end")
	}
	return nil
}

// replace writes a file by way of another one beside it, so that a reader finds the old one or the new one.
func replace(path string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
