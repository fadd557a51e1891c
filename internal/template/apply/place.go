package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// place replaces the file, if the check accepts the new content. Whatever goes
// wrong, the file is what it was.
func (t *Task) place(ctx context.Context, content string) error {
	s := t.spec
	if err := regular(s.File); err != nil {
		return explain(s, err)
	}
	if err := stage(s, content); err != nil {
		return explain(s, err)
	}
	if len(s.Check) > 0 && !s.inPlace() {
		if err := t.check(ctx); err != nil {
			return errors.Join(err, os.Remove(candidate(s.File)))
		}
	}
	newDebt, err := t.owe()
	if err != nil {
		return err
	}
	if len(s.Check) > 0 && s.inPlace() {
		err = t.placeAndCheck(ctx)
	} else {
		err = t.commit()
	}
	if err != nil && newDebt {
		err = errors.Join(err, t.settle())
	}
	return err
}

// placeAndCheck is for a file that cannot be checked alone.
func (t *Task) placeAndCheck(ctx context.Context) error {
	file := t.spec.File
	if err := errors.Join(forget(file), keep(file)); err != nil {
		return explain(t.spec, err)
	}
	if err := t.commit(); err != nil {
		return errors.Join(err, forget(file))
	}
	if err := t.check(ctx); err != nil {
		return errors.Join(err, undo(file))
	}
	if err := forget(file); err != nil { // the file is in place, and a restart would undo it
		return explain(t.spec, errors.Join(err, undo(file)))
	}
	return nil
}

// commit puts what was staged into the place of the file. From the rename on it has
// happened, whether the directory's entry is on the disk already or not.
func (t *Task) commit() error {
	if err := os.Rename(candidate(t.spec.File), t.spec.File); err != nil {
		return explain(t.spec, err)
	}
	if err := syncDir(t.spec.File); err != nil {
		t.log.Warn("the file is replaced, and a power cut may bring the old one back", "file", t.spec.File, "error", err)
	}
	return nil
}

func (t *Task) check(ctx context.Context) error {
	if err := t.o.Commands.Run(ctx, t.spec, Check); err != nil {
		return fmt.Errorf("check refuses it: %w", err)
	}
	return nil
}

// debt is the note that the service was not told of a change.
func (t *Task) debt() string { return filepath.Join(t.o.RunDir, t.spec.Name+".owed") }

// owe writes the note before the file is replaced, and tells whether it is new.
func (t *Task) owe() (fresh bool, err error) {
	if len(t.spec.Reload) == 0 {
		return false, nil
	}
	if err := os.MkdirAll(t.o.RunDir, 0o755); err != nil {
		return false, err
	}
	f, err := os.OpenFile(t.debt(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// settle takes the note away.
func (t *Task) settle() error {
	if err := os.Remove(t.debt()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// inherit looks at what an earlier run of the agent has left: a check in place
// whose end it did not see, and a service that was not told.
func (t *Task) inherit() {
	if err := undo(t.spec.File); err != nil {
		t.log.Error("cannot put back the file that was not checked to its end", "file", t.spec.File, "error", err)
	}
	if _, err := os.Lstat(t.debt()); err == nil && len(t.spec.Reload) > 0 {
		t.machine.Owe()
	}
}
